# SPDX-License-Identifier: Apache-2.0
"""Node ``thermal_control``: commands pump, fan, chiller and heater over CAN."""

import math
from pathlib import Path
from typing import Annotated, Any

import can
import numpy as np
from builtin_interfaces.msg import Time
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.circuit import in_circuit
from ibms_edge.protection.table import table_of
from ibms_edge.thermal import runaway
from ibms_edge.thermal.controller import Actuators, Mode, ThermalController, Thresholds
from ibms_edge.thermal.preconditioning import (
    ForbiddenError,
    OutOfRangeError,
    Preconditioning,
    Situation,
)
from ibms_edge.thermal.runaway import Detection, RunawayAlarm
from ibms_edge.thermal.temperatures import CellTemperatures
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.can.receiver import CanReceiver
from ibms_end.hardware_node import HardwareNode
from ibms_end.mapping import load_map
from ibms_msgs.msg import (
    CellStates,
    Event,
    PackState,
    ProtectionStatus,
    SwitchState,
    ThermalState,
)
from ibms_msgs.srv import RequestPreconditioning
from ibms_ros_common.diagnostics import ERROR, WARN, Status

_PERIOD_S = 0.5
_INPUT_STALE_NS = NS_PER_S
# Told within three of its periods and 100 ms, of which the watch takes one period.
_FEEDBACK_STALE_NS = 1_530_000_000
_WATCH_PERIOD_S = 0.05
_TOLERANCE = 0.02
_NAMES = ("Pump", "Fan", "Chiller", "Heater")
_IN_USE = (PackState.STATE_DRIVE, PackState.STATE_CHARGE)
_PRECONDITIONED = (*_IN_USE, PackState.STATE_STANDBY, PackState.STATE_REST)


class ThermalControlParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``thermal_control``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    diagnoses: Annotated[
        str, Meta(description="table of diagnoses; empty: the one that the pack names")
    ] = ""
    bus: BusConfiguration = BusConfiguration()
    cool_on_c: Annotated[float, Meta(ge=10, le=60, description="cooling begins [degC]")] = 35.0
    cool_off_c: Annotated[
        float,
        Meta(ge=10, le=60, description="cooling ends, and from here on nothing heats [degC]"),
    ] = 31.0
    heat_on_c: Annotated[float, Meta(ge=-30, le=20, description="heating begins [degC]")] = 5.0
    heat_off_c: Annotated[float, Meta(ge=-30, le=25, description="heating ends [degC]")] = 10.0
    preconditioning_lowest_soc: Annotated[
        float, Meta(ge=0, le=1, description="no preconditioning below, except in charge [1]")
    ] = 0.2


