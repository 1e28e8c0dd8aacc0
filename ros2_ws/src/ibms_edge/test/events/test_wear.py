# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from ibms_battery.pack import LifePoint, Switch
from ibms_edge.events.wear import unused, use_of_opening

SWITCH = Switch(
    name="main",
    maximum_break_current_a=1000.0,
    life_curve=[LifePoint(50.0, 200_000.0), LifePoint(2000.0, 1.0)],
)


@pytest.mark.parametrize(
    ("current_a", "under_load", "above_break"),
    [(0.3, 0, 0), (-40.0, 1, 0), (1000.0, 1, 0), (-1001.0, 1, 1), (math.nan, 1, 0)],
)
def test_each_opening_is_counted_by_its_current(
    current_a: float, under_load: int, above_break: int
) -> None:
    use = use_of_opening(SWITCH, current_a)
    assert (use.operations, use.under_load, use.above_break) == (1, under_load, above_break)
    assert (use.life_used == pytest.approx(1 / 200_000)) == (abs(current_a) <= 50.0)


def test_a_higher_current_uses_more_life() -> None:
    lives = [use_of_opening(SWITCH, current_a).life_used for current_a in (10, 100, 500, 2000)]
    assert lives == sorted(lives)
    assert lives[-1] == pytest.approx(1.0)


def test_without_a_curve_life_is_not_known() -> None:
    switch = Switch(name="relay")
    assert math.isnan(use_of_opening(switch, 5.0).life_used)
    assert use_of_opening(switch, 5000.0).above_break == 0
    assert math.isnan(unused(switch).life_used)
    assert unused(SWITCH).life_used == 0.0
