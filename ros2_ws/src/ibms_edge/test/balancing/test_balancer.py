# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_edge.balancing.balancer import Balancer, Inhibit
from ibms_msgs.msg import BalancingStatus

WARM = np.full(4, 25.0)


def bleed(balancer: Balancer, *voltage_v: float, current_a: float = 0.0) -> list[int]:
    chosen = balancer.update(np.array(voltage_v), WARM, current_a, Inhibit.NONE)
    return [int(flag) for flag in chosen]


def test_causes_are_those_of_the_interface() -> None:
    for cause in Inhibit:
        assert getattr(BalancingStatus, f"INHIBIT_{cause.name}") == cause


def test_cells_above_the_lowest_are_bled_with_hysteresis() -> None:
    balancer = Balancer(4)
    assert bleed(balancer, 3.700, 3.709, 3.711, 3.750) == [0, 0, 1, 1]
    assert bleed(balancer, 3.700, 3.709, 3.706, 3.750) == [0, 0, 1, 1]
    assert bleed(balancer, 3.700, 3.709, 3.704, 3.750) == [0, 0, 0, 1]
    assert bleed(balancer, 3.700, 3.709, 3.706, 3.750) == [0, 0, 0, 1]


def test_an_unmeasured_cell_is_neither_bled_nor_the_reference() -> None:
    balancer = Balancer(4)
    assert bleed(balancer, 3.70, 3.75, 3.75, 3.75) == [0, 1, 1, 1]
    assert bleed(balancer, math.nan, 3.75, math.nan, 3.80) == [0, 0, 0, 1]


def test_no_cell_is_bled_below_the_lowest_voltage() -> None:
    assert bleed(Balancer(4), 2.80, 2.99, 3.01, 3.01) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("current_a", "temperature_c", "permitted", "cause"),
    [
        (6.0, 25.0, Inhibit.NONE, Inhibit.CURRENT),
        (-6.0, 25.0, Inhibit.NONE, Inhibit.CURRENT),
        (math.nan, 25.0, Inhibit.NONE, Inhibit.CURRENT),
        (0.0, 51.0, Inhibit.NONE, Inhibit.TEMPERATURE),
        (0.0, math.nan, Inhibit.NONE, Inhibit.INPUT_STALE),
        (0.0, 25.0, Inhibit.FAULT, Inhibit.FAULT),
        (0.0, 25.0, Inhibit.PACK_STATE, Inhibit.PACK_STATE),
    ],
)
def test_what_inhibits_stops_everything(
    current_a: float, temperature_c: float, permitted: Inhibit, cause: Inhibit
) -> None:
    balancer = Balancer(4)
    assert bleed(balancer, 3.70, 3.75, 3.75, 3.75) == [0, 1, 1, 1]
    chosen = balancer.update(
        np.array([3.7, 3.75, 3.75, 3.75]), np.full(4, temperature_c), current_a, permitted
    )
    assert not chosen.any()
    assert balancer.inhibit is cause
    assert bleed(balancer, 3.700, 3.707, 3.707, 3.707) == [0, 0, 0, 0]  # hysteresis forgotten


def test_a_pack_without_voltages_is_not_bled() -> None:
    balancer = Balancer(4)
    assert bleed(balancer, *[math.nan] * 4) == [0, 0, 0, 0]
    assert balancer.inhibit is Inhibit.INPUT_STALE


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(2.5, 4.2) | st.just(math.nan), min_size=4, max_size=4))
def test_the_lowest_cell_is_never_bled(voltage_v: list[float]) -> None:
    balancer = Balancer(4)
    chosen = bleed(balancer, *voltage_v)
    known = [value for value in voltage_v if not math.isnan(value)]
    for value, flag in zip(voltage_v, chosen, strict=True):
        if flag:
            assert value - min(known) > 0.010
            assert value > 3.0
