# SPDX-License-Identifier: Apache-2.0
"""One CAN message of a slow device: decoding, freshness, counting. No ROS."""

import can

from ibms_battery.clock import Clock
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.can.identifier import message_identifier
from ibms_end.can.latest_values import LatestValues
from ibms_end.can.receiver import CanReceiver
from ibms_end.map_schema import Environment, Insulation, Values
from ibms_end.mapping import LoadedMap
from ibms_end.quantity import Quantity


class DeviceMonitor:
    """Keeps the newest valid values of one message."""

    def __init__(
        self,
        loaded: LoadedMap,
        section: Insulation | Environment,
        bus: BusConfiguration,
        clock: Clock,
    ) -> None:
        message = find_message(loaded.database, section.message)
        self.frame = FrameDecoder(message, section.protection == "end_to_end")
        self.receiver = CanReceiver(
            bus,
            [message_identifier(message)],
            clock,
            self._take,
            idle_period_s=0.5,
            freshness_s=section.freshness_s,
        )
        self._clock = clock
        self._latest = LatestValues(section.freshness_s)

    def newest(self) -> tuple[int, dict[str, float]] | None:
        """Boot time of the newest frame and all fresh values, or ``None`` without any."""
        values = self._latest.fresh(self._clock.boot_ns())
        boot_ns = self._latest.boot_ns
        return (boot_ns, values) if values and boot_ns is not None else None

    def value(self, values: dict[str, float], source: Values) -> float:
        """Physical value of ``source``; NaN without it, out of range or where it does not hold."""
        return Quantity(self.frame.message, source).read(values)

    def _take(self, message: can.Message, boot_ns: int) -> None:
        values = self.frame.decode(message.data)
        if values is not None:
            self._latest.take(values, boot_ns)
