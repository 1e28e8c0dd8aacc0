# SPDX-License-Identifier: Apache-2.0
"""What a first voltage says of a cell, held against random drawing."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from ibms_battery.cell import Cell
from ibms_battery.circuit import Circuit, build_circuit
from ibms_edge.estimation.first_voltage import Doubt, weigh

FloatArray = npt.NDArray[np.float64]
RandomCell = Callable[[int], Cell]

ROW_C = 5.0  # a row of the drawn tables: no interpolation over temperature in the reference
CURRENT_A = -3.0
ONE = np.ones(1)


def shares(
    fast: float,
    slow: float,
    offset: float,
    resistance: float,
    sample: float,
    offset_per_soc: float = 0.0,
) -> Doubt:
    return Doubt(
        fast=fast * ONE,
        slow=slow * ONE,
        offset=offset * ONE,
        offset_per_soc=offset_per_soc * ONE,
        resistance=resistance * ONE,
        sample=sample * ONE,
    )


def weigh_one(
    circuit: Circuit, soc: float, soc_std: float, voltage_v: float, doubt: Doubt
) -> tuple[FloatArray, FloatArray]:
    """Mean (5,) and covariance (5, 5) of one cell."""
    found = weigh(
        circuit,
        soc * ONE,
        soc_std * ONE,
        voltage_v * ONE,
        ROW_C * ONE,
        CURRENT_A * ONE,
        -1.0 * ONE,
        doubt,
    )
    return found.mean[:, 0], found.covariance[:, :, 0]


def voltages(circuit: Circuit) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Grid of charge, voltage on it at rest on the lower branch, and the drop of the current."""
    row = round((ROW_C - circuit.first_temperature_c) / circuit.temperature_step_k)
    i0 = circuit.activation_current_a
    drop_v = circuit.ohmic_ohm[row] * CURRENT_A + circuit.activation_ohm[row] * i0 * np.arcsinh(
        CURRENT_A / i0
    )
    grid = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])
    return grid, circuit.ocv_v[row] - circuit.hysteresis_v, drop_v


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_random_drawing(seed: int, random_cell: RandomCell) -> None:
    circuit = build_circuit(random_cell(seed))
    grid, rest_v, drop_v = voltages(circuit)
    soc, soc_std, voltage_v = 0.6, 0.2, float(np.interp(0.45, grid, rest_v + drop_v))
    fast, slow, offset, resistance, sample = 0.02, 0.03, 0.01, 0.3, 0.02
    random = np.random.default_rng(seed)
    count = 500_000
    z = random.normal(soc, soc_std, count)
    z = z[(z >= 0.0) & (z <= 1.0)]
    v_fast, v_slow = random.normal(0.0, fast, len(z)), random.normal(0.0, slow, len(z))
    v_offset, factor = random.normal(0.0, offset, len(z)), random.normal(0.0, resistance, len(z))
    expected = np.interp(z, grid, rest_v) + (1.0 + factor) * np.interp(z, grid, drop_v)
    off_v = voltage_v - expected - v_fast - v_slow - v_offset
    weight = np.exp(-0.5 * (off_v / sample) ** 2)
    weight /= weight.sum()
    states = np.array([z, v_fast, v_slow, v_offset, factor])
    mean = states @ weight
    covariance = (states - mean[:, np.newaxis]) * weight @ (states - mean[:, np.newaxis]).T

    doubt = shares(fast**2, slow**2, offset**2, resistance**2, sample**2)
    found_mean, found = weigh_one(circuit, soc, soc_std, voltage_v, doubt)
    scale = np.sqrt(np.diag(covariance))
    assert (found_mean - mean) / scale == pytest.approx(np.zeros(5), abs=0.03)
    assert (found - covariance) / np.outer(scale, scale) == pytest.approx(
        np.zeros((5, 5)), abs=0.04
    )


def test_an_offset_that_goes_with_the_charge_is_no_news(random_cell: RandomCell) -> None:
    """Known to 0.01, and the offset known to be what a charge further up would show."""
    circuit = build_circuit(random_cell(6))
    grid, rest_v, drop_v = voltages(circuit)
    shown_v = rest_v + drop_v
    slope_v = float(np.interp(0.51, grid, shown_v) - np.interp(0.5, grid, shown_v)) / 0.01
    voltage_v = float(np.interp(0.5, grid, shown_v))
    free, _ = weigh_one(circuit, 0.51, 0.01, voltage_v, shares(1e-8, 1e-8, 1e-8, 1e-8, 1e-6))
    tied, covariance = weigh_one(
        circuit, 0.51, 0.01, voltage_v, shares(1e-8, 1e-8, 1e-4, 1e-8, 1e-6, -slope_v)
    )
    assert free[0] == pytest.approx(0.5, abs=0.003)
    assert tied[0] == pytest.approx(0.51, abs=0.003)
    assert np.sqrt(covariance[0, 0]) > 0.008


@pytest.mark.parametrize("soc_std", [0.0, 1e-4, 1e-3])
def test_a_sure_belief_stays_between_the_points_of_the_grid(
    soc_std: float, random_cell: RandomCell
) -> None:
    circuit = build_circuit(random_cell(7))
    grid, rest_v, drop_v = voltages(circuit)
    soc = 0.5 + 0.3 * float(grid[1])
    voltage_v = float(np.interp(soc, grid, rest_v + drop_v))
    mean, covariance = weigh_one(
        circuit, soc, soc_std, voltage_v, shares(1e-2, 1e-2, 1e-4, 1e-2, 1.0)
    )
    assert mean[0] == pytest.approx(soc, abs=0.1 * float(grid[1]))
    assert np.sqrt(covariance[0, 0]) > 0.3 * float(grid[1])


def test_a_sure_voltage_gives_the_charge_whatever_was_believed(random_cell: RandomCell) -> None:
    circuit = build_circuit(random_cell(4))
    grid, rest_v, drop_v = voltages(circuit)
    doubt = shares(1e-8, 1e-8, 1e-8, 1e-8, 1e-6)
    for true in (0.1, 0.5, 0.95):
        voltage_v = float(np.interp(true, grid, rest_v + drop_v))
        mean, covariance = weigh_one(circuit, 0.5, 1.0, voltage_v, doubt)
        assert mean[0] == pytest.approx(true, abs=0.004)
        assert np.sqrt(covariance[0, 0]) < 0.01


def test_a_voltage_of_which_nothing_is_known_changes_no_belief(random_cell: RandomCell) -> None:
    circuit = build_circuit(random_cell(5))
    mean, covariance = weigh_one(circuit, 0.5, 0.05, 3.9, shares(0.01, 0.02, 1e-4, 0.1, 1e6))
    assert mean == pytest.approx([0.5, 0.0, 0.0, 0.0, 0.0], abs=1e-4)
    assert np.diag(covariance) == pytest.approx([0.05**2, 0.01, 0.02, 1e-4, 0.1], rel=1e-3)
