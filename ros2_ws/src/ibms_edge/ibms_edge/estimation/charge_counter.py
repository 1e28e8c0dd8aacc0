# SPDX-License-Identifier: Apache-2.0
"""What two readings of a current sensor's charge counter say. No ROS."""

_NEAR_ZERO_SHARE = 0.002  # of the capacity: what flows in the first seconds of a sensor
_FAR_SHARE = 0.01


def begun_anew(before_c: float, now_c: float, capacity_c: float) -> bool:
    """Whether the counter was reset: it is near zero now and was far from it; False for NaN.

    Its sensor was without power, was replaced, or is that of another pack.
    """
    return abs(now_c) <= _NEAR_ZERO_SHARE * capacity_c and abs(before_c) > _FAR_SHARE * capacity_c
