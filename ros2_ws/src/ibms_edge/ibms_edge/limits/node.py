# SPDX-License-Identifier: Apache-2.0
"""Node ``power_limits``: publishes what the pack can give and take."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_cell, load_pack
from ibms_edge.limits.power_limits import NONE_ALLOWED, LimitedBy, Limits, PowerLimits
from ibms_msgs.msg import CellStates, PackLimits, PackState, ProtectionStatus
from ibms_ros_common.diagnostics import WARN, Status
from ibms_ros_common.node import BmsNode

_PERIOD_S = 0.1
_INPUT_STALE_NS = NS_PER_S // 2


class PowerLimitsParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``power_limits``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]


class PowerLimitsNode(BmsNode[PowerLimitsParameters]):
    """Zero while inputs are stale, a fault demands opening, or the contactors are to be open."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("power_limits", PowerLimitsParameters, clock, **options)

    def configure(self, parameters: PowerLimitsParameters) -> None:
        """Load pack and cell, create interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._cell = load_cell(Path(parameters.pack).parent.parent / "cells" / f"{pack.cell}.yaml")
        self._pack = pack
        self._limits = PowerLimits(self._cell, pack.parallel)
        self._cells: CellStates | None = None
        self._incomplete = 0
        self._reaction = 0
        self._status_ns = 0
        self._state: PackState | None = None
        self._last: Limits = NONE_ALLOWED
        self.advertise("pack/limits")
        self.listen("cells/state", self._on_cells)
        self.listen("pack/state", self._on_state)
        self.listen("protection/status", self._on_status)
        self.every(_PERIOD_S, self._publish)
        self.diagnose("limits", self._report)

    def _on_cells(self, message: CellStates) -> None:
        # A value that is missing once must not stop a vehicle: the last complete message counts
        # until it is stale.
        measured = (message.voltage_v, message.temperature_c)
        if any(np.isnan(np.frombuffer(values, np.float32)).any() for values in measured):
            self._incomplete += 1
        else:
            self._cells = message

    def _on_state(self, message: PackState) -> None:
        self._state = message

    def _on_status(self, message: ProtectionStatus) -> None:
        self._reaction, self._status_ns = message.reaction, message.boot_ns

    def _publish(self) -> None:
        now_ns = self.clock.boot_ns()
        cells, state = self._cells, self._state
        stale = (
            cells is None
            or state is None
            or now_ns - cells.boot_ns > _INPUT_STALE_NS
            or now_ns - state.boot_ns > _INPUT_STALE_NS
            or now_ns - self._status_ns > _INPUT_STALE_NS
        )
        if stale or cells is None or state is None:
            self._last = self._limits.update(
                np.empty(0), np.empty(0), np.empty(0), False, LimitedBy.INPUT_STALE, now_ns
            )
            voltage_v = float("nan")
        else:
            voltages = np.frombuffer(cells.voltage_v, np.float32).astype(np.float64)
            self._last = self._limits.update(
                voltages,
                np.frombuffer(cells.temperature_c, np.float32).astype(np.float64),
                np.frombuffer(cells.soc, np.float32).astype(np.float64),
                self._reaction >= ProtectionStatus.REACTION_DERATE,
                self._forbidden(state),
                now_ns,
            )
            voltage_v = float(voltages.sum())
        self.publish("pack/limits", self._message(now_ns, voltage_v))

    def _forbidden(self, state: PackState) -> LimitedBy | None:
        if self._reaction >= ProtectionStatus.REACTION_OPEN_AFTER_ZERO_CURRENT:
            return LimitedBy.FAULT
        connected = (PackState.STATE_PRECHARGE, PackState.STATE_DRIVE, PackState.STATE_CHARGE)
        if state.state not in connected or state.zero_current_requested:
            return LimitedBy.PACK_STATE
        return None

    def _message(self, now_ns: int, voltage_v: float) -> PackLimits:
        last, series = self._last, self._pack.series
        power = 0.0 if voltage_v != voltage_v else voltage_v
        return PackLimits(
            header=self.header(),
            boot_ns=now_ns,
            charge_current_a=last.charge_current_a,
            discharge_current_a=last.discharge_current_a,
            charge_power_w=last.charge_current_a * power,
            discharge_power_w=last.discharge_current_a * power,
            charge_voltage_v=series * self._cell.maximum_voltage_v,
            discharge_voltage_v=series * self._cell.minimum_voltage_v,
            limited_by=int(last.limited_by),
        )

    def _report(self, status: Status) -> None:
        status.add(
            charge_current_a=self._last.charge_current_a,
            discharge_current_a=self._last.discharge_current_a,
            limited_by=self._last.limited_by.name.lower(),
            incomplete=self._incomplete,
        )
        if self._last.limited_by is LimitedBy.INPUT_STALE:
            status.report(WARN, "inputs are stale, limits are zero")
