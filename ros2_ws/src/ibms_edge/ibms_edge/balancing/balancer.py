# SPDX-License-Identifier: Apache-2.0
"""Choice of the cells to bleed. No ROS."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
FlagArray = npt.NDArray[np.uint8]


class Inhibit(IntEnum):
    """Why nothing is bled; equal to BalancingStatus.INHIBIT_*."""

    NONE = 0
    PACK_STATE = 1
    CURRENT = 2
    TEMPERATURE = 3
    FAULT = 4
    INPUT_STALE = 5


@dataclass(frozen=True)
class Thresholds:
    """When to bleed."""

    start_above_v: float = 0.010  # above the lowest cell
    stop_above_v: float = 0.005
    lowest_voltage_v: float = 3.0  # no cell below this is bled
    largest_current_a: float = 5.0  # pack current up to which voltages are comparable
    hottest_c: float = 50.0


class Balancer:
    """Bleeds cells whose resting voltage lies above the lowest one, with hysteresis."""

    def __init__(self, count: int, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self.bleed: FlagArray = np.zeros(count, np.uint8)
        self.inhibit = Inhibit.INPUT_STALE

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: float,
        permitted: Inhibit,
    ) -> FlagArray:
        """Decide which cells to bleed.

        Args:
            voltage_v: cell voltages [V]; a cell with NaN is never bled and never the reference.
            temperature_c: cell temperatures [degC].
            current_a: pack current [A]; NaN inhibits.
            permitted: ``Inhibit.NONE``, or why the pack's state forbids balancing.
        """
        limits = self.thresholds
        known = ~np.isnan(voltage_v)
        self.inhibit = permitted
        if permitted is Inhibit.NONE:
            if not known.any() or np.isnan(temperature_c).all():
                self.inhibit = Inhibit.INPUT_STALE
            elif not abs(current_a) <= limits.largest_current_a:
                self.inhibit = Inhibit.CURRENT
            elif float(np.nanmax(temperature_c)) > limits.hottest_c:
                self.inhibit = Inhibit.TEMPERATURE
        if self.inhibit is not Inhibit.NONE:
            self.bleed = np.zeros_like(self.bleed)
            return self.bleed
        above = voltage_v - voltage_v[known].min()
        limit = np.where(self.bleed == 1, limits.stop_above_v, limits.start_above_v)
        with np.errstate(invalid="ignore"):
            chosen = known & (above > limit) & (voltage_v > limits.lowest_voltage_v)
        self.bleed = chosen.astype(np.uint8)
        return self.bleed
