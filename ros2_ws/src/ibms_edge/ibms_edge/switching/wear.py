# SPDX-License-Identifier: Apache-2.0
"""How much of a contactor's life an opening uses up. No ROS."""

import math

from ibms_battery.pack import Switch, interpolate_logarithmic


def life_used(switch: Switch, current_a: float) -> float:
    """Share of the life of ``switch`` that one opening at ``current_a`` uses up [1].

    Summed over all openings it is 1 when the contactor is used up: linear damage accumulation by
    M. A. Miner, "Cumulative Damage in Fatigue", J. Appl. Mech. 12 (1945) A159. The openings that
    the life curve allows are interpolated in the double-logarithmic diagram; below its first
    current the mechanics decide, beyond its last one its last line goes on, down to one opening.

    Args:
        switch: with its life curve.
        current_a: current at the opening [A], of either sign. NaN where it was not measured: it is
            then taken for the maximum break current, or the highest of the curve.

    Returns:
        0 to 1; NaN if the life of the switch is not known.
    """
    curve = [(point.current_a, point.operations) for point in switch.life_curve]
    if not curve:
        return math.nan
    magnitude_a = abs(current_a)
    if math.isnan(magnitude_a):
        magnitude_a = switch.maximum_break_current_a or curve[-1][0]
    if magnitude_a <= curve[0][0]:
        return 1.0 / curve[0][1]
    if magnitude_a <= curve[-1][0]:
        return 1.0 / interpolate_logarithmic(curve, magnitude_a)
    if len(curve) == 1 or math.isinf(magnitude_a):
        return 1.0
    (x0, y0), (x1, y1) = curve[-2:]
    slope = math.log(y1 / y0) / math.log(x1 / x0)
    return min(1.0, float((magnitude_a / x1) ** -slope) / y1)
