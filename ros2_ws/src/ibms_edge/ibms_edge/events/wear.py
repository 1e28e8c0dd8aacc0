# SPDX-License-Identifier: Apache-2.0
"""What one opening adds to the use of a switch. No ROS."""

from ibms_battery.pack import Switch
from ibms_edge.events.records import SwitchUse
from ibms_edge.switching.wear import life_used

_LOAD_A = 1.0  # less is noise of the sensor and leakage of the load


def use_of_opening(switch: Switch, current_a: float) -> SwitchUse:
    """Use of ``switch`` by one opening at ``current_a`` [A], of either sign; NaN: unmeasured.

    An unmeasured current is taken for the highest that the switch may break, as ``life_used`` does.
    """
    magnitude_a = abs(current_a)
    limit_a = switch.maximum_break_current_a
    return SwitchUse(
        operations=1,
        under_load=int(not magnitude_a <= _LOAD_A),
        above_break=int(limit_a is not None and magnitude_a > limit_a),
        life_used=life_used(switch, current_a),
    )


def unused(switch: Switch) -> SwitchUse:
    """Use of a switch that was never opened; its life is NaN where no life curve is known."""
    return SwitchUse(life_used=0.0 if switch.life_curve else float("nan"))
