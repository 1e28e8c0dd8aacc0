# SPDX-License-Identifier: Apache-2.0
"""Node ``power_limits``: publishes what the pack can give and take."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from ibms_battery.cell import load_cell
from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.circuit import in_circuit
from ibms_edge.limits.curves import load_curves
from ibms_edge.limits.power_limits import (
    NONE_ALLOWED,
    CellsNow,
    FloatArray,
    LimitedBy,
    Limits,
    PowerLimits,
    Prediction,
)
from ibms_msgs.msg import (
    CellStates,
    PackLimits,
    PackPower,
    PackState,
    ProtectionStatus,
    SwitchState,
)
from ibms_ros_common.diagnostics import WARN, Status
from ibms_ros_common.node import BmsNode

_PERIOD_S = 0.1
_INPUT_STALE_NS = NS_PER_S // 2
_HORIZON_S = 10.0
_CONNECTED = (PackState.STATE_PRECHARGE, PackState.STATE_DRIVE, PackState.STATE_CHARGE)


class PowerLimitsParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``power_limits``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]


class PowerLimitsNode(BmsNode[PowerLimitsParameters]):
    """Zero at once while inputs are stale, a fault demands opening, or the contactors are open."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("power_limits", PowerLimitsParameters, clock, **options)

    def configure(self, parameters: PowerLimitsParameters) -> None:
        """Load pack, cell and its derating, create interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        config = Path(parameters.pack).parent.parent
        self._cell = load_cell(config / "cells" / f"{pack.cell}.yaml")
        self._pack = pack
        curves = load_curves(config / "limits" / f"{pack.cell}.yaml", self._cell)
        self._limits = PowerLimits(self._cell, pack.parallel, curves)
        self._cells: CellStates | None = None
        self._incomplete = self._unusable = 0
        self._status: ProtectionStatus | None = None
        self._state: PackState | None = None
        self._switches: SwitchState | None = None
        self._power: PackPower | None = None
        self._last: Limits = NONE_ALLOWED
        self.advertise("pack/limits")
        self.listen("cells/state", self._on_cells)
        self.listen("pack/power", self._on_power)
        self.listen("pack/state", self._on_state)
        self.listen("protection/status", self._on_status)
        self.listen("switch/state", self._on_switches)
        self.every(_PERIOD_S, self._publish)
        self.diagnose("limits", self._report)

    def _on_cells(self, message: CellStates) -> None:
        # A value that is missing once must not stop a vehicle: the last complete message counts
        # until it is stale.
        if self._cells_now(message).is_complete:
            self._cells = message
        else:
            self._incomplete += 1

    def _on_power(self, message: PackPower) -> None:
        if _is_usable(message):
            self._power = message
        else:
            self._unusable += 1

    def _on_state(self, message: PackState) -> None:
        self._state = message

    def _on_status(self, message: ProtectionStatus) -> None:
        before, self._status = self._status, message
        if before is not None and _opens(message) and not _opens(before):
            self._publish()

    def _on_switches(self, message: SwitchState) -> None:
        self._switches = message

    def _cells_now(self, cells: CellStates) -> CellsNow:
        """State of the cells that carry the pack's current; temperatures of all."""

        def values(field: Any) -> FloatArray:
            return np.frombuffer(field, np.float32).astype(np.float64)

        connected = in_circuit(self._pack, self._switches, self.clock.boot_ns())
        return CellsNow(
            voltage_v=values(cells.voltage_v)[connected],
            temperature_c=values(cells.temperature_c),
            soc=values(cells.soc)[connected],
            resistance_ohm=values(cells.resistance_ohm)[connected],
            current_a=cells.current_a,
        )

    def _publish(self) -> None:
        now_ns = self.clock.boot_ns()
        cells, state, status = self._cells, self._state, self._status
        voltage_v, groups = 0.0, float(self._pack.groups_in_series)
        if (
            cells is None
            or state is None
            or status is None
            or now_ns - min(cells.boot_ns, state.boot_ns, status.boot_ns) > _INPUT_STALE_NS
        ):
            self._last = self._limits.forbid(LimitedBy.INPUT_STALE, now_ns)
        elif _opens(status):
            self._last = self._limits.forbid(LimitedBy.FAULT, now_ns)
        elif state.state not in _CONNECTED:
            self._last = self._limits.forbid(LimitedBy.PACK_STATE, now_ns)
        elif not (present := self._cells_now(cells)).is_complete:  # a bypassed cell came back
            self._last = self._limits.forbid(LimitedBy.INPUT_STALE, now_ns)
        else:
            groups = len(present.voltage_v) / self._pack.parallel_strings
            voltage_v = float(present.voltage_v.sum()) / self._pack.parallel_strings
            derate = status.reaction >= ProtectionStatus.REACTION_DERATE
            withdraw = state.zero_current_requested
            self._last = self._limits.update(
                present, derate, withdraw, now_ns, self._prediction(now_ns)
            )
        self.publish("pack/limits", self._message(now_ns, voltage_v, groups))

    def _prediction(self, now_ns: int) -> Prediction | None:
        """For ten seconds, where it is fresh and knows all cells: without it the curves decide."""
        power = self._power
        if power is None or now_ns - power.boot_ns > _INPUT_STALE_NS:
            return None
        at = list(power.horizon_s).index(_HORIZON_S)
        causes = power.charge_limited_by[at], power.discharge_limited_by[at]
        if PackPower.LIMIT_UNKNOWN in causes:
            return None
        charge, discharge = (LimitedBy(cause) for cause in causes)
        return Prediction(
            (power.charge_current_a[at], charge), (power.discharge_current_a[at], discharge)
        )

    def _message(self, now_ns: int, voltage_v: float, groups: float) -> PackLimits:
        last = self._last
        return PackLimits(
            header=self.header(),
            boot_ns=now_ns,
            charge_current_a=last.charge_current_a,
            discharge_current_a=last.discharge_current_a,
            charge_power_w=last.charge_current_a * voltage_v,
            discharge_power_w=last.discharge_current_a * voltage_v,
            charge_voltage_v=groups * self._cell.maximum_voltage_v,
            discharge_voltage_v=groups * self._cell.minimum_voltage_v,
            limited_by=int(last.limited_by),
        )

    def _report(self, status: Status) -> None:
        status.add(
            charge_current_a=self._last.charge_current_a,
            discharge_current_a=self._last.discharge_current_a,
            limited_by=self._last.limited_by.name.lower(),
            incomplete=self._incomplete,
            unusable_predictions=self._unusable,
            predicted=self._prediction(self.clock.boot_ns()) is not None,
        )
        if self._last.limited_by is LimitedBy.INPUT_STALE:
            status.report(WARN, "inputs are stale, limits are zero")
        elif self._last.limited_by is LimitedBy.FAULT:
            status.report(WARN, f"reduced by {_faults(self._status)}")


def _is_usable(power: PackPower) -> bool:
    """Whether a prediction tells its ten seconds in finite currents."""
    fields = (
        power.charge_current_a,
        power.discharge_current_a,
        power.charge_limited_by,
        power.discharge_limited_by,
    )
    horizons = list(power.horizon_s)
    if _HORIZON_S not in horizons or any(len(field) != len(horizons) for field in fields):
        return False
    return bool(np.isfinite([*power.charge_current_a, *power.discharge_current_a]).all())


def _opens(status: ProtectionStatus) -> bool:
    """Whether protection demands opening."""
    return bool(status.reaction >= ProtectionStatus.REACTION_OPEN_AFTER_ZERO_CURRENT)


def _faults(status: ProtectionStatus | None) -> str:
    """Diagnoses that reduce the limits, by number and element."""
    if status is None:
        return "a fault that has passed"
    active = zip(
        status.active_diagnosis, status.active_element, status.active_reaction, strict=True
    )
    named = [
        f"diagnosis {diagnosis}" + (f" (element {element})" if element >= 0 else "")
        for diagnosis, element, reaction in active
        if reaction >= ProtectionStatus.REACTION_DERATE
    ]
    return ", ".join(named) or "a fault that has passed"
