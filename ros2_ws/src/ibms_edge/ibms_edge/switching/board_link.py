# SPDX-License-Identifier: Apache-2.0
"""Frames between switch control and the switch board. No ROS."""

import math

from cantools.database.can import Database

from ibms_battery.clock import Clock
from ibms_edge.switching.exchange import Command, FeedbackInput, Permit
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.can.receiver import CanReceiver, FrameHandler


class BoardLink:
    """Encodes permits and commands, decodes feedback."""

    def __init__(
        self, database: Database, bus: BusConfiguration, clock: Clock, on_frame: FrameHandler
    ) -> None:
        feedback = find_message(database, "SwitchFeedback")
        self.decoder = FrameDecoder(feedback, protected=True)
        self.receiver = CanReceiver(bus, [feedback.frame_id], clock, on_frame, idle_period_s=0.5)
        self._permit = FrameEncoder(find_message(database, "SwitchPermit"))
        self._command = FrameEncoder(find_message(database, "SwitchCommand"))

    def feedback(self, data: bytes | bytearray, boot_ns: int) -> FeedbackInput | None:
        """Feedback of a frame, or ``None`` if the frame was rejected (and counted)."""
        values = self.decoder.decode(data)
        if values is None:
            return None
        return FeedbackInput(
            boot_ns=boot_ns,
            closed=int(values["Closed"]),
            armed=bool(values["Armed"]),
            dead_man_latched=bool(values["DeadManLatched"]),
            arm_challenge=int(values["ArmChallenge"]),
            interlock_closed=bool(values["InterlockClosed"]),
            emergency_stop=bool(values["EmergencyStop"]),
            crash_input=bool(values["CrashInput"]),
            switch_count=int(values["SwitchCount"]),
            pack_voltage_v=self._in_range("PackVoltage", values),
            link_voltage_v=self._in_range("LinkVoltage", values),
            open_cause=int(values["OpenCause"]),
            dead_man_time_s=values["DeadManTime"] / 1000.0,
        )

    def _in_range(self, name: str, values: dict[str, float]) -> float:
        """Value of a signal; NaN outside its range, which is how the board says "not measured"."""
        signal = self.decoder.message.get_signal_by_name(name)
        value = float(values[name])
        low, high = signal.minimum, signal.maximum
        inside = (low is None or value >= low) and (high is None or value <= high)
        return value if inside else math.nan

    def send_permit(self, permit: Permit) -> None:
        """Send a permit frame."""
        self.receiver.send(
            self._permit.encode(
                {"ScanCounter": permit.scan_counter, "CloseAllowed": int(permit.close_allowed)}
            )
        )

    def send_command(self, command: Command) -> None:
        """Send a command frame."""
        self.receiver.send(
            self._command.encode(
                {
                    "Closed": command.closed,
                    "Arm": int(command.arm),
                    "ArmChallenge": command.arm_challenge,
                    "Reason": int(command.reason),
                }
            )
        )
