# SPDX-License-Identifier: Apache-2.0
"""A current sensor the wrong way round: voltages fall while it says that charge comes in. No ROS.

A resistance is positive, so steps of voltage and current correlate positively within seconds. Over
minutes of an uneven current no chemistry and no state of charge can make that negative.
"""

from math import exp, sqrt

_INTERVAL_S = 0.2  # between two values compared: longer than samples may be apart in time
_LONGEST_S = 5.0  # over more than this, the charge that moves changes the voltage as well
_MEMORY_S = 120.0
_STEP_C_RATE = 0.05  # smaller steps of current say nothing
_ENOUGH = 20  # steps, by weight
_REVERSED = -0.5


class CurrentSign:
    """Correlation of the steps of mean cell voltage and current, fading over minutes.

    Args:
        capacity_ah: of the cells that carry the current, to tell a step from noise.
    """

    def __init__(self, capacity_ah: float) -> None:
        self._smallest_a = _STEP_C_RATE * capacity_ah
        self._before: tuple[float, float] | None = None
        self._since_s = 0.0
        self._steps = 0.0
        self._vv = self._ii = self._vi = 0.0

    def update(self, voltage_v: float, current_a: float, step_s: float) -> None:
        """Take mean cell voltage [V] and current [A] of a scan; NaN where unknown."""
        self._since_s += step_s
        if not (voltage_v == voltage_v and current_a == current_a):
            self._before = None
            return
        if self._before is not None and self._since_s < _INTERVAL_S:
            return
        before, self._before = self._before, (voltage_v, current_a)
        since_s, self._since_s = self._since_s, 0.0
        if before is None or since_s > _LONGEST_S:
            return
        change_v, change_a = voltage_v - before[0], current_a - before[1]
        if abs(change_a) < self._smallest_a:
            return
        # Time without steps is no evidence, so it makes none fade.
        keep = exp(-since_s / _MEMORY_S)
        self._steps = keep * self._steps + 1.0
        self._vv = keep * self._vv + change_v * change_v
        self._ii = keep * self._ii + change_a * change_a
        self._vi = keep * self._vi + change_v * change_a

    @property
    def correlation(self) -> float:
        """-1 to 1; NaN without enough steps."""
        if self._steps < _ENOUGH or self._vv <= 0.0:
            return float("nan")
        return self._vi / sqrt(self._vv * self._ii)

    @property
    def is_reversed(self) -> bool:
        """Whether the voltages contradict the sign of the current."""
        return self.correlation < _REVERSED
