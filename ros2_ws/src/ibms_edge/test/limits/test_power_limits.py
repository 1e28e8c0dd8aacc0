# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_battery.cell import Cell, load_cell
from ibms_edge.limits.curves import DeratingCurves, load_curves
from ibms_edge.limits.power_limits import CellsNow, LimitedBy, Limits, PowerLimits
from ibms_msgs.msg import PackLimits

S = 1_000_000_000
PARALLEL = 3
CONFIG = Path(__file__).resolve().parents[5] / "config"
CELL = load_cell(CONFIG / "cells" / "lg_m50.yaml")
CURVES = load_curves(CONFIG / "limits" / "lg_m50.yaml", CELL)
CHARGE_A = CELL.maximum_charge_current_a * PARALLEL
DISCHARGE_A = CELL.maximum_discharge_current_a * PARALLEL


class Driver:
    """Limits asked for ten times per second."""

    def __init__(self, cell: Cell = CELL, curves: DeratingCurves = CURVES) -> None:
        self.limits = PowerLimits(cell, PARALLEL, curves)
        self.now_ns = 100 * S

    def after(
        self,
        seconds: float = 15.0,
        voltage_v: float = 3.7,
        temperature_c: float = 25.0,
        soc: float = 0.5,
        resistance_ohm: float = math.nan,
        current_a: float = 0.0,
        derate: bool = False,
        withdraw: bool = False,
    ) -> Limits:
        cells = CellsNow(
            voltage_v=np.array([3.7, voltage_v]),
            temperature_c=np.array([25.0, temperature_c]),
            soc=np.array([0.5, soc]),
            resistance_ohm=np.array([math.nan, resistance_ohm]),
            current_a=current_a,
        )
        for _ in range(max(1, round(seconds * 10))):
            self.now_ns += S // 10
            result = self.limits.update(cells, derate, withdraw, self.now_ns)
        return result


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_causes_are_those_of_the_interface() -> None:
    for cause in LimitedBy:
        assert getattr(PackLimits, f"LIMIT_{cause.name}") == cause


def test_a_healthy_pack_gives_its_rating(driver: Driver) -> None:
    result = driver.after()
    assert result.charge_current_a == pytest.approx(CHARGE_A)
    assert result.discharge_current_a == pytest.approx(DISCHARGE_A)
    assert result.limited_by is LimitedBy.RATING


