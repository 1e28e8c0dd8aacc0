# SPDX-License-Identifier: Apache-2.0
"""Node ``protection``: judges every fresh sample and publishes the verdict."""

import threading
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ibms_battery.clock import Clock
from ibms_battery.pack import load_pack
from ibms_edge.protection.engine import Verdict
from ibms_edge.protection.judge import Judge
from ibms_edge.protection.rows import ActiveFault
from ibms_edge.protection.table import Level, Reaction, load_table
from ibms_msgs.msg import Event, ProtectionStatus
from ibms_msgs.srv import ClearFaults
from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import CHAIN_PRIORITY, run

# What a status says before anything was judged; nobody needs to hear it.
_NOTHING_SHOWN: tuple[Any, ...] = (0, Reaction.NONE, False, [], [])
_FAULTS_TOLD = 20  # identifiers in the event of a request to clear them
_INPUT_FRESHNESS_S = 0.1  # older samples are dropped: a backlog must not look fresh


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
    """Decides alone whether the pack must open or a cell must be isolated."""

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
        self._pack = pack
        self._judge = Judge(pack, self._table, self.clock.boot_ns())
        # The judge: the loop judges, the executor acknowledges.
        self._lock = threading.Lock()
        self._newest: dict[str, tuple[Callable[[Any], bool], Any]] = {}
        self._taken: dict[str, Any] = {}
        self._rejected: Counter[str] = Counter()
        self._shown: tuple[Any, ...] = _NOTHING_SHOWN
        self._iteration = 0
        self._verdict = Verdict()
        self.advertise("protection/status", "events")
        loop = self.loop(self._step, parameters.period_s)
        self._notify = loop.notify
        self.listen("cells/measurement", self._on_cells, _INPUT_FRESHNESS_S)
        self.listen("pack/measurement", self._on_pack, _INPUT_FRESHNESS_S)
        self.listen("insulation/measurement", self._hold("insulation", "take_insulation"))
        self.listen("environment/measurement", self._hold("environment", "take_environment"))
        self.listen("switch/state", self._on_switch)
        self.listen("pack/state", self._hold("pack state", "take_pack_state"))
        self.listen("protection/lockouts", self._hold("lockouts", "take_lockouts"))
        self.serve("clear_faults", self._on_clear_faults)
        self.diagnose("faults", self._report_faults)

    def activate(self) -> None:
        """Ages count from here on, so that an input that never comes is a fault."""
        with self._lock:
            self._judge = Judge(self._pack, self._table, self.clock.boot_ns())
            self._shown = _NOTHING_SHOWN
            lockouts = self._newest.get("lockouts")
            self._newest.clear()
            self._taken.clear()
            if lockouts is not None:  # they come once, and hold for every judge
                self._newest["lockouts"] = (self._judge.take_lockouts, lockouts[1])

    # The executor's thread only swaps references to the newest samples.

    def _hold(self, what: str, take: str) -> Callable[[Any], None]:
        def on_message(message: Any) -> None:
            self._newest[what] = (getattr(self._judge, take), message)

        return on_message

    def _on_cells(self, message: Any) -> None:
        self._newest["cells"] = (self._judge.take_cells, message)
        self._notify()

    def _on_pack(self, message: Any) -> None:
        self._newest["pack"] = (self._judge.take_pack, message)
        self._notify()

    def _on_switch(self, message: Any) -> None:
        self._newest["switch"] = (self._judge.take_switch, message)
        if not message.interlock_closed or message.emergency_stop or message.crash_input:
            self._notify()

    # The loop's thread judges.

    def _step(self, now_ns: int) -> None:
        with self._lock:  # a status speaks of what was judged, not of what came meanwhile
            for what in tuple(self._newest):
                self._take_newest(what)
            verdict = self._judge.judge(
                now_ns, self.clock.wall_ns(), bool(self.foreign_publishers())
            )
            status = self._status_to_publish(verdict)
        self._verdict = verdict
        if status is not None:
            status.header = self.header()
            self.publish("protection/status", status)
        for fault in verdict.set_now:
            self._publish_fault(fault)
        for fault in verdict.cleared_now:
            self._publish_cleared(fault, "over")

    def _status_to_publish(self, verdict: Verdict) -> ProtectionStatus | None:
        """A status for each new scan and for each change of the verdict."""
        cells = self._judge.judged_cells
        shown = (
            cells.boot_ns if cells is not None else 0,
            verdict.reaction,
            verdict.close_allowed,
            verdict.isolate_cells,
            [(fault.diagnosis.id, fault.level) for fault in verdict.active],
        )
        if shown == self._shown:
            return None
        self._shown = shown
        status = self._judge.status(verdict)
        self._iteration += 1
        status.iteration = self._iteration & 0xFFFFFFFF
        return status

    def _take_newest(self, what: str) -> None:
        take, message = self._newest[what]
        if message is not self._taken.get(what):
            self._taken[what] = message
            if not take(message):
                self._rejected[what] += 1

    def _publish_fault(self, fault: ActiveFault) -> None:
        row = fault.diagnosis
        place = "" if fault.element < 0 else f" (element {fault.element})"
        level = "" if fault.level is Level.SAFETY else f", {fault.level.name.lower()} limit"
        self.tell(
            Event.KIND_FAULT_SET,
            f"{row.text}: {fault.value:.4g}{place}{level}",
            int(row.severity_at(fault.level)),
            diagnosis=row.id,
            element=fault.element,
            value=fault.value,
        )

    def _publish_cleared(self, fault: ActiveFault, how: str) -> None:
        row = fault.diagnosis
        level = "" if fault.level is Level.SAFETY else f", {fault.level.name.lower()} limit"
        self.tell(Event.KIND_FAULT_CLEARED, f"{how}: {row.text}{level}", diagnosis=row.id)

    def _on_clear_faults(
        self, request: ClearFaults.Request, response: ClearFaults.Response
    ) -> ClearFaults.Response:
        if not self.is_active:
            response.code, response.message = ClearFaults.Response.CODE_NOT_ACTIVE, "not active"
            return response
        self._clear_faults(request, response)
        wanted = ", ".join(map(str, request.diagnosis[:_FAULTS_TOLD])) or "all"
        more = " and more" if len(request.diagnosis) > _FAULTS_TOLD else ""
        self.tell(
            Event.KIND_REQUEST,
            f"somebody asks to clear faults ({wanted}{more}): {response.message}",
            Event.SEVERITY_INFO if response.success else Event.SEVERITY_WARNING,
        )
        return response

    def _clear_faults(self, request: ClearFaults.Request, response: ClearFaults.Response) -> None:
        with self._lock:
            if "switch" in self._newest:
                self._take_newest("switch")
            if not self._judge.switches_are_open(self.clock.boot_ns()):
                response.code = ClearFaults.Response.CODE_CONTACTORS_CLOSED
                response.message = (
                    "faults are cleared only while feedback of the switch board shows all switches "
                    "open"
                )
                return
            before = self._judge.engine.active
            try:
                cleared, standing = self._judge.engine.acknowledge(request.diagnosis)
            except KeyError as error:
                response.code = ClearFaults.Response.CODE_UNKNOWN_DIAGNOSIS
                response.message = f"the table of diagnoses holds no identifier {error.args[0]}"
                return
            after = self._judge.engine.active
        for fault in before:
            if fault not in after:
                self._publish_cleared(fault, "acknowledged")
        response.cleared, response.standing = array("H", cleared), array("H", standing)
        response.success = not standing
        if standing:
            response.code = ClearFaults.Response.CODE_STILL_STANDING
            locked = self._table.lockouts.intersection(standing)
            hint = f" (lock-outs are cleared by naming them: {sorted(locked)})" if locked else ""
            response.message = f"{len(standing)} faults still stand: {standing}{hint}"
        else:
            response.message = f"{len(cleared)} faults cleared"

    def _report_faults(self, status: Status) -> None:
        verdict = self._verdict
        status.add(
            reaction=verdict.reaction.name.lower(),
            close_allowed=verdict.close_allowed,
            diagnoses=len(self._table.diagnoses),
            configuration_crc=f"{self._table.checksum():08x}",
        )
        status.add_counts({f"rejected {what}": n for what, n in self._rejected.copy().items()})
        silent = self._judge.engine.never_evaluated
        if self.is_active and silent:
            status.add(**{"without a value now": ", ".join(row.name for row in silent)})
        if self._judge.engine.waits_for_lockouts:
            status.report(WARN, "the event memory has not told of lock-outs: closing is refused")
        for fault in verdict.active:
            level = WARN if fault.demand <= Reaction.DERATE else ERROR
            status.report(level, fault.diagnosis.text)
            status.add(**{fault.diagnosis.name: fault.value})


def main() -> int:
    """Process with the node ``protection``."""
    return run(Protection, real_time_priority=CHAIN_PRIORITY)
