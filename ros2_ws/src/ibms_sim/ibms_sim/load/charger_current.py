# SPDX-License-Identifier: Apache-2.0
"""The wires of the simulated charger: what flows out of it flows into the link."""

from cantools.database.can import Database

from ibms_battery.clock import NS_PER_S
from ibms_end.can.codec import FrameDecoder, find_message

_STALE_NS = round(0.1 * NS_PER_S)


class ChargerCurrent:
    """Current of the charger; none without one."""

    def __init__(self, database: Database) -> None:
        self._decoder = FrameDecoder(find_message(database, "SimulationCharger"), protected=False)
        self._current_a = 0.0
        self._received_ns: int | None = None
        self.identifier = self._decoder.message.frame_id

    def receive(self, data: bytes | bytearray, now_ns: int) -> None:
        """A SimulationCharger frame."""
        values = self._decoder.decode(data)
        if values is not None:
            self._current_a, self._received_ns = values["Current"], now_ns

    def now_a(self, now_ns: int) -> float:
        """Current into the link [A]."""
        if self._received_ns is None or now_ns - self._received_ns > _STALE_NS:
            return 0.0
        return self._current_a
