# SPDX-License-Identifier: Apache-2.0
"""Node ``charger_interface``: asks the charger for what the pack may take, and tells its state."""

import math
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import can
import numpy as np
from msgspec import Meta, Struct

from ibms_battery.cell import load_cell
from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.charging.elcon import NO_OUTPUT, REQUEST_PERIOD_S, ElconLink, Report, Request
from ibms_edge.charging.session import Allowed, Cells, ChargeSession, PackNow, State
from ibms_edge.circuit import in_circuit
from ibms_edge.limits.power_limits import LimitedBy
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.receiver import CanReceiver
from ibms_end.hardware_node import HardwareNode
from ibms_msgs.msg import CellStates, ChargerState, Event, PackLimits, PackState, SwitchState
from ibms_ros_common.diagnostics import ERROR, WARN, Status

_STEP_PERIOD_S = 0.1
_STATE_PERIOD_S = 0.2
_REQUEST_PERIOD_NS = round(REQUEST_PERIOD_S * NS_PER_S)
_NO_CHARGER = "the pack's description names no charger"


class ChargerInterfaceParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``charger_interface``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()


class ChargerInterface(HardwareNode[ChargerInterfaceParameters]):
    """Idle where the pack's description names no charger."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("charger_interface", ChargerInterfaceParameters, clock, **options)

    def configure(self, parameters: ChargerInterfaceParameters) -> None:
        """Load pack and protocol, open the bus, create interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._pack = pack
        self._session: ChargeSession | None = None
        self.advertise("charger/state", "events")
        self.every(_STATE_PERIOD_S, self._publish_state)
        self.diagnose("charger", self._report)
        if pack.charger is None:
            self.get_logger().info(f"{_NO_CHARGER}: nothing is asked of one")
            return
        config = Path(parameters.pack).parent.parent
        cell = load_cell(config / "cells" / f"{pack.cell}.yaml")
        self._session = ChargeSession(
            pack.charger,
            cell.capacity_ah * pack.parallel * pack.parallel_strings,
            pack.groups_in_series,
            cell.maximum_voltage_v,
        )
        self._switches: SwitchState | None = None
        self._link = ElconLink(config / "can")
        self._received: deque[Report] = deque(maxlen=100)  # from the bus thread to the executor
        self._sent, self._sent_ns = NO_OUTPUT, 0
        bus = parameters.bus
        if pack.charger.bus_channel:
            bus = BusConfiguration(bus.interface, pack.charger.bus_channel, "classic")
        self._receiver = CanReceiver(
            bus,
            [self._link.report_identifier],
            self.clock,
            self._on_frame,
            idle_period_s=0.5,
        )
        self.attach(self._receiver)
        self.listen("pack/limits", self._on_limits)
        self.listen("pack/state", self._on_pack_state)
        self.listen("cells/state", self._on_cells)
        self.listen("switch/state", self._on_switches)
        self.every(_STEP_PERIOD_S, self._step)

    def deactivate(self) -> None:
        """Ask the charger to stop, then fall silent."""
        if self._session is not None:
            self._send(NO_OUTPUT, self.clock.boot_ns())
        super().deactivate()

    def _on_frame(self, message: can.Message, boot_ns: int) -> None:
        report = self._link.decode(message, boot_ns)
        if report is not None:
            self._received.append(report)

    def _on_limits(self, limits: PackLimits) -> None:
        assert self._session is not None
        self._session.take_allowed(
            Allowed(
                limits.boot_ns,
                limits.charge_current_a,
                limits.charge_voltage_v,
                LimitedBy(limits.limited_by),
            )
        )

    def _on_pack_state(self, state: PackState) -> None:
        assert self._session is not None
        self._session.take_pack_state(
            PackNow(
                boot_ns=state.boot_ns,
                in_charge=state.state == PackState.STATE_CHARGE,
                leaving=state.zero_current_requested,
            )
        )

    def _on_cells(self, cells: CellStates) -> None:
        assert self._session is not None
        connected = in_circuit(self._pack, self._switches, self.clock.boot_ns())
        voltage_v = np.frombuffer(cells.voltage_v, np.float32)[connected]
        # With NaN nothing is compared: what is not measured is for protection to judge.
        self._session.take_cells(
            Cells(
                boot_ns=cells.boot_ns,
                current_a=cells.current_a,
                highest_cell_v=float(voltage_v.max(initial=-math.inf)),
            )
        )

    def _on_switches(self, switches: SwitchState) -> None:
        assert self._session is not None
        self._switches = switches
        self._session.take_pack_voltage(switches.pack_voltage_v)

    def _step(self) -> None:
        session = self._session
        assert session is not None
        while self._received:
            session.take_report(self._received.popleft())
        now_ns = self.clock.boot_ns()
        request = session.step(now_ns)
        less = request.current_a < self._sent.current_a or request.voltage_v < self._sent.voltage_v
        # What the pack may take less than before must not wait for the next period.
        if less or now_ns - self._sent_ns >= _REQUEST_PERIOD_NS:
            self._send(request, now_ns)
        while session.news:
            severity, text = session.news.pop(0)
            self.tell(Event.KIND_DEVICE, text, int(severity))

    def _send(self, request: Request, now_ns: int) -> None:
        if self._receiver.send(self._link.encode(request)):
            self._sent, self._sent_ns = request, now_ns

    def _publish_state(self) -> None:
        message = ChargerState(
            header=self.header(),
            boot_ns=self.clock.boot_ns(),
            output_voltage_v=math.nan,
            output_current_a=math.nan,
            text=_NO_CHARGER,
        )
        session = self._session
        if session is not None:
            message.state = int(session.state)
            message.requested_voltage_v = session.requested.voltage_v
            message.requested_current_a = session.requested.current_a
            message.over_delivery = session.over_delivery
            message.text = session.text
            if session.report is not None and session.state is not State.UNPLUGGED:
                message.output_voltage_v = session.report.voltage_v
                message.output_current_a = session.report.current_a
                message.status = int(session.report.status)
        self.publish("charger/state", message)

    def _report(self, status: Status) -> None:
        session = self._session
        if session is None:
            status.message = _NO_CHARGER
            return
        status.add(
            state=session.state.name.lower(),
            requested_current_a=session.requested.current_a,
            requested_voltage_v=session.requested.voltage_v,
        )
        status.add_counts(self._link.rejected)
        health = self._receiver.health
        status.add_counts(health.counts)
        if session.over_delivery:
            status.report(ERROR, session.text)
        elif session.state is State.FAULT:
            status.report(WARN, session.text)
        elif not health.connected:
            status.report(WARN, health.problem)
        else:
            status.message = session.text
