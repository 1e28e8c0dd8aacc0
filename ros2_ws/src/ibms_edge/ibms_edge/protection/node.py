# SPDX-License-Identifier: Apache-2.0
"""Node ``protection``: judges every fresh sample and publishes the verdict."""

import threading
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.protection import signals
from ibms_edge.protection.engine import ActiveFault, ProtectionEngine, Verdict
from ibms_edge.protection.table import Diagnosis, Reaction, Signal, Source, load_table
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    Event,
    InsulationMeasurement,
    PackMeasurement,
    ProtectionStatus,
    SwitchState,
)
from ibms_msgs.srv import ClearFaults
from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import CHAIN_PRIORITY, run

_INPUT_FRESHNESS_S = 0.1  # older samples are dropped: a backlog must not look fresh
_SWITCH_STATE_STALE_NS = NS_PER_S // 2
_STARTUP_S = 2.0  # an input that never came counts as silent from then on


class ProtectionParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``protection``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    diagnoses: Annotated[
        str, Meta(description="table of diagnoses; empty: the one that the pack names")
    ] = ""
    period_s: Annotated[
        float, Meta(ge=0.005, le=0.05, description="longest time between two judgements [s]")
    ] = 0.02


class Protection(BmsNode[ProtectionParameters]):
    """Decides alone whether the pack must open."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("protection", ProtectionParameters, clock, **options)

    def configure(self, parameters: ProtectionParameters) -> None:
        """Load the table and create interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        path = parameters.diagnoses or str(
            Path(parameters.pack).parent.parent / "diagnoses" / pack.diagnoses
        )
        self._table = load_table(path)
        self._engine = ProtectionEngine(self._table)
        self._pack = pack
        self._checksum = self._table.checksum()
        self._lock = threading.Lock()  # the engine: the loop judges, the executor acknowledges
        self._newest: dict[Source, Any] = {}
        self._judged: dict[Source, Any] = {}
        self._rejected = 0
        self._iteration = 0
        self._reaction = Reaction.NONE
        self._active_ids: list[int] = []
        self._close_allowed = False
        self._activated_ns = self.clock.boot_ns()
        self.advertise("protection/status", "events")
        loop = self.loop(self._step, parameters.period_s)
        self._notify = loop.notify
        self.listen("cells/measurement", self._on_cells, _INPUT_FRESHNESS_S)
        self.listen("pack/measurement", self._on_pack, _INPUT_FRESHNESS_S)
        self.listen("insulation/measurement", self._on_insulation)
        self.listen("environment/measurement", self._on_environment)
        self.listen("switch/state", self._on_switch)
        self.serve("clear_faults", self._on_clear_faults)
        self.diagnose("faults", self._report_faults)

    def activate(self) -> None:
        """Ages count from here on, so that an input that never comes is a fault."""
        self._newest.clear()
        self._judged.clear()
        self._activated_ns = self.clock.boot_ns()

    # The executor's thread only swaps references to the newest samples.

    def _on_cells(self, message: CellMeasurement) -> None:
        if signals.is_well_formed(message, self._pack):
            self._take("cells", message)
        else:
            self._rejected += 1

    def _on_pack(self, message: PackMeasurement) -> None:
        self._take("pack", message)

    def _take(self, source: Source, message: Any) -> None:
        """A sample of the chain; one that is not newer than the known one proves nothing."""
        known = self._newest.get(source)
        if known is not None and message.boot_ns <= known.boot_ns:
            self._rejected += 1
            return
        self._newest[source] = message
        self._notify()

    def _on_insulation(self, message: InsulationMeasurement) -> None:
        self._newest["insulation"] = message

    def _on_environment(self, message: EnvironmentMeasurement) -> None:
        self._newest["environment"] = message

    def _on_switch(self, message: SwitchState) -> None:
        if len(message.mismatch) == len(self._pack.switching.switches):
            self._newest["switch"] = message
        else:
            self._rejected += 1

    # The loop's thread judges.

    def _step(self, now_ns: int) -> None:
        newest = self._newest.copy()
        sampled: dict[Source, int] = {
            source: message.boot_ns
            for source, message in newest.items()
            if message is not self._judged.get(source)
        }
        values = self._signals(sampled, newest, now_ns)
        with self._lock:
            verdict = self._engine.evaluate(sampled, values, now_ns)
        self._judged = newest
        ids = [fault.diagnosis.id for fault in verdict.active]
        changed = (
            verdict.reaction is not self._reaction
            or verdict.close_allowed != self._close_allowed
            or ids != self._active_ids
        )
        if "cells" in sampled or changed:
            self._reaction, self._active_ids = verdict.reaction, ids
            self._close_allowed = verdict.close_allowed
            self._iteration += 1
            self._publish_status(verdict)
        for fault in verdict.set_now:
            self._publish_fault(fault)
        for diagnosis in verdict.cleared_now:
            self._publish_cleared(diagnosis, "over")

    def _signals(
        self, sampled: Mapping[Source, int], newest: Mapping[Source, Any], now_ns: int
    ) -> dict[Signal, Any]:
        values: dict[Signal, Any] = {
            "cells_age": self._age(now_ns, newest.get("cells")),
            "pack_age": self._age(now_ns, newest.get("pack")),
            "insulation_age": self._age(now_ns, newest.get("insulation")),
            "environment_age": self._age(now_ns, newest.get("environment")),
            "switch_state_age": self._age(now_ns, newest.get("switch")),
            "foreign_publisher": np.array([1.0 if self.foreign_publishers() else 0.0]),
        }
        if "cells" in sampled:
            values |= signals.cell_signals(newest["cells"], newest.get("pack"))
        if "pack" in sampled:
            values |= signals.pack_signals(newest["pack"])
        if "insulation" in sampled:
            values |= signals.insulation_signals(newest["insulation"])
        if "environment" in sampled:
            values |= signals.environment_signals(newest["environment"])
        if "switch" in sampled:
            values |= signals.switch_signals(newest["switch"])
        return values

    def _age(self, now_ns: int, message: Any) -> Any:
        # The switches' state has no time of sampling before the first feedback of the board.
        if message is None or message.boot_ns == 0:
            return np.array([(now_ns - self._activated_ns) / NS_PER_S - _STARTUP_S])
        return np.array([(now_ns - message.boot_ns) / NS_PER_S])

    def _publish_status(self, verdict: Verdict) -> None:
        scan = self._judged.get("cells")
        cause = verdict.first_cause
        active = verdict.active
        status = ProtectionStatus(
            header=self.header(),
            boot_ns=scan.boot_ns if scan is not None else 0,
            scan_counter=scan.scan_counter if scan is not None else 0,
            iteration=self._iteration & 0xFFFFFFFF,
            configuration_crc=self._checksum,
            diagnoses_evaluated=verdict.evaluated,
            diagnoses_total=verdict.total,
            reaction=int(verdict.reaction),
            close_allowed=verdict.close_allowed,
            first_cause=cause.diagnosis.id if cause else 0,
            first_cause_element=cause.element if cause else -1,
        )
        status.active_diagnosis = array("H", [fault.diagnosis.id for fault in active])
        status.active_reaction = array("B", [int(fault.diagnosis.demand) for fault in active])
        status.active_element = array("i", [fault.element for fault in active])
        status.active_value = array("f", [fault.value for fault in active])
        self.publish("protection/status", status)

    def _publish_fault(self, fault: ActiveFault) -> None:
        row = fault.diagnosis
        place = "" if fault.element < 0 else f" (element {fault.element})"
        self.tell(
            Event.KIND_FAULT_SET,
            f"{row.text}: {fault.value:.4g}{place}",
            _severity(row.demand),
            diagnosis=row.id,
            element=fault.element,
            value=fault.value,
        )

    def _publish_cleared(self, diagnosis: Diagnosis, how: str) -> None:
        self.tell(Event.KIND_FAULT_CLEARED, f"{how}: {diagnosis.text}", diagnosis=diagnosis.id)

    def _on_clear_faults(
        self, request: ClearFaults.Request, response: ClearFaults.Response
    ) -> ClearFaults.Response:
        if not self.is_active:
            response.code, response.message = ClearFaults.Response.CODE_NOT_ACTIVE, "not active"
            return response
        if not self._switches_are_open():
            response.code = ClearFaults.Response.CODE_CONTACTORS_CLOSED
            response.message = (
                "faults are cleared only while feedback of the switch board shows all switches open"
            )
            return response
        try:
            with self._lock:
                cleared, standing = self._engine.acknowledge(request.diagnosis)
        except KeyError as error:
            response.code = ClearFaults.Response.CODE_UNKNOWN_DIAGNOSIS
            response.message = f"the table of diagnoses holds no identifier {error.args[0]}"
            return response
        for diagnosis in self._table.diagnoses:
            if diagnosis.id in cleared:
                self._publish_cleared(diagnosis, "acknowledged")
        response.cleared, response.standing = array("H", cleared), array("H", standing)
        response.success = not standing
        if standing:
            response.code = ClearFaults.Response.CODE_STILL_STANDING
            response.message = f"{len(standing)} faults still stand: {standing}"
        else:
            response.message = f"{len(cleared)} faults cleared"
        return response

    def _switches_are_open(self) -> bool:
        switch: SwitchState | None = self._newest.get("switch")
        return (
            switch is not None
            and switch.board_valid
            and self.clock.boot_ns() - switch.boot_ns <= _SWITCH_STATE_STALE_NS
            and not any(switch.closed)
        )

    def _report_faults(self, status: Status) -> None:
        status.add(
            reaction=self._reaction.name.lower(),
            close_allowed=self._close_allowed,
            diagnoses=len(self._table.diagnoses),
            configuration_crc=f"{self._checksum:08x}",
            rejected=self._rejected,
        )
        for fault in self._engine.active:
            level = WARN if fault.diagnosis.demand <= Reaction.DERATE else ERROR
            status.report(level, fault.diagnosis.text)
            status.add(**{fault.diagnosis.name: fault.value})


def _severity(demand: Reaction) -> int:
    if demand is Reaction.INFORM:
        return int(Event.SEVERITY_INFO)
    return int(Event.SEVERITY_WARNING if demand is Reaction.DERATE else Event.SEVERITY_ERROR)


def main() -> int:
    """Process with the node ``protection``."""
    return run(Protection, real_time_priority=CHAIN_PRIORITY)