@pytest.mark.parametrize(
    ("state", "charge", "discharge", "cause"),
    [
        ({"temperature_c": 41.0}, 0.5, 1.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": 49.0}, 0.0, 0.5, LimitedBy.TEMPERATURE),
        ({"temperature_c": 70.0}, 0.0, 0.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": 5.0}, 0.5, 1.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": 0.0}, 0.0, 1.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": -20.0}, 0.0, 0.0, LimitedBy.TEMPERATURE),
        ({"voltage_v": 4.195}, 0.0, 1.0, LimitedBy.CELL_VOLTAGE),
        ({"voltage_v": 4.3}, 0.0, 1.0, LimitedBy.CELL_VOLTAGE),
        ({"voltage_v": 2.7}, 1.0, 0.0, LimitedBy.CELL_VOLTAGE),
        ({"voltage_v": 2.4}, 1.0, 0.0, LimitedBy.CELL_VOLTAGE),
        ({"soc": 0.95}, 0.55, 1.0, LimitedBy.STATE_OF_CHARGE),
        ({"soc": 0.0}, 1.0, 0.1, LimitedBy.STATE_OF_CHARGE),
        ({"soc": math.nan}, 1.0, 1.0, LimitedBy.RATING),
        ({"derate": True}, 0.5, 0.5, LimitedBy.FAULT),
        ({"withdraw": True}, 0.0, 0.0, LimitedBy.PACK_STATE),
    ],
)
def test_one_cell_at_its_edge_limits_the_pack(
    driver: Driver, state: dict[str, Any], charge: float, discharge: float, cause: LimitedBy
) -> None:
    driver.after()
    result = driver.after(10.0, **state)
    assert result.charge_current_a / CHARGE_A == pytest.approx(charge, abs=1e-6)
    assert result.discharge_current_a / DISCHARGE_A == pytest.approx(discharge, abs=1e-6)
    assert result.limited_by is cause


def test_voltage_looks_ahead_by_the_resistance(driver: Driver) -> None:
    """The limit is the current at which the cell would reach the voltage to hold."""
    group_ohm = 1.7 * CELL.resistance_ohm / PARALLEL
    rest = driver.after(voltage_v=4.09).charge_current_a
    assert rest == pytest.approx((4.19 - 4.09) / group_ohm, rel=1e-3)
    # The same cell while that current flows stands at that voltage, and the limit stays.
    assert driver.after(voltage_v=4.19, current_a=rest).charge_current_a == pytest.approx(rest)
    # What the estimator knows counts where it is more.
    assert driver.after(voltage_v=4.09, resistance_ohm=2 * group_ohm).charge_current_a == (
        pytest.approx(rest / 2, rel=1e-3)
    )
    # A cold cell has more resistance.
    assert Driver().after(voltage_v=4.0, temperature_c=11.0).charge_current_a < 0.8 * CHARGE_A
    low = Driver().after(voltage_v=3.0, temperature_c=0.0).discharge_current_a
    assert low == pytest.approx((3.0 - 2.75) * PARALLEL / (4.2 * CELL.resistance_ohm), rel=1e-3)


def test_limits_fall_and_rise_at_their_rates_and_never_jump(driver: Driver) -> None:
    driver.after()
    last = 1.0
    for _ in range(15):
        share = driver.after(0.1, temperature_c=60.0).discharge_current_a / DISCHARGE_A
        assert last - share <= CURVES.fall_per_s * 0.1 + 1e-9
        last = share
    assert last == 0.0
    assert driver.after(1.0).discharge_current_a == pytest.approx(CURVES.rise_per_s * DISCHARGE_A)
    assert driver.after(10.0).discharge_current_a == pytest.approx(DISCHARGE_A)


def test_while_it_rises_the_cause_is_what_brought_it_down(driver: Driver) -> None:
    driver.after()
    driver.after(3.0, derate=True)
    assert driver.after(1.0).limited_by is LimitedBy.FAULT
    assert driver.after(10.0).limited_by is LimitedBy.RATING


def test_a_small_swing_does_not_move_the_limit(driver: Driver) -> None:
    driver.after()
    seen = set()
    for step in range(100):
        # 41.0 and 41.1 degC are 1 % of the rating apart.
        result = driver.after(1.0, temperature_c=41.0 + 0.1 * (step % 2))
        seen.add(round(result.charge_current_a, 6))
    assert len(seen) <= 3  # on the way down, then no more


@pytest.mark.parametrize("cause", [LimitedBy.FAULT, LimitedBy.PACK_STATE, LimitedBy.INPUT_STALE])
def test_what_forbids_gives_nothing_at_once_and_the_rise_begins_from_there(
    driver: Driver, cause: LimitedBy
) -> None:
    driver.after()
    driver.now_ns += S // 10
    assert driver.limits.forbid(cause, driver.now_ns) == Limits(0.0, 0.0, cause)
    result = driver.after(0.1)
    assert 0.0 < result.discharge_current_a <= 0.011 * DISCHARGE_A
    assert result.limited_by is cause


@given(
    states=st.lists(
        st.tuples(
            st.floats(2.0, 4.6),
            st.floats(-40.0, 80.0),
            st.floats(0.0, 1.0),
            st.floats(-40.0, 40.0),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_the_limits_stay_in_range_and_within_their_rates(
    states: list[tuple[float, float, float, float, bool]],
) -> None:
    driver = Driver()
    before = driver.after()
    for voltage_v, temperature_c, soc, current_a, derate in states:
        now = driver.after(0.1, voltage_v, temperature_c, soc, current_a=current_a, derate=derate)
        for old, new, rated_a in (
            (before.charge_current_a, now.charge_current_a, CHARGE_A),
            (before.discharge_current_a, now.discharge_current_a, DISCHARGE_A),
        ):
            assert 0.0 <= new <= rated_a * (1 + 1e-9)
            assert -CURVES.fall_per_s * 0.1 - 1e-9 <= (new - old) / rated_a
            assert (new - old) / rated_a <= CURVES.rise_per_s * 0.1 + 1e-9
        before = now
