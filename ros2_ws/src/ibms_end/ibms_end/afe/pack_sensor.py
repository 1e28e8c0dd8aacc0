# SPDX-License-Identifier: Apache-2.0
"""Decoding of the pack's current and voltage sensor. No ROS."""

import math

from ibms_end.afe.samples import SENSOR_FLAGS, PackSample
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.mapping import LoadedMap, Values

_QUANTITIES = {
    "current": "current_a",
    "voltage": "voltage_v",
    "link_voltage": "link_voltage_v",
    "charge": "charge_c",
    "shunt_temperature": "shunt_temperature_c",
}


class PackSensorDecoder:
    """Turns the sensor's frames into samples; values outside their signal's range stay unmeasured."""

    def __init__(self, loaded: LoadedMap) -> None:
        sensor = loaded.map.pack_sensor
        message = find_message(loaded.database, sensor.message)
        self.frame = FrameDecoder(message, sensor.protection == "end_to_end")
        self.identifier = message.frame_id
        self.freshness_s = sensor.freshness_s
        self._counter_signal = sensor.sample_counter
        self._flags = [(signal, SENSOR_FLAGS[flag]) for signal, flag in sensor.flags.items()]
        self._sources: list[tuple[str, Values, float, float]] = []
        for key, quantity in _QUANTITIES.items():
            values: Values | None = getattr(sensor, key)
            if values is not None:
                signal = message.get_signal_by_name(values.signal)
                low = -math.inf if signal.minimum is None else float(signal.minimum)
                high = math.inf if signal.maximum is None else float(signal.maximum)
                self._sources.append((quantity, values, low, high))
        self._counter = 0
        self._rejected_seen = 0

    def decode(self, data: bytes | bytearray, boot_ns: int) -> PackSample | None:
        """A sample, or ``None`` if the frame was rejected (and counted)."""
        values = self.frame.decode(data)
        if values is None:
            return None
        sample = PackSample(boot_ns, reduced_integrity=not self.frame.protected)
        for quantity, source, low, high in self._sources:
            raw = values.get(source.signal)
            if raw is not None and low <= raw <= high:
                setattr(sample, quantity, raw * source.scale + source.offset)
        self._counter += 1
        sample.sample_counter = (
            int(values[self._counter_signal]) if self._counter_signal else self._counter
        )
        sample.status = sum(bit for signal, bit in self._flags if values[signal])
        rejected = sum(self.frame.rejected.values())
        sample.frames_rejected = min(rejected - self._rejected_seen, 0xFFFF)
        self._rejected_seen = rejected
        return sample
