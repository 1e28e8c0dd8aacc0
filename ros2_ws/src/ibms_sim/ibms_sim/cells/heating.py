# SPDX-License-Identifier: Apache-2.0
"""Heat and collapse that come from within a cell, on top of what the cell model holds."""

import math

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack
from ibms_sim.faults import FaultSet

FloatArray = npt.NDArray[np.float64]

_COLLAPSE_S = 0.5  # time constant with which a cell in runaway loses its voltage
_HOTTEST_K = 800.0


class InnerHeating:
    """Follows the faults ``temperature_rate`` and ``runaway``; both end with their removal.

    A sensor stands for several cells, and what heats it heats all of them.
    """

    def __init__(self, pack: Pack, faults: FaultSet) -> None:
        self.rise_k: FloatArray = np.zeros(pack.series)
        self.voltage_ratio: FloatArray = np.ones(pack.series)
        self._sensor_of_cell = np.array(pack.temperature_sensor_of_cell())
        self._faults = faults
        self._acts = False

    def step(self, step_s: float) -> None:
        """Advance by ``step_s``."""
        runaway = self._faults.of("runaway")
        heated = self._faults.of("temperature_rate")
        if not runaway and not heated:
            if self._acts:
                self._acts = False
                self.rise_k[:], self.voltage_ratio[:] = 0.0, 1.0
            return
        self._acts = True
        rate_k_s = np.zeros_like(self.rise_k)
        for sensor, value in heated.items():
            rate_k_s[self._sensor_of_cell == sensor] += value
        for cell, value in runaway.items():
            rate_k_s[self._sensor_of_cell == self._sensor_of_cell[cell]] += value
        heating = rate_k_s > 0.0
        self.rise_k = np.minimum(self.rise_k + rate_k_s * step_s, _HOTTEST_K) * heating
        intact = np.ones(len(heating), np.bool_)
        intact[list(runaway)] = False
        self.voltage_ratio *= math.exp(-step_s / _COLLAPSE_S)
        self.voltage_ratio[intact] = 1.0
