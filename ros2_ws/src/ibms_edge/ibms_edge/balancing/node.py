# SPDX-License-Identifier: Apache-2.0
"""Node ``balancing``: decides which cells are bled and watches that they are."""

from array import array
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.balancing.balancer import Balancer, Inhibit, Thresholds
from ibms_msgs.msg import BalancingCommand, BalancingStatus, CellStates, PackState, ProtectionStatus
from ibms_ros_common.diagnostics import WARN, Status
from ibms_ros_common.node import BmsNode

_PERIOD_S = 0.5
_INPUT_STALE_NS = NS_PER_S


class BalancingParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``balancing``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    start_above_v: Annotated[
        float, Meta(gt=0, le=0.5, description="begin above the lowest cell by this [V]")
    ] = 0.010
    stop_above_v: Annotated[
        float, Meta(ge=0, le=0.5, description="end above the lowest cell by this [V]")
    ] = 0.005
    lowest_voltage_v: Annotated[
        float, Meta(ge=0, le=5, description="no cell below this is bled [V]")
    ] = 3.0
    largest_current_a: Annotated[
        float, Meta(gt=0, le=1000, description="pack current up to which voltages compare [A]")
    ] = 5.0


class Balancing(BmsNode[BalancingParameters]):
    """Commands balancing resistors; the device switches them off when the commands stop."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("balancing", BalancingParameters, clock, **options)

    def configure(self, parameters: BalancingParameters) -> None:
        """Create the balancer and its interfaces."""
        pack = load_pack(parameters.pack)
        if parameters.stop_above_v >= parameters.start_above_v:
            raise ValueError("parameter 'stop_above_v' must be below 'start_above_v'")
        self.pack_name = pack.name
        self._pack = pack
        self._balancer = Balancer(
            pack.series,
            Thresholds(
                parameters.start_above_v,
                parameters.stop_above_v,
                parameters.lowest_voltage_v,
                parameters.largest_current_a,
            ),
        )
        self._cells: CellStates | None = None
        self._state: PackState | None = None
        self._fed_back = array("B", bytes(pack.series))
        self._reaction = 0
        self._status_ns = 0
        self.advertise("balancing/command", "balancing/status")
        self.listen("cells/state", self._on_cells)
        self.listen("pack/state", self._on_state)
        self.listen("protection/status", self._on_status)
        self.every(_PERIOD_S, self._decide)
        self.diagnose("balancing", self._report)

    def _on_cells(self, message: CellStates) -> None:
        self._cells = message
        self._fed_back = message.bleed_active

    def _on_state(self, message: PackState) -> None:
        self._state = message

    def _on_status(self, message: ProtectionStatus) -> None:
        self._reaction, self._status_ns = message.reaction, message.boot_ns

    def _decide(self) -> None:
        now_ns = self.clock.boot_ns()
        cells = self._cells
        if cells is None:
            return
        voltage_v = np.frombuffer(cells.voltage_v, np.float32).astype(np.float64)
        temperature_c = np.frombuffer(cells.temperature_c, np.float32).astype(np.float64)
        bleed = self._balancer.update(
            voltage_v, temperature_c, cells.current_a, self._permission(now_ns, cells)
        )
        command = BalancingCommand(header=self.header(), boot_ns=now_ns)
        command.bleed = array("B", bleed.tobytes())
        self.publish("balancing/command", command)
        status = BalancingStatus(
            header=self.header(),
            boot_ns=now_ns,
            active=bool(bleed.any()),
            inhibited_by=int(self._balancer.inhibit),
            voltage_spread_v=float(np.ptp(voltage_v[~np.isnan(voltage_v)]))
            if not np.isnan(voltage_v).all()
            else float("nan"),
        )
        status.commanded = command.bleed
        status.fed_back = self._fed_back
        self.publish("balancing/status", status)

    def _permission(self, now_ns: int, cells: CellStates) -> Inhibit:
        state = self._state
        if (
            state is None
            or now_ns - state.boot_ns > _INPUT_STALE_NS
            or now_ns - cells.boot_ns > _INPUT_STALE_NS
            or now_ns - self._status_ns > _INPUT_STALE_NS
        ):
            return Inhibit.INPUT_STALE
        # Healthy cells are not bled down to one that is to be isolated.
        if self._reaction >= ProtectionStatus.REACTION_ISOLATE:
            return Inhibit.FAULT
        allowed = (PackState.STATE_REST, PackState.STATE_CHARGE, PackState.STATE_STANDBY)
        return Inhibit.NONE if state.state in allowed else Inhibit.PACK_STATE

    def _report(self, status: Status) -> None:
        commanded = self._balancer.bleed
        fed_back = np.frombuffer(self._fed_back, np.uint8)
        status.add(
            bleeding=int(fed_back.sum()),
            commanded=int(commanded.sum()),
            inhibited_by=self._balancer.inhibit.name.lower(),
        )
        if int((commanded != fed_back).sum()) > 0 and self.is_active:
            status.report(WARN, "feedback of the AFE modules differs from the command")