class ThermalControl(HardwareNode[ThermalControlParameters]):
    """Keeps the cells in their range; each actuator falls to its safe state when commands stop."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("thermal_control", ThermalControlParameters, clock, **options)

    def configure(self, parameters: ThermalControlParameters) -> None:
        """Open the bus, create the controller and its interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._pack = pack
        if (
            not parameters.heat_on_c
            < parameters.heat_off_c
            < parameters.cool_off_c
            < parameters.cool_on_c
        ):
            raise ValueError("parameters must rise: heat_on_c, heat_off_c, cool_off_c, cool_on_c")
        config = Path(parameters.pack).parent.parent
        table = table_of(parameters.pack, pack, parameters.diagnoses)
        row = table.named(runaway.DIAGNOSIS)
        self._runaway_id = row.id if row is not None else None
        database = load_map(config / "can" / "maps" / pack.can_map, pack).database
        feedback = find_message(database, "ThermalFeedback")
        self._decoder = FrameDecoder(feedback, protected=True)
        self._encoder = FrameEncoder(find_message(database, "ThermalCommand"))
        self._controller = ThermalController(
            Thresholds(
                cool_on_c=parameters.cool_on_c,
                cool_off_c=parameters.cool_off_c,
                cool_full_c=parameters.cool_on_c + 10.0,
                heat_on_c=parameters.heat_on_c,
                heat_off_c=parameters.heat_off_c,
            )
        )
        # Between these two, ordinary control is at rest and does not work against it.
        self._preconditioning = Preconditioning(
            parameters.heat_off_c, parameters.cool_off_c, parameters.preconditioning_lowest_soc
        )
        self._alarm = RunawayAlarm()
        self._cells: CellStates | None = None
        self._state: PackState | None = None
        self._status: ProtectionStatus | None = None
        self._switches: SwitchState | None = None
        self._feedback: tuple[int, dict[str, float]] | None = None
        self._feedback_shown = False
        self._commanded = Actuators()
        self._commanded_before = Actuators()
        self._receiver = CanReceiver(
            parameters.bus, [feedback.frame_id], self.clock, self._on_frame, idle_period_s=0.5
        )
        self.attach(self._receiver)
        self.advertise("thermal/state", "events")
        self.listen("cells/state", self._on_cells)
        self.listen("pack/state", self._on_state)
        self.listen("events", self._on_event)
        self.listen("protection/status", self._on_status)
        self.listen("switch/state", self._on_switches)
        self.serve("request_preconditioning", self._on_request)
        self.every(_PERIOD_S, self._control)
        self.every(_WATCH_PERIOD_S, self._watch_feedback)
        self.diagnose("thermal", self._report)

    def _on_cells(self, message: CellStates) -> None:
        self._cells = message

    def _on_state(self, message: PackState) -> None:
        self._state = message

    def _on_switches(self, message: SwitchState) -> None:
        self._switches = message

    def _on_event(self, message: Event) -> None:
        if message.source != "protection" or message.diagnosis != self._runaway_id:
            return
        if message.kind == Event.KIND_FAULT_SET:
            stamp = message.header.stamp
            self._alarm.told(Detection(message.boot_ns, stamp.sec * NS_PER_S + stamp.nanosec))
        elif message.kind == Event.KIND_FAULT_CLEARED:
            self._alarm.told(None)

    def _on_status(self, message: ProtectionStatus) -> None:
        self._status = message
        if self._runaway_id is None:
            return
        now_ns = self.clock.boot_ns()
        seen_ns = message.boot_ns or now_ns
        seen = Detection(seen_ns, self.clock.wall_ns() + seen_ns - now_ns)
        values = [
            value
            for diagnosis, value in zip(message.active_diagnosis, message.active_value, strict=True)
            if diagnosis == self._runaway_id
        ]
        is_active = bool(values)
        # A lock-out without a value stems from a damaged event memory: nobody saw a runaway.
        was_measured = any(not math.isnan(value) for value in values)
        if not self._alarm.status(is_active, message.iteration, seen if was_measured else None):
            return
        if is_active:
            text, severity = "thermal runaway: everybody leave the vehicle", Event.SEVERITY_ERROR
        else:
            text, severity = "the alarm of thermal runaway was acknowledged", Event.SEVERITY_INFO
        self.tell(Event.KIND_STATE_CHANGED, text, severity, diagnosis=self._runaway_id)
        self._control()  # at once, an alarm does not wait for the next period

    def _on_frame(self, message: can.Message, boot_ns: int) -> None:
        values = self._decoder.decode(message.data)
        if values is not None:
            self._feedback = (boot_ns, values)

    def _control(self) -> None:
        now_ns = self.clock.boot_ns()
        cells, situation = self._temperatures(now_ns), self._situation(now_ns)
        if ended := self._preconditioning.update(cells, situation, now_ns):
            self.tell(Event.KIND_STATE_CHANGED, f"preconditioning ends: {ended}")
        actuators = self._controller.update(
            cells,
            self._may_heat(situation),
            self._preconditioning.wish,
            runaway=self._alarm.detection is not None,
        )
        self._commanded_before, self._commanded = self._commanded, actuators
        values = (actuators.pump, actuators.fan, actuators.chiller, actuators.heater)
        self._receiver.send(
            self._encoder.encode(
                {name: round(value * 100.0, 1) for name, value in zip(_NAMES, values, strict=True)}
            )
        )
        self._publish(now_ns, cells, actuators)

    def _watch_feedback(self) -> None:
        if self._feedback_valid(self.clock.boot_ns()) != self._feedback_shown:
            self._control()

    def _publish(self, now_ns: int, cells: CellTemperatures, actuators: Actuators) -> None:
        self._feedback_shown = self._feedback_valid(now_ns)
        state = ThermalState(
            header=self.header(),
            boot_ns=now_ns,
            mode=int(self._controller.mode),
            pump_ratio=actuators.pump,
            fan_ratio=actuators.fan,
            chiller_ratio=actuators.chiller,
            heater_ratio=actuators.heater,
            feedback_valid=self._feedback_shown,
            feedback_matches=self._feedback_matches(now_ns),
            minimum_temperature_c=cells.coldest_c,
            maximum_temperature_c=cells.hottest_c,
            preconditioning_target_c=self._preconditioning.target_c,
        )
        if (detection := self._alarm.detection) is not None:
            seconds, nanoseconds = divmod(detection.wall_ns, NS_PER_S)
            state.runaway_alarm = True
            state.runaway_stamp = Time(sec=seconds, nanosec=nanoseconds)
            state.runaway_boot_ns = detection.boot_ns
        self.publish("thermal/state", state)

    def _temperatures(self, now_ns: int) -> CellTemperatures:
        cells = self._cells
        if cells is None or now_ns - cells.boot_ns > _INPUT_STALE_NS:
            return CellTemperatures()
        return CellTemperatures.of(np.frombuffer(cells.temperature_c, np.float32))

    def _situation(self, now_ns: int) -> Situation:
        cells, state, status = self._cells, self._state, self._status
        soc = float("nan")
        connected = in_circuit(self._pack, self._switches, now_ns)
        if cells is not None and connected.any():
            soc = float(np.frombuffer(cells.soc, np.float32)[connected].min())
        return Situation(
            supervised=state is not None and now_ns - state.boot_ns <= _INPUT_STALE_NS,
            state_allows=state is not None and state.state in _PRECONDITIONED,
            judged=status is not None and now_ns - status.boot_ns <= _INPUT_STALE_NS,
            fault=status is None or status.reaction >= ProtectionStatus.REACTION_ISOLATE,
            charging=state is not None and state.state == PackState.STATE_CHARGE,
            soc=soc,
            temperatures_known=self._controller.knows_enough(self._temperatures(now_ns)),
        )

    def _may_heat(self, situation: Situation) -> bool:
        return (
            situation.supervised
            and situation.judged
            and not situation.fault
            and self._state is not None
            and self._state.state in _IN_USE
        )

    def _on_request(
        self, request: RequestPreconditioning.Request, response: RequestPreconditioning.Response
    ) -> RequestPreconditioning.Response:
        codes = RequestPreconditioning.Response
        if not self.is_active:
            response.code, response.message = codes.CODE_NOT_ACTIVE, "thermal control is not active"
            return response
        now_ns, target_c = self.clock.boot_ns(), request.target_temperature_c
        try:
            if target_c != target_c:
                self._preconditioning.end()
                response.message = "no preconditioning runs"
            else:
                response.message = self._preconditioning.request(
                    target_c,
                    request.duration_s,
                    self._temperatures(now_ns),
                    self._situation(now_ns),
                    now_ns,
                )
            response.success = True
        except OutOfRangeError as error:
            response.code, response.message = codes.CODE_OUT_OF_RANGE, str(error)
        except ForbiddenError as error:
            response.code, response.message = codes.CODE_FORBIDDEN, str(error)
        severity = Event.SEVERITY_INFO if response.success else Event.SEVERITY_WARNING
        self.tell(Event.KIND_REQUEST, f"preconditioning: {response.message}", severity)
        self._control()
        return response

    def _feedback_valid(self, now_ns: int) -> bool:
        return self._feedback is not None and now_ns - self._feedback[0] <= _FEEDBACK_STALE_NS

    def _feedback_matches(self, now_ns: int) -> bool:
        if not self._feedback_valid(now_ns) or self._feedback is None:
            return False
        values = self._feedback[1]
        done = [values[name] / 100.0 for name in _NAMES]
        # Feedback may still show the command before this one.
        return any(
            all(
                abs(d - c) <= _TOLERANCE
                for d, c in zip(done, (a.pump, a.fan, a.chiller, a.heater), strict=True)
            )
            for a in (self._commanded, self._commanded_before)
        )

    def _report(self, status: Status) -> None:
        now_ns = self.clock.boot_ns()
        known = self._temperatures(now_ns).known
        status.add(mode=self._controller.mode.name.lower(), known_temperatures=known)
        status.add(preconditioning_target_c=self._preconditioning.target_c)
        status.add_counts(self._decoder.rejected)
        status.add_counts(self._receiver.health.counts)
        if self._alarm.detection is not None:
            status.report(ERROR, "thermal runaway: everybody leave the vehicle")
        if self._runaway_id is None:
            status.report(
                WARN, f"no alarm: the table of diagnoses has no row {runaway.DIAGNOSIS!r}"
            )
        if self._controller.mode is Mode.SENSOR_FAILURE:
            status.report(ERROR, "too few cell temperatures, cooling by pump and fan")
        elif known < 1.0:
            status.report(WARN, f"{100 * (1 - known):.0f} % of the cells have no temperature")
        if not self._feedback_valid(now_ns):
            status.report(WARN, "actuators are silent")
        elif self._heats_unasked():
            status.report(ERROR, "the heater runs though it is switched off")
        elif not self._feedback_matches(now_ns):
            status.report(WARN, "actuators do not follow the command")

    def _heats_unasked(self) -> bool:
        asked = max(self._commanded.heater, self._commanded_before.heater)
        return (
            self._feedback is not None and self._feedback[1]["Heater"] / 100.0 > asked + _TOLERANCE
        )
