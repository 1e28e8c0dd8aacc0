# SPDX-License-Identifier: Apache-2.0
"""Whether the voltages agree with what the estimator expects of them. No ROS.

The square of the innovation over its variance is 1 on average where model and noise are right
(Bar-Shalom, Estimation with Applications to Tracking and Navigation, ch. 5.4). Its mean over a
minute says which cell contradicts its model, and when most do, that model or sensors are wrong.
"""

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.circuit import model_of

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MEAN_OVER_S = 60.0
# With their own models 2 of 66 train runs of two cells (-20 to 40 degC) are named by this: one at
# -20 degC, one when nearly empty; both would be with 9 as well. Most stay below 1.2.
_CONTRADICTS = 6.0
_AGREES = 3.0
_LARGEST_RATIO = 225.0  # one outlier says no more than this
_LONGEST_STEP_S = 1.0  # after a gap one sample does not stand for all that was missed
_BEYOND_LIMITS_V = 0.05
_REST_C_RATE = 0.1
# None of the 66 is named by this, but 6 of 8 with the model of another cell. In the cold, where
# the bias absorbs errors of the resistance, right models need up to 9 sigma.
_BIAS_SIGMAS = 5.0
_BIAS_FOR_S = 300.0
_BIAS_FROM_C = 5.0
_NAMED = 5


class FilterHealth:
    """Means over a minute of each cell's innovation ratio, and what follows from them.

    Args:
        cell: that the model is of.
        count: cells.
    """

    def __init__(self, cell: Cell, count: int) -> None:
        self._cell = cell
        self.ratio: FloatArray = np.ones(count)
        self.contradicts: BoolArray = np.zeros(count, np.bool_)
        self._known_s = 0.0
        self._agreed = False
        self._impossible_s = 0.0
        self._impossible_v = 0.0
        self._bias_a = 0.0
        self._biased_s = 0.0

    def begin_anew(self, cell: Cell) -> None:
        """Forget what was learned: the model is another one from now on."""
        self._cell = cell
        self.ratio[:] = 1.0
        self.contradicts[:] = False
        self._known_s = self._biased_s = 0.0

    def update(self, innovation_ratio: FloatArray, step_s: float) -> None:
        """Take the ratios of one scan (cells,); NaN where a voltage was not used."""
        step_s = min(step_s, _LONGEST_STEP_S)
        weight = step_s / MEAN_OVER_S
        change = np.fmin(innovation_ratio, _LARGEST_RATIO) - self.ratio
        known = innovation_ratio == innovation_ratio
        np.add(self.ratio, weight * change, out=self.ratio, where=known)
        self.contradicts[self.ratio > _CONTRADICTS] = True
        self.contradicts[self.ratio < _AGREES] = False
        if known.any():
            self._known_s += step_s
        if self._known_s >= MEAN_OVER_S and not self._agreed:
            self._agreed = bool(np.median(self.ratio) < _AGREES)

    def look_at_voltages(self, voltage_v: FloatArray, current_a: float, step_s: float) -> None:
        """Take voltages [V] (cells,) at a current per cell [A]; no resting cell exceeds its limits.

        Between them charge is possible, whatever the chemistry; beyond, it is not.
        """
        if not abs(current_a) <= _REST_C_RATE * self._cell.capacity_ah:
            return
        voltage_v = voltage_v[voltage_v == voltage_v]
        if not voltage_v.size:
            return
        median_v = float(np.median(voltage_v))
        cell = self._cell
        low_v = cell.minimum_voltage_v - _BEYOND_LIMITS_V
        high_v = cell.maximum_voltage_v + _BEYOND_LIMITS_V
        if low_v <= median_v <= high_v:
            self._impossible_s = 0.0
        else:
            self._impossible_s += min(step_s, _LONGEST_STEP_S)
            self._impossible_v = median_v

    def look_at_bias(
        self, current_bias_a: FloatArray, temperature_c: FloatArray, step_s: float
    ) -> None:
        """Take the estimated bias per cell [A] (cells,): with a wrong model it absorbs the error.

        The sensor is common to all cells, so their median counts, while they are warm.
        """
        known = np.isfinite(current_bias_a) & (temperature_c >= _BIAS_FROM_C)
        self._bias_a = float(np.median(current_bias_a[known])) if known.any() else 0.0
        self._biased_s += step_s
        if self._bias_sigmas() < _BIAS_SIGMAS:
            self._biased_s = 0.0

    @property
    def problem(self) -> str:
        """What contradicts what, one sentence; empty if nothing does."""
        return self._impossible() or self._contradicted() or self._biased()

    def _impossible(self) -> str:
        cell = self._cell
        if self._impossible_s >= _LONGEST_STEP_S:
            return (
                f"the median cell rests at {self._impossible_v:.2f} V, impossible for "
                f"{cell.name} ({cell.chemistry}, {cell.minimum_voltage_v:g} to "
                f"{cell.maximum_voltage_v:g} V): is this the pack's cell?"
            )
        return ""

    def _contradicted(self) -> str:
        cell = self._cell
        found = np.flatnonzero(self.contradicts)
        if not found.size:
            return ""
        sigmas = float(np.sqrt(self.ratio[found].max()))
        text = f"innovation {sigmas:.2g} times its sigma"
        if 2 * found.size > self.ratio.size and self.ratio.size > 1:
            question = (
                "current sensor or temperatures may be wrong"
                if self._agreed
                else f"is {cell.name} ({cell.chemistry}) the pack's cell?"
            )
            return f"{found.size} cells: voltages contradict the model: {text}; {question}"
        names = ", ".join(str(index) for index in found[:_NAMED])
        names += ", ..." if found.size > _NAMED else ""
        plural = "cell" if found.size == 1 else "cells"
        return f"{plural} {names}: voltage contradicts the model: {text}"

    def _biased(self) -> str:
        if self._biased_s < _BIAS_FOR_S:
            return ""
        return (
            f"the current sensor would have to show {self._bias_a:+.2f} A per cell too much, "
            f"{self._bias_sigmas():.0f} times what is expected of it: it is wrong, or "
            f"{self._cell.name} ({self._cell.chemistry}) is not the pack's cell"
        )

    def _bias_sigmas(self) -> float:
        return abs(self._bias_a) / model_of(self._cell).uncertainty.bias_a
