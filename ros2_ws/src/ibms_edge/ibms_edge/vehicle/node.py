# SPDX-License-Identifier: Apache-2.0
"""Node ``vehicle_interface``: the pack towards vehicles on CAN, towards robots as BatteryState."""

from pathlib import Path
from typing import Annotated, Any

import can
import numpy as np
from msgspec import Meta, Struct

from ibms_battery.cell import load_cell
from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.circuit import in_circuit
from ibms_edge.vehicle.battery_state import battery_state
from ibms_edge.vehicle.last_opening import LastOpening
from ibms_edge.vehicle.requests import STEP_PERIOD_S, VehicleRequests
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.can.receiver import CanReceiver
from ibms_end.hardware_node import HardwareNode
from ibms_end.mapping import load_map
from ibms_msgs.msg import (
    CellStates,
    PackEstimate,
    PackLimits,
    PackState,
    ProtectionStatus,
    SwitchState,
    ThermalState,
)
from ibms_ros_common.diagnostics import WARN, Status

_PERIOD_S = 0.1
_BATTERY_STATE_PERIOD_S = 0.2
_LAST_OPENING_PERIOD_S = 1.0
_INPUT_STALE_NS = NS_PER_S
_LIMITS_STALE_NS = 300_000_000


class VehicleInterfaceParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``vehicle_interface``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()
    serial_number: Annotated[str, Meta(description="serial number of the pack")] = ""


