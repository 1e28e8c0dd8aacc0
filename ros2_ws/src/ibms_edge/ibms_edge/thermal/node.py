# SPDX-License-Identifier: Apache-2.0
"""Node ``thermal_control``: commands pump, fan, chiller and heater over CAN."""

from pathlib import Path
from typing import Annotated, Any

import can
import numpy as np
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.thermal.controller import Actuators, Mode, ThermalController, Thresholds
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.can.receiver import CanReceiver
from ibms_end.hardware_node import HardwareNode
from ibms_end.mapping import load_map
from ibms_msgs.msg import CellStates, PackState, ThermalState
from ibms_ros_common.diagnostics import ERROR, WARN, Status

_PERIOD_S = 0.5
_INPUT_STALE_NS = NS_PER_S
_FEEDBACK_STALE_NS = 2 * NS_PER_S
_TOLERANCE = 0.02
_NAMES = ("Pump", "Fan", "Chiller", "Heater")


class ThermalControlParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``thermal_control``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()
    cool_on_c: Annotated[float, Meta(ge=10, le=60, description="cooling begins [degC]")] = 35.0
    cool_off_c: Annotated[float, Meta(ge=10, le=60, description="cooling ends [degC]")] = 31.0
    heat_on_c: Annotated[float, Meta(ge=-30, le=20, description="heating begins [degC]")] = 5.0
    heat_off_c: Annotated[float, Meta(ge=-30, le=25, description="heating ends [degC]")] = 10.0


class ThermalControl(HardwareNode[ThermalControlParameters]):
    """Keeps the cells in their range; each actuator falls to its safe state when commands stop."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("thermal_control", ThermalControlParameters, clock, **options)

    def configure(self, parameters: ThermalControlParameters) -> None:
        """Open the bus, create the controller and its interfaces."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        if (
            not parameters.heat_on_c
            < parameters.heat_off_c
            < parameters.cool_off_c
            < parameters.cool_on_c
        ):
            raise ValueError("parameters must rise: heat_on_c, heat_off_c, cool_off_c, cool_on_c")
        config = Path(parameters.pack).parent.parent
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
        self._cells: CellStates | None = None
        self._state: PackState | None = None
        self._feedback: tuple[int, dict[str, float]] | None = None
        self._commanded = Actuators()
        self._commanded_before = Actuators()
        self._receiver = CanReceiver(
            parameters.bus, [feedback.frame_id], self.clock, self._on_frame, idle_period_s=0.5
        )
        self.attach(self._receiver)
        self.advertise("thermal/state")
        self.listen("cells/state", self._on_cells)
        self.listen("pack/state", self._on_state)
        self.every(_PERIOD_S, self._control)
        self.diagnose("thermal", self._report)

    def _on_cells(self, message: CellStates) -> None:
        self._cells = message

    def _on_state(self, message: PackState) -> None:
        self._state = message

    def _on_frame(self, message: can.Message, boot_ns: int) -> None:
        values = self._decoder.decode(message.data)
        if values is not None:
            self._feedback = (boot_ns, values)

    def _control(self) -> None:
        now_ns = self.clock.boot_ns()
        coldest_c = hottest_c = float("nan")
        cells = self._cells
        if cells is not None and now_ns - cells.boot_ns <= _INPUT_STALE_NS:
            temperatures = np.frombuffer(cells.temperature_c, np.float32)
            known = temperatures[~np.isnan(temperatures)]
            if known.size:
                coldest_c, hottest_c = float(known.min()), float(known.max())
        actuators = self._controller.update(coldest_c, hottest_c, self._may_heat(now_ns))
        self._commanded_before, self._commanded = self._commanded, actuators
        values = (actuators.pump, actuators.fan, actuators.chiller, actuators.heater)
        self._receiver.send(
            self._encoder.encode(
                {name: round(value * 100.0, 1) for name, value in zip(_NAMES, values, strict=True)}
            )
        )
        self.publish(
            "thermal/state",
            ThermalState(
                header=self.header(),
                boot_ns=now_ns,
                mode=int(self._controller.mode),
                pump_ratio=actuators.pump,
                fan_ratio=actuators.fan,
                chiller_ratio=actuators.chiller,
                heater_ratio=actuators.heater,
                feedback_valid=self._feedback_valid(now_ns),
                feedback_matches=self._feedback_matches(now_ns),
                minimum_temperature_c=coldest_c,
                maximum_temperature_c=hottest_c,
            ),
        )

    def _may_heat(self, now_ns: int) -> bool:
        state = self._state
        return (
            state is not None
            and now_ns - state.boot_ns <= _INPUT_STALE_NS
            and state.state in (PackState.STATE_DRIVE, PackState.STATE_CHARGE)
        )

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
        status.add(mode=self._controller.mode.name.lower())
        status.add_counts(self._decoder.rejected)
        status.add_counts(self._receiver.health.counts)
        if self._controller.mode is Mode.SENSOR_FAILURE:
            status.report(ERROR, "no valid cell temperature, cooling by pump and fan")
        if not self._feedback_valid(now_ns):
            status.report(WARN, "actuators are silent")
        elif not self._feedback_matches(now_ns):
            status.report(WARN, "actuators do not follow the command")
