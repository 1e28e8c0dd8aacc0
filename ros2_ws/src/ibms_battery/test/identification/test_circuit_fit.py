# SPDX-License-Identifier: Apache-2.0
"""Parts of the fit on their own."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from ibms_battery.identification.circuit_fit import (
    Parameters,
    Prior,
    Structure,
    equations_of,
    hysteresis,
    lag,
    solve,
    solve_bounded,
    total,
)
from ibms_battery.identification.runs import Run
from ibms_battery.recordings import FloatArray

from .virtual_cell import CAPACITY_AH, cycle_a

GAP_V = 0.02  # of the hysteresis that is put in
RATE = 30.0


def run_of(current_a: FloatArray, voltage_v: FloatArray, soc: FloatArray, path: str = "a") -> Run:
    return Run(
        path=path,
        test=path,
        time_s=np.arange(len(soc), dtype=np.float64),
        voltage_v=voltage_v,
        current_a=current_a,
        held_a=current_a,
        temperature_c=np.full(len(soc), 25.0),
        soc=soc,
        weight=np.ones(len(soc)),
    )


@pytest.mark.parametrize("time_constant_s", [0.5, 10.0])
def test_a_lag_approaches_its_input(time_constant_s: float) -> None:
    found = lag(np.ones((50, 1)), np.ones(50), time_constant_s)[:, 0]
    np.testing.assert_allclose(found, 1.0 - np.exp(-np.arange(1, 51) / time_constant_s))


def test_a_lag_over_uneven_steps_is_the_recursion() -> None:
    random = np.random.default_rng(1)
    step_s = np.concatenate([np.ones(20), random.uniform(0.5, 60.0, 15), np.full(10, 60.0)])
    values = random.normal(size=(len(step_s), 3))
    state, expected = np.zeros(3), []
    for step, value in zip(step_s, values, strict=True):
        decay = np.exp(-step / 7.0)
        state = decay * state + (1.0 - decay) * value
        expected.append(state)
    np.testing.assert_allclose(lag(values, step_s, 7.0), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_bounded_solution_is_that_of_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    design = random.normal(size=(60, 25))
    side = random.normal(size=60)
    lowest = np.where(random.uniform(size=25) < 0.7, 0.1 * random.uniform(size=25), -np.inf)
    expected = lsq_linear(design, side, bounds=(lowest, np.inf), method="bvls").x
    found = solve_bounded(design.T @ design, design.T @ side, lowest)
    assert (found == lowest).sum() >= 3  # else the bounds would not have been tried
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_hysteresis_comes_out_where_charge_and_discharge_are_there() -> None:
    structure = Structure(
        temperatures_c=np.array([25.0]),
        soc=np.linspace(0.0, 1.0, 6),
        time_constants_s=(10.0, 100.0),
        activation_current_a=1.0,
        capacity_ah=CAPACITY_AH,
        hysteresis_rate=RATE,
    )
    runs = []
    for seed, (mean_a, first) in enumerate([(-1.6, 1.0), (1.6, 0.0)]):
        current_a = cycle_a(seed, 6000, mean_a)
        soc = first + np.cumsum(current_a) / 3600.0 / CAPACITY_AH
        soc = np.clip(soc, 0.0, 1.0)
        bare = run_of(current_a, np.zeros(len(soc)), soc)
        over_v = 0.02 * current_a + 0.01 * lag(current_a[:, np.newaxis], bare.step_s, 10.0)[:, 0]
        state = hysteresis(bare, RATE, CAPACITY_AH)
        runs.append(run_of(current_a, over_v + GAP_V * state, soc))
    equations = [equations_of(run, np.zeros(len(run.soc)), structure) for run in runs]
    vector = solve(total(equations, structure.size), structure, 0.02, Prior())
    found = Parameters.from_vector(structure, vector)
    assert found.hysteresis_v == pytest.approx(np.full(6, GAP_V), abs=0.003)
    assert np.abs(found.correction_v).max() < 0.003
    assert found.ohmic_ohm[0] == pytest.approx(np.full(6, 0.02), rel=0.1)


def test_hysteresis_turns_with_the_charge_that_moves() -> None:
    hour = np.full(3600, -CAPACITY_AH / 10.0)
    soc = 1.0 + np.cumsum(hour) / 3600.0 / CAPACITY_AH
    state = hysteresis(run_of(hour, np.zeros(3600), soc), RATE, CAPACITY_AH)
    # From +1 after a full charge towards -1: a tenth of the charge is three times 1/rate.
    assert state[0] == pytest.approx(1.0, abs=0.01)
    assert state[-1] == pytest.approx(-1.0 + 2.0 * np.exp(-3.0), abs=0.01)
    assert (np.diff(state) < 0).all()


def test_no_resistance_is_negative_where_the_data_are_absurd() -> None:
    structure = Structure(
        np.array([0.0, 25.0]), np.linspace(0.0, 1.0, 6), (10.0, 100.0), 1.0, CAPACITY_AH
    )
    current_a = cycle_a(1)
    soc = 1.0 + np.cumsum(current_a) / 3600.0 / CAPACITY_AH
    absurd = run_of(current_a, -0.02 * current_a, soc)
    vector = solve(
        total([equations_of(absurd, np.zeros(len(soc)), structure)], structure.size),
        structure,
        0.02,
        Prior(),
    )
    found = Parameters.from_vector(structure, vector)
    for table in (found.ohmic_ohm, found.activation_ohm, found.fast_ohm, found.slow_ohm):
        assert table.min() > 0.0