class VehicleInterface(HardwareNode[VehicleInterfaceParameters]):
    """Sends status and limits, takes requests; limits that are old go out as zero."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("vehicle_interface", VehicleInterfaceParameters, clock, **options)

    def configure(self, parameters: VehicleInterfaceParameters) -> None:
        """Open the bus, create codecs, clients and interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._pack = pack
        self._serial_number = parameters.serial_number
        config = Path(parameters.pack).parent.parent
        self._cell = load_cell(config / "cells" / f"{pack.cell}.yaml")
        database = load_map(config / "can" / "maps" / pack.can_map, pack).database
        request = find_message(database, "VehicleRequest")
        self._decoder = FrameDecoder(request, protected=True)
        self._encoders = {
            name: FrameEncoder(find_message(database, name))
            for name in (
                "VehicleStatus",
                "VehicleLimits",
                "VehicleBattery",
                "VehicleAnswer",
                "LastOpening",
            )
        }
        self._cells: CellStates | None = None
        self._estimate: PackEstimate | None = None
        self._state: PackState | None = None
        self._limits: PackLimits | None = None
        self._status: ProtectionStatus | None = None
        self._switches: SwitchState | None = None
        self._runaway_alarm = False  # kept when thermal control falls silent
        self._shown: tuple[int, ...] = ()
        self._requests = VehicleRequests(
            self.client("request_pack_state"), self.client("clear_faults"), self.clock, self._answer
        )
        self._last_opening = LastOpening(
            self.client("explain_opening"),
            self.clock,
            lambda values: self._transmit("LastOpening", values),
        )
        self._receiver = CanReceiver(
            parameters.bus, [request.frame_id], self.clock, self._on_frame, idle_period_s=0.5
        )
        self.attach(self._receiver)
        self.advertise("battery_state")
        self.listen("cells/state", self._on_cells)
        self.listen("pack/estimate", self._on_estimate)
        self.listen("pack/state", self._on_state)
        self.listen("pack/limits", self._on_limits)
        self.listen("protection/status", self._on_status)
        self.listen("switch/state", self._on_switches)
        self.listen("thermal/state", self._on_thermal)
        self.every(STEP_PERIOD_S, self._requests.step)
        self.every(_PERIOD_S, self._send)
        self.every(_BATTERY_STATE_PERIOD_S, self._publish_battery_state)
        self.every(_LAST_OPENING_PERIOD_S, self._last_opening.ask)
        self.diagnose("vehicle", self._report)

    def _on_cells(self, message: CellStates) -> None:
        self._cells = message

    def _on_estimate(self, message: PackEstimate) -> None:
        self._estimate = message

    def _on_limits(self, message: PackLimits) -> None:
        before, self._limits = self._limits, message
        # What the vehicle may take less than before must not wait for the next cycle.
        if before is not None and (
            message.charge_current_a < before.charge_current_a
            or message.discharge_current_a < before.discharge_current_a
        ):
            self._send_limits()

    def _on_state(self, message: PackState) -> None:
        self._state = message
        self._send_status_on_change()

    def _on_status(self, message: ProtectionStatus) -> None:
        self._status = message
        self._send_status_on_change()

    def _on_switches(self, message: SwitchState) -> None:
        self._switches = message

    def _on_thermal(self, message: ThermalState) -> None:
        self._runaway_alarm = message.runaway_alarm

    # Requests of the vehicle: received in the bus thread, carried out in the executor.

    def _on_frame(self, message: can.Message, boot_ns: int) -> None:
        values = self._decoder.decode(message.data)
        if values is not None:
            self._requests.take(values, boot_ns)

    def _answer(self, sequence: int, code: int) -> None:
        self._transmit("VehicleAnswer", {"Sequence": sequence, "Code": code})

    # Cyclic frames.

    def _send(self) -> None:
        self._send_status()
        self._send_limits()
        self._send_battery()

    def _send_status_on_change(self) -> None:
        if self._shown != self._status_values():
            self._send_status()

    def _status_values(self) -> tuple[int, ...]:
        status = self._status
        state = self._state.state if self._state is not None else PackState.STATE_OFF
        if status is None:
            return (state, 0, 0, -1)
        cause, element = status.first_cause, status.first_cause_element
        if cause == 0 and status.active_diagnosis:
            cause, element = status.active_diagnosis[0], status.active_element[0]
        if cause == 0 and self._state is not None:
            cause, element = self._state.cause, self._state.cause_element
        return (state, status.reaction, cause, element)

    def _send_status(self) -> None:
        values = self._status_values()
        self._shown = values
        self._transmit(
            "VehicleStatus",
            dict(zip(("PackState", "Reaction", "Cause", "CauseElement"), values, strict=True)),
        )

    def _send_limits(self) -> None:
        limits = self._limits
        if limits is None or self.clock.boot_ns() - limits.boot_ns > _LIMITS_STALE_NS:
            limits = PackLimits(limited_by=PackLimits.LIMIT_INPUT_STALE)
        self._transmit(
            "VehicleLimits",
            {
                "LimitedBy": limits.limited_by,
                "ChargeCurrent": min(limits.charge_current_a, 6553.0),
                "DischargeCurrent": min(limits.discharge_current_a, 6553.0),
                "ChargePower": min(limits.charge_power_w, 655_000.0),
                "DischargePower": min(limits.discharge_power_w, 655_000.0),
                "ChargeVoltage": limits.charge_voltage_v,
                "DischargeVoltage": limits.discharge_voltage_v,
            },
        )

    def _send_battery(self) -> None:
        cells, state = self._cells, self._state
        now_ns = self.clock.boot_ns()
        # A silent supervisor counts as its wish for zero current.
        supervised = state is not None and now_ns - state.boot_ns <= _INPUT_STALE_NS
        zero_current = not supervised or (state is not None and state.zero_current_requested)
        values: dict[str, float] = {
            "ZeroCurrentRequest": int(zero_current),
            "ThermalRunaway": int(self._runaway_alarm),
            "Valid": 0,
        }
        estimate = self._fresh_estimate(now_ns)
        if (
            cells is not None
            and now_ns - cells.boot_ns <= _INPUT_STALE_NS
            and estimate is not None
            and estimate.valid
        ):
            connected = in_circuit(self._pack, self._switches, now_ns)
            voltage_v = np.frombuffer(cells.voltage_v, np.float32)[connected]
            temperature_c = np.frombuffer(cells.temperature_c, np.float32)
            everything = (*voltage_v, *temperature_c, cells.current_a)
            if connected.any() and not np.isnan(everything).any():
                values |= {
                    "Valid": 1,
                    "StateOfCharge": estimate.soc * 100.0,
                    "PackVoltage": float(voltage_v.sum()) / self._pack.parallel_strings,
                    "Current": float(np.clip(cells.current_a, -3000, 3000)),
                    "MinimumTemperature": float(temperature_c.min()),
                    "MaximumTemperature": float(temperature_c.max()),
                    "MinimumCellVoltage": float(voltage_v.min()),
                    "MaximumCellVoltage": float(voltage_v.max()),
                }
        self._transmit("VehicleBattery", values)

    def _transmit(self, message: str, values: dict[str, float]) -> None:
        self._receiver.send(self._encoders[message].encode(values))

    def _publish_battery_state(self) -> None:
        cells, now_ns = self._cells, self.clock.boot_ns()
        if cells is not None and now_ns - cells.boot_ns > _INPUT_STALE_NS:
            cells = None
        message = battery_state(
            self._pack,
            self._cell,
            cells,
            self._fresh_estimate(now_ns),
            in_circuit(self._pack, self._switches, now_ns),
            self._state,
            self._serial_number,
        )
        message.header = self.header(cells.boot_ns if cells is not None else None)
        self.publish("battery_state", message)

    def _fresh_estimate(self, now_ns: int) -> PackEstimate | None:
        estimate = self._estimate
        fresh = estimate is not None and now_ns - estimate.boot_ns <= _INPUT_STALE_NS
        return estimate if fresh else None

    def _report(self, status: Status) -> None:
        status.add_counts(self._decoder.rejected)
        health = self._receiver.health
        status.add(connected=health.connected)
        status.add_counts(health.counts)
        if not health.connected:
            status.report(WARN, health.problem)
