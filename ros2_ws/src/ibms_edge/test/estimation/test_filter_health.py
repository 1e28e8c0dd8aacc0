# SPDX-License-Identifier: Apache-2.0
"""Voltages that contradict the model are named; one outlier and a moment's error are not."""

import numpy as np
import pytest

from ibms_battery.cell import Cell
from ibms_battery.circuit import model_of
from ibms_edge.estimation.filter_health import FilterHealth, FloatArray

COUNT = 96
STEP_S = 0.02
NAN = float("nan")


@pytest.fixture
def health(cell: Cell) -> FilterHealth:
    return FilterHealth(cell, COUNT)


def run(health: FilterHealth, seconds: float, ratio: dict[int, float], usual: float = 1.0) -> None:
    ratios = np.full(COUNT, usual)
    for cell, value in ratio.items():
        ratios[cell] = value
    for _ in range(round(seconds / STEP_S)):
        health.update(ratios, STEP_S)


def test_a_cell_that_contradicts_is_named_until_it_agrees(health: FilterHealth) -> None:
    run(health, 120.0, {})
    assert health.problem == ""
    run(health, 300.0, {37: 81.0})
    assert health.problem == (
        "cell 37: voltage contradicts the model: innovation 9 times its sigma"
    )
    run(health, 400.0, {})
    assert health.problem == ""


def test_an_outlier_is_no_contradiction(health: FilterHealth) -> None:
    run(health, 10.0, {})
    health.update(np.where(np.arange(COUNT) == 5, 1e9, 1.0), STEP_S)
    assert health.problem == ""
    # Not even at one scan per second and after a gap.
    health.update(np.where(np.arange(COUNT) == 5, 1e9, 1.0), 3600.0)
    assert health.problem == ""


def test_unused_voltages_change_nothing(health: FilterHealth) -> None:
    run(health, 300.0, {37: 81.0})
    before = health.ratio.copy()
    run(health, 300.0, {}, usual=NAN)
    assert (health.ratio == before).all()


def test_several_are_listed_and_many_are_a_wrong_cell_file(health: FilterHealth) -> None:
    run(health, 300.0, dict.fromkeys(range(7), 25.0))
    assert health.problem.startswith("cells 0, 1, 2, 3, 4, ...: voltage contradicts")
    run(health, 300.0, {}, usual=400.0)
    assert "96 cells" in health.problem
    assert "15 times" in health.problem


@pytest.mark.parametrize(("agreed", "said"), [(False, "is lg_m50"), (True, "current sensor")])
def test_what_contradicts_from_the_start_is_another_cell(
    health: FilterHealth, agreed: bool, said: str
) -> None:
    if agreed:
        run(health, 120.0, {})
    run(health, 300.0, {}, usual=100.0)
    assert said in health.problem


def test_after_a_change_of_the_model_nothing_is_held_against_it(
    health: FilterHealth, cell: Cell
) -> None:
    run(health, 300.0, {3: 100.0})
    health.begin_anew(cell)
    assert health.problem == ""
    assert (health.ratio == 1.0).all()


def test_voltages_that_no_such_cell_can_rest_at(cell: Cell) -> None:
    health = FilterHealth(cell, COUNT)
    beyond_v = np.full(COUNT, cell.maximum_voltage_v + 0.1)
    beyond_v[:5] = NAN
    for _ in range(100):
        health.look_at_voltages(beyond_v, 0.0, STEP_S)
    assert "impossible for lg_m50" in health.problem
    for _ in range(100):
        health.look_at_voltages(beyond_v - 0.2, 0.0, STEP_S)
    assert health.problem == ""


def test_under_load_a_voltage_may_be_anywhere(cell: Cell) -> None:
    health = FilterHealth(cell, COUNT)
    for current_a in (-cell.capacity_ah, NAN):
        for _ in range(200):
            health.look_at_voltages(np.full(COUNT, 2.0), current_a, STEP_S)
    health.look_at_voltages(np.full(COUNT, NAN), 0.0, 60.0)
    assert health.problem == ""


def test_a_bias_beyond_expectation_that_lasts_is_named(cell: Cell) -> None:
    health = FilterHealth(cell, COUNT)
    expected_a = model_of(cell).uncertainty.bias_a
    biases_a = np.full(COUNT, 6.0 * expected_a)
    biases_a[:40] = 0.0  # not each cell tells
    biases_a[40] = NAN
    warm_c, cold_c = np.full(COUNT, 20.0), np.full(COUNT, -10.0)

    def look(values_a: FloatArray, temperature_c: FloatArray, seconds: float) -> str:
        for _ in range(round(seconds / 10.0)):
            health.look_at_bias(values_a, temperature_c, 10.0)
        return health.problem

    assert look(biases_a, warm_c, 200.0) == ""  # it may be found out to be none
    problem = look(biases_a, warm_c, 200.0)
    assert "is not the pack's cell" in problem
    assert "6 times" in problem
    assert look(np.full(COUNT, -4.0 * expected_a), warm_c, 10.0) == ""
    assert look(biases_a, cold_c, 1000.0) == ""
    assert look(np.full(COUNT, NAN), warm_c, 1000.0) == ""  # an estimator without a bias
