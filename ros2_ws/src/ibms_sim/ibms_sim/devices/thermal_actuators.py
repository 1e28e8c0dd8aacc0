# SPDX-License-Identifier: Apache-2.0
"""Pump, fan, chiller and heater with their dead-man."""

import can
from cantools.database.can import Database

from ibms_battery.clock import NS_PER_S
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_sim.cells.thermal import Actuation

PERIOD_S = 0.5
DEAD_MAN_NS = 2 * NS_PER_S
_NAMES = ("pump", "fan", "chiller", "heater")


class ThermalActuators:
    """Do as ThermalCommand says, and nothing at all 2 s after the last valid one."""

    def __init__(self, database: Database) -> None:
        self.actuation = Actuation()
        self._decoder = FrameDecoder(find_message(database, "ThermalCommand"), protected=True)
        self._encoder = FrameEncoder(find_message(database, "ThermalFeedback"))
        self._commanded_ns: int | None = None
        self.identifier = self._decoder.message.frame_id

    def receive(self, data: bytes | bytearray, now_ns: int) -> None:
        """A ThermalCommand frame."""
        values = self._decoder.decode(data)
        if values is None:
            return
        self._commanded_ns = now_ns
        for name in _NAMES:
            setattr(self.actuation, name, min(values[name.capitalize()] / 100, 1.0))

    def check_dead_man(self, now_ns: int) -> None:
        """Go to the safe state, everything off, when commands stopped."""
        if self._commanded_ns is not None and now_ns - self._commanded_ns >= DEAD_MAN_NS:
            self._commanded_ns = None
            self.actuation = Actuation()

    def feedback(self) -> can.Message:
        """ThermalFeedback frame."""
        values = {name.capitalize(): 100 * getattr(self.actuation, name) for name in _NAMES}
        return self._encoder.encode({**values, "CommandFresh": self._commanded_ns is not None})
