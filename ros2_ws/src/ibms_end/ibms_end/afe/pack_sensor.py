# SPDX-License-Identifier: Apache-2.0
"""Decoding of the pack's current and voltage sensor. No ROS."""

from ibms_end.afe.samples import SENSOR_FLAGS, PackSample
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.can.identifier import message_identifier
from ibms_end.map_schema import Values
from ibms_end.mapping import LoadedMap
from ibms_end.quantity import Quantity

_QUANTITIES = {
    "current": "current_a",
    "voltage": "voltage_v",
    "link_voltage": "link_voltage_v",
    "charge": "charge_c",
    "shunt_temperature": "shunt_temperature_c",
}


class PackSensorDecoder:
    """Turns the sensor's frames into samples; what is out of range stays unmeasured."""

    def __init__(self, loaded: LoadedMap) -> None:
        sensor = loaded.map.pack_sensor
        message = find_message(loaded.database, sensor.message)
        self.frame = FrameDecoder(message, sensor.protection == "end_to_end")
        self.identifier = message_identifier(message)
        self.freshness_s = sensor.freshness_s
        self._counter_signal = sensor.sample_counter
        self._flags = [(signal, SENSOR_FLAGS[flag]) for signal, flag in sensor.flags.items()]
        self._quantities: list[tuple[str, Quantity]] = []
        for key, name in _QUANTITIES.items():
            source: Values | None = getattr(sensor, key)
            if source is not None:
                self._quantities.append((name, Quantity(message, source)))
        self._counter = 0
        self._rejected_seen = 0

    def decode(self, data: bytes | bytearray, boot_ns: int) -> PackSample | None:
        """A sample, or ``None`` if the frame was rejected (and counted).

        What the frame does not carry (another group of a multiplexed message) is unmeasured.
        """
        values = self.frame.decode(data)
        if values is None:
            return None
        sample = PackSample(boot_ns, reduced_integrity=not self.frame.protected)
        for name, quantity in self._quantities:
            setattr(sample, name, quantity.read(values))
        self._counter = (self._counter + 1) & 0xFFFFFFFF
        sample.sample_counter = self._counter
        if self._counter_signal is not None:
            sample.sample_counter = int(values.get(self._counter_signal, self._counter))
        sample.status = sum(bit for signal, bit in self._flags if values.get(signal))
        rejected = self.frame.rejected.total()
        sample.frames_rejected = min(rejected - self._rejected_seen, 0xFFFF)
        self._rejected_seen = rejected
        return sample
