# SPDX-License-Identifier: Apache-2.0
"""Second current sensor of the pack: it measures the same current by itself."""

import can
import numpy as np

from ibms_sim.configuration import Error
from ibms_sim.devices import packing
from ibms_sim.devices.pack_sensor import FLAG_OVER_RANGE, RANGE_A
from ibms_sim.faults import FaultSet


class RedundantSensor:
    """Samples the current (mean of its period) with an error of its own."""

    def __init__(self, error: Error, faults: FaultSet, generator: np.random.Generator) -> None:
        self._faults = faults
        self._gain = 1 + generator.normal(0.0, error.gain)
        self._offset_a = generator.normal(0.0, error.offset)
        self._noise_a = error.noise
        self._generator = generator
        self._protection = packing.Protection(packing.PACK_SENSOR_REDUNDANT_ID)

    def sample(self, current_a: float) -> can.Message | None:
        """Take one sample; ``None`` if the sensor is silent."""
        measured_a = (
            current_a * self._gain
            + self._offset_a
            + float(self._generator.normal(0.0, self._noise_a))
            + (self._faults.value("redundant_current_offset") or 0.0)
        )
        if self._faults.has("redundant_sensor_silent"):
            return None
        limited_a = min(max(measured_a, -RANGE_A), RANGE_A)
        data = packing.pack_sensor_redundant(
            limited_a, FLAG_OVER_RANGE if limited_a != measured_a else 0
        )
        self._protection.protect(data)
        return packing.frame(packing.PACK_SENSOR_REDUNDANT_ID, data)
