# SPDX-License-Identifier: Apache-2.0
"""The pack's second, independent current sensor. No ROS."""

import math

from ibms_battery.clock import NS_PER_S
from ibms_end.afe.samples import PackSample
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.can.identifier import message_identifier
from ibms_end.map_schema import RedundantPackSensor
from ibms_end.mapping import LoadedMap
from ibms_end.quantity import Quantity


class RedundantSensor:
    """Keeps the newest current and gives it to the samples of the first sensor."""

    def __init__(self, loaded: LoadedMap, sensor: RedundantPackSensor) -> None:
        message = find_message(loaded.database, sensor.message)
        self.frame = FrameDecoder(message, sensor.protection == "end_to_end")
        self.identifier = message_identifier(message)
        self.freshness_s = sensor.freshness_s
        self._freshness_ns = round(sensor.freshness_s * NS_PER_S)
        self._current = Quantity(message, sensor.current)
        self._faults = sensor.faults
        self._current_a = math.nan
        self._boot_ns = 0

    def take(self, data: bytes | bytearray, boot_ns: int) -> None:
        """Take one frame; a wrong one is counted and changes nothing."""
        values = self.frame.decode(data)
        if values is None:
            return
        self._boot_ns = boot_ns
        faulty = any(values.get(signal) for signal in self._faults)
        self._current_a = math.nan if faulty else self._current.read(values)

    def add_to(self, sample: PackSample) -> None:
        """Write the newest current into ``sample``; NaN where it does not hold or is too old."""
        sample.redundant_boot_ns = self._boot_ns
        if sample.boot_ns - self._boot_ns <= self._freshness_ns:
            sample.redundant_current_a = self._current_a
        sample.reduced_integrity |= not self.frame.protected
