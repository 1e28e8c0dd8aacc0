# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.pack import LifePoint, Switch
from ibms_edge.switching.wear import life_used

CURVE = [LifePoint(50.0, 200_000), LifePoint(100.0, 50_000), LifePoint(400.0, 5_000)]
MAIN = Switch("main_negative", maximum_break_current_a=200.0, life_curve=CURVE)
TO_THE_END = Switch("main", life_curve=[*CURVE, LifePoint(2_000.0, 1)])


@pytest.mark.parametrize(
    ("current_a", "operations"),
    [
        (0.0, 200_000),
        (-50.0, 200_000),
        (70.7107, 100_000),  # half-way in the logarithm of both
        (100.0, 50_000),
        (-400.0, 5_000),
        (1600.0, 500),  # the last line goes on: a tenth for four times the current
        (math.nan, 15_811.4),  # as at the maximum break current
        (math.inf, 1),
    ],
)
def test_an_opening_uses_up_one_of_those_that_the_curve_allows(
    current_a: float, operations: float
) -> None:
    assert life_used(MAIN, current_a) == pytest.approx(1 / operations, rel=1e-5)


def test_an_opening_never_uses_more_than_the_whole_life() -> None:
    assert life_used(TO_THE_END, 2_000.0) == 1.0
    assert life_used(TO_THE_END, 20_000.0) == 1.0
    assert life_used(TO_THE_END, math.nan) == 1.0  # no break current is known: the worst
    assert life_used(Switch("relay", life_curve=CURVE[:1]), 51.0) == 1.0


def test_without_a_curve_the_life_is_not_known() -> None:
    assert math.isnan(life_used(Switch("precharge"), 10.0))


def test_miners_sum_is_one_when_the_life_is_over() -> None:
    used = 100_000 * life_used(MAIN, 10.0) + 2_500 * life_used(MAIN, -400.0)
    assert used == pytest.approx(1.0)


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_more_current_never_wears_less(first_a: float, second_a: float) -> None:
    low, high = sorted((first_a, second_a))
    assert 0 < life_used(TO_THE_END, low) <= life_used(TO_THE_END, -high) * (1 + 1e-12) <= 1 + 1e-9
