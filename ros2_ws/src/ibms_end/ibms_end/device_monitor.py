# SPDX-License-Identifier: Apache-2.0
"""One protected CAN message of a slow device: decoding, freshness, counting. No ROS."""

import math

import can

from ibms_battery.clock import NS_PER_S, Clock
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.can.receiver import CanReceiver
from ibms_end.mapping import LoadedMap, Protection, Values


class DeviceMonitor:
    """Keeps the newest valid frame of one message.

    Replaced as a whole by the receiver's thread, so a reader sees one frame's values or the next one's.
    """

    def __init__(
        self,
        loaded: LoadedMap,
        message: str,
        protection: Protection,
        freshness_s: float,
        bus: BusConfiguration,
        clock: Clock,
    ) -> None:
        description = find_message(loaded.database, message)
        self.frame = FrameDecoder(description, protection == "end_to_end")
        self.receiver = CanReceiver(
            bus, [description.frame_id], clock, self._take, idle_period_s=0.5
        )
        self._clock = clock
        self._freshness_ns = round(freshness_s * NS_PER_S)
        self._limits = {
            signal.name: (
                -math.inf if signal.minimum is None else float(signal.minimum),
                math.inf if signal.maximum is None else float(signal.maximum),
            )
            for signal in description.signals
        }
        self._newest: tuple[int, dict[str, float]] | None = None

    def newest(self) -> tuple[int, dict[str, float]] | None:
        """Boot time and values of the newest frame, or ``None`` if it is older than its freshness."""
        newest = self._newest
        if newest is None or self._clock.boot_ns() - newest[0] > self._freshness_ns:
            return None
        return newest

    def value(self, values: dict[str, float], source: Values) -> float:
        """Physical value of ``source``; NaN where it lies outside the signal's range."""
        raw = values.get(source.signal, math.nan)
        low, high = self._limits[source.signal]
        return raw * source.scale + source.offset if low <= raw <= high else math.nan

    def _take(self, message: can.Message, boot_ns: int) -> None:
        values = self.frame.decode(message.data)
        if values is not None:
            self._newest = (boot_ns, values)
