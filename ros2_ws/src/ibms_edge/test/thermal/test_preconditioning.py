# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from math import isnan, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S
from ibms_edge.thermal.preconditioning import (
    LONGEST_S,
    ForbiddenError,
    OutOfRangeError,
    Preconditioning,
    Situation,
    Wish,
)
from ibms_edge.thermal.temperatures import CellTemperatures

GOOD = Situation(
    supervised=True,
    state_allows=True,
    judged=True,
    fault=False,
    charging=False,
    soc=0.5,
    temperatures_known=True,
)
BAD: list[dict[str, Any]] = [
    {"supervised": False},
    {"state_allows": False},
    {"judged": False},
    {"fault": True},
    {"soc": 0.19},
    {"soc": nan},
    {"temperatures_known": False},
]
COLD = CellTemperatures(2.0, 4.0, 1.0)
WARM = CellTemperatures(26.0, 29.0, 1.0)


@pytest.fixture
def preconditioning() -> Preconditioning:
    return Preconditioning(10.0, 31.0, 0.2)


def wish_of(preconditioning: Preconditioning) -> Wish:
    return preconditioning.wish


def test_it_heats_to_the_target_and_ends_there(preconditioning: Preconditioning) -> None:
    text = preconditioning.request(20.0, 600.0, COLD, GOOD, 0)
    assert text == "heats to 20 degC for 600 s at the most"
    assert wish_of(preconditioning) is Wish.HEAT
    assert preconditioning.target_c == 20.0
    assert preconditioning.update(CellTemperatures(19.9, 24.0, 1.0), GOOD, NS_PER_S) == ""
    reason = preconditioning.update(CellTemperatures(20.0, 24.0, 1.0), GOOD, NS_PER_S)
    assert reason == "the target is reached"
    assert wish_of(preconditioning) is Wish.NONE
    assert isnan(preconditioning.target_c)
    assert preconditioning.update(COLD, GOOD, NS_PER_S) == ""  # it ends once, and stays ended


def test_it_cools_to_the_target_and_ends_there(preconditioning: Preconditioning) -> None:
    assert preconditioning.request(20.0, 600.0, WARM, GOOD, 0).startswith("cools")
    assert preconditioning.wish is Wish.COOL
    assert preconditioning.update(CellTemperatures(18.0, 20.1, 1.0), GOOD, 1) == ""
    assert preconditioning.update(CellTemperatures(18.0, 20.0, 1.0), GOOD, 1)


def test_it_ends_after_its_time(preconditioning: Preconditioning) -> None:
    preconditioning.request(20.0, 600.0, COLD, GOOD, 5 * NS_PER_S)
    assert preconditioning.update(COLD, GOOD, 605 * NS_PER_S - 1) == ""
    assert preconditioning.update(COLD, GOOD, 605 * NS_PER_S) == "its time is over"


def test_a_warm_cell_ends_heating(preconditioning: Preconditioning) -> None:
    preconditioning.request(30.0, 600.0, COLD, GOOD, 0)
    reason = preconditioning.update(CellTemperatures(5.0, 31.0, 1.0), GOOD, 1)
    assert reason == "a cell is already at 31 degC"


def test_where_the_target_is_reached_nothing_begins(preconditioning: Preconditioning) -> None:
    even = CellTemperatures(20.0, 20.0, 1.0)
    assert preconditioning.request(20.0, 600.0, even, GOOD, 0).startswith("nothing to do")
    assert preconditioning.wish is Wish.NONE


@pytest.mark.parametrize(
    ("target_c", "duration_s"),
    [
        (9.9, 60.0),
        (31.1, 60.0),
        (nan, 60.0),
        (20.0, 0.0),
        (20.0, -1.0),
        (20.0, LONGEST_S + 1),
        (20.0, nan),
    ],
)
def test_what_is_never_allowed_is_refused(
    preconditioning: Preconditioning, target_c: float, duration_s: float
) -> None:
    with pytest.raises(OutOfRangeError, match="outside of"):
        preconditioning.request(target_c, duration_s, COLD, GOOD, 0)
    assert preconditioning.wish is Wish.NONE


@pytest.mark.parametrize("change", BAD)
def test_what_forbids_it_is_named_before_and_ends_it_later(
    preconditioning: Preconditioning, change: dict[str, Any]
) -> None:
    bad = replace(GOOD, **change)
    with pytest.raises(ForbiddenError) as refusal:
        preconditioning.request(20.0, 600.0, COLD, bad, 0)
    assert len(str(refusal.value)) > 10
    preconditioning.request(20.0, 600.0, COLD, GOOD, 0)
    assert preconditioning.update(COLD, bad, 1) == str(refusal.value)
    assert preconditioning.wish is Wish.NONE


def test_while_charging_the_state_of_charge_does_not_matter(
    preconditioning: Preconditioning,
) -> None:
    charging = replace(GOOD, charging=True, soc=0.02)
    assert preconditioning.request(20.0, 600.0, COLD, charging, 0)
    assert preconditioning.wish is Wish.HEAT


def test_a_refused_request_leaves_what_runs_alone(preconditioning: Preconditioning) -> None:
    preconditioning.request(20.0, 600.0, COLD, GOOD, 0)
    with pytest.raises(OutOfRangeError):
        preconditioning.request(80.0, 600.0, COLD, GOOD, 0)
    assert preconditioning.target_c == 20.0


@given(
    st.floats(10.0, 31.0),
    st.floats(1.0, LONGEST_S),
    st.lists(st.tuples(st.floats(-30.0, 60.0), st.floats(0.0, 10.0), st.floats(0.1, 600.0))),
)
def test_it_always_ends(
    target_c: float, duration_s: float, steps: list[tuple[float, float, float]]
) -> None:
    preconditioning = Preconditioning(10.0, 31.0, 0.2)
    preconditioning.request(target_c, duration_s, COLD, GOOD, 0)
    now_ns = 0
    for coldest_c, spread_c, step_s in steps:
        now_ns += round(step_s * NS_PER_S)
        cells = CellTemperatures(coldest_c, coldest_c + spread_c, 1.0)
        preconditioning.update(cells, GOOD, now_ns)
        if now_ns >= duration_s * NS_PER_S:
            assert preconditioning.wish is Wish.NONE
