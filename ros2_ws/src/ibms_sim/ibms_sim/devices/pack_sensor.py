# SPDX-License-Identifier: Apache-2.0
"""Current and voltage sensor of the pack with its charge counter."""

import math

import can
import numpy as np

from ibms_sim.configuration import Sensors
from ibms_sim.devices import packing
from ibms_sim.devices.afe import Channels
from ibms_sim.faults import FaultSet

RANGE_A = 3000.0
FLAG_OVER_RANGE, FLAG_SELF_TEST = 1, 2
_SHUNT_K_A2 = 2e-4  # heating of the shunt in steady state
_SHUNT_TIME_S = 60.0


class PackSensor:
    """Samples current (mean of its period), both voltages and charge."""

    def __init__(
        self, sensors: Sensors, period_s: float, faults: FaultSet, generator: np.random.Generator
    ) -> None:
        self.charge_c = 0.0
        self._sample_counter = 0
        self._period_s = period_s
        self._faults = faults
        # Noise is added to what is shown; the counter integrates offset and gain only, as noise
        # averages out in a hardware counter that samples much faster.
        self._gain = 1 + generator.normal(0.0, sensors.current.gain)
        self._offset_a = generator.normal(0.0, sensors.current.offset)
        self._noise_a = sensors.current.noise
        self._voltage = Channels(sensors.voltage, 2, generator)
        self._generator = generator
        self._shunt_rise_k = 0.0
        self._protection = packing.Protection(packing.PACK_SENSOR_ID)

    def sample(
        self, current_a: float, pack_v: float, link_v: float, ambient_c: float
    ) -> can.Message | None:
        """Take one sample; ``None`` if the sensor is silent."""
        faults = self._faults
        self._sample_counter += 1
        override_a = faults.value("current_value")
        measured_a = (
            current_a * self._gain + self._offset_a + (faults.value("current_offset") or 0.0)
        )
        if override_a is not None:
            measured_a = override_a
        limited_a = min(max(measured_a, -RANGE_A), RANGE_A)
        self.charge_c += limited_a * self._period_s
        self._shunt_rise_k += (_SHUNT_K_A2 * current_a**2 - self._shunt_rise_k) * min(
            self._period_s / _SHUNT_TIME_S, 1.0
        )
        flags = FLAG_OVER_RANGE if limited_a != measured_a else 0
        if faults.has("pack_sensor_self_test"):
            flags |= FLAG_SELF_TEST
        shown_a = limited_a
        if override_a is None:
            shown_a += float(self._generator.normal(0.0, self._noise_a))
        volts = self._voltage.measure(np.array([pack_v, link_v]))
        if faults.has("pack_voltage_missing"):
            volts[0] = math.nan
        if faults.has("link_voltage_missing"):
            volts[1] = math.nan
        data = packing.pack_sensor(
            self._sample_counter,
            shown_a,
            float(volts[0]),
            float(volts[1]),
            self.charge_c,
            min(ambient_c + self._shunt_rise_k, 200.0),
            flags,
        )
        if faults.has("pack_sensor_silent"):
            return None
        self._protection.protect(data, frozen=faults.has("pack_sensor_counter_frozen"))
        return packing.fd_frame(packing.PACK_SENSOR_ID, data)
