# SPDX-License-Identifier: Apache-2.0
"""The step of the default filter equals filterpy's, for one cell and for many, compiled or not."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from filterpy.kalman import ExtendedKalmanFilter as FilterpyExtended

from ibms_battery.cell import Cell
from ibms_battery.circuit import Circuit, build_circuit, model_of
from ibms_edge.estimation import cell_step
from ibms_edge.estimation.adaptive import noise_of
from ibms_edge.estimation.cell_step import (
    BIAS,
    CAPACITY,
    FAST,
    HYSTERESIS,
    OFFSET,
    PAIRS,
    RESISTANCE,
    ROWS,
    SLOW,
    SOC,
    STATES,
    TEMPERATURE,
    WIDTH,
    Noise,
    pair,
)

FloatArray = npt.NDArray[np.float64]
TablesOf = Callable[[Circuit], Any]
RandomCell = Callable[[int], Cell]

STEPS = 300
START_STD = np.array([0.05, 0.004, 0.006, 0.06, 0.2, 3.0, 0.03, 0.005])  # the last: OFFSET
PATHS = [
    pytest.param(cell_step.step_cells, id="numpy"),
    pytest.param(
        cell_step.compiled_step_cells,
        id="compiled",
        marks=pytest.mark.skipif(cell_step.compiled_step_cells is None, reason="no numba here"),
    ),
]


class FilterpyCell:
    """One cell's joint filter written from its equations around filterpy's matrices."""

    def __init__(self, circuit: Circuit, noise: Noise, tables: Any, x: FloatArray) -> None:
        self.circuit, self.noise, self.tables = circuit, noise, tables
        self.filter = FilterpyExtended(dim_x=WIDTH, dim_z=1)
        self.filter.x = np.append(x, 0.0)
        self.filter.P = np.diag(START_STD**2)
        self.hysteresis = 0.0
        self.ratio = 0.0
        self.innovation_v = 0.0

    def step(
        self, voltage_v: float, current_a: float, std_a: float, surface_c: float, step_s: float
    ) -> None:
        circuit, noise, tables, kalman = self.circuit, self.noise, self.tables, self.filter
        x = kalman.x
        core_c = surface_c + x[TEMPERATURE]
        i = current_a - x[BIAS]
        hours = step_s / 3600.0
        charge = hours / circuit.capacity_ah
        turn = np.exp(-abs(current_a) * charge * circuit.hysteresis_rate)
        self.hysteresis = turn * self.hysteresis + (1.0 - turn) * np.sign(current_a)
        growth = np.exp(2.0 * noise.cold_growth_per_k * max(25.0 - surface_c, 0.0))

        transition = np.eye(WIDTH)
        transition[SOC, BIAS] = -charge / x[CAPACITY]
        transition[SOC, CAPACITY] = -charge * i / x[CAPACITY] ** 2
        moved = x.copy()
        moved[SOC] += charge * i / x[CAPACITY]
        for state, name, time_s in (
            (FAST, "fast_ohm", circuit.fast_s),
            (SLOW, "slow_ohm", circuit.slow_s),
        ):
            decay = np.exp(-step_s / time_s)
            ohm = tables.at(name, core_c, x[SOC])
            transition[state, state] = decay
            transition[state, BIAS] = -(1.0 - decay) * ohm
            transition[state, TEMPERATURE] = (1.0 - decay) * tables.per_k(name, core_c, x[SOC]) * i
            moved[state] = decay * x[state] + (1.0 - decay) * ohm * i
        polarisation = noise.polarisation_v**2 * step_s * growth
        kalman.F = transition
        kalman.Q = np.diag(
            [
                (charge * std_a) ** 2,
                polarisation,
                polarisation,
                noise.bias_a**2 * step_s,
                noise.resistance**2 * step_s,
                noise.temperature_k**2 * step_s,
                noise.capacity**2 * step_s,
                0.0,
            ]
        )
        kalman.predict_x = lambda u=0: setattr(kalman, "x", moved)
        kalman.predict()
        self.correct(voltage_v, current_a, core_c, growth)
        kalman.x[SOC] = np.clip(kalman.x[SOC], 0.0, 1.05)
        kalman.x[RESISTANCE] = np.clip(kalman.x[RESISTANCE], 0.2, 5.0)
        kalman.x[TEMPERATURE] = np.clip(kalman.x[TEMPERATURE], -15.0, 15.0)
        kalman.x[CAPACITY] = np.clip(kalman.x[CAPACITY], 0.3, 1.3)

    def correct(self, voltage_v: float, current_a: float, core_c: float, growth: float) -> None:
        circuit, noise, tables, kalman = self.circuit, self.noise, self.tables, self.filter
        i0 = circuit.activation_current_a

        def drop_v(x: FloatArray) -> float:
            i = current_a - x[BIAS]
            ohmic = tables.at("ohmic_ohm", core_c, x[SOC]) * i
            return float(
                ohmic + tables.at("activation_ohm", core_c, x[SOC]) * i0 * np.arcsinh(i / i0)
            )

        def shown_v(x: FloatArray) -> FloatArray:
            over_v = drop_v(x) + x[FAST] + x[SLOW]
            ocv_v = tables.at("ocv_v", core_c, x[SOC])
            ocv_v += tables.hysteresis_v(x[SOC]) * self.hysteresis
            return np.array([ocv_v + x[RESISTANCE] * over_v])

        def row(x: FloatArray) -> FloatArray:
            i = current_a - x[BIAS]
            factor, soc = x[RESISTANCE], x[SOC]
            slope = np.zeros((1, WIDTH))
            slope[0, OFFSET] = 1.0
            slope[0, SOC] = tables.at("slope_v", core_c, soc)
            slope[0, FAST] = slope[0, SLOW] = factor
            slope[0, BIAS] = -factor * (
                tables.at("ohmic_ohm", core_c, soc)
                + tables.at("activation_ohm", core_c, soc) / np.hypot(1.0, i / i0)
            )
            slope[0, RESISTANCE] = drop_v(x) + x[FAST] + x[SLOW]
            slope[0, TEMPERATURE] = tables.per_k("ocv_v", core_c, soc) + factor * (
                tables.per_k("ohmic_ohm", core_c, soc) * i
                + tables.per_k("activation_ohm", core_c, soc) * i0 * np.arcsinh(i / i0)
            )
            return slope

        variance = noise.voltage_v**2 * growth + (noise.drop_share * drop_v(kalman.x)) ** 2
        slope = row(kalman.x)
        total = float((slope @ kalman.P @ slope.T)[0, 0]) + variance
        innovation = voltage_v - float(shown_v(kalman.x)[0])
        if np.isnan(voltage_v):
            self.innovation_v = self.ratio = 0.0
            return
        # An outlier counts as a voltage so much less certain that it stands at the gate.
        doubted = max(innovation**2 / noise.gate - total, 0.0)
        kalman.update(np.array([voltage_v]), row, shown_v, R=np.array([[variance + doubted]]))
        # Schmidt's filter is the whole one that forgets what it learns of the offset itself.
        kalman.x[OFFSET] = 0.0
        kalman.P[OFFSET, OFFSET] = START_STD[OFFSET] ** 2
        self.innovation_v, self.ratio = innovation, innovation**2 / total


@dataclass
class Drive:
    """Random samples, each (steps, cells); the step is one for all cells."""

    voltage_v: FloatArray
    current_a: FloatArray
    std_a: FloatArray
    temperature_c: FloatArray
    step_s: FloatArray  # (steps,)


def draw_drive(seed: int, cells: int, steps: int = STEPS) -> Drive:
    """Current, temperature and step change; voltages are about right, some missing, some wild."""
    random = np.random.default_rng(seed)
    shape = (steps, cells)
    current_a = random.choice([-6.0, -1.0, 0.0, 2.0], shape) * random.uniform(0.5, 1.5, shape)
    temperature_c = np.clip(
        random.uniform(-25.0, 50.0, cells) + np.cumsum(random.normal(0.0, 0.5, shape), axis=0),
        -30.0,
        60.0,
    )
    voltage_v = 3.9 + 0.04 * current_a + random.normal(0.0, 0.05, shape)
    voltage_v[random.random(shape) < 0.03] += 0.8
    voltage_v[random.random(shape) < 0.05] = np.nan
    step_s = random.choice([0.0, 0.01, 0.1, 1.0, 10.0, 60.0], steps)
    return Drive(voltage_v, current_a, 0.002 * np.abs(current_a), temperature_c, step_s)


def begin(cells: int) -> tuple[FloatArray, FloatArray]:
    x, p = np.zeros((ROWS, cells)), np.zeros((PAIRS, cells))
    x[SOC] = np.linspace(0.05, 0.98, cells)
    x[[RESISTANCE, CAPACITY]] = 1.0
    for state, std in enumerate(START_STD):
        p[pair(state, state)] = std**2
    return x, p


def run(
    step_cells: Callable[..., None],
    drive: Drive,
    circuit: Circuit,
    noise: Noise,
    watch: Callable[[int, FloatArray, FloatArray, FloatArray, FloatArray], None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """States and covariance at the end; ``watch`` sees each step's, with innovation and ratio."""
    cells = drive.voltage_v.shape[1]
    x, p = begin(cells)
    work = np.empty((3, WIDTH, cells))
    innovation_v, ratio = np.empty(cells), np.empty(cells)
    for k, step_s in enumerate(drive.step_s):
        usable = np.isfinite(drive.voltage_v[k])
        step_cells(
            x,
            p,
            work,
            np.where(usable, drive.voltage_v[k], 0.0),
            usable.astype(np.float64),
            drive.current_a[k],
            drive.std_a[k],
            drive.temperature_c[k],
            innovation_v,
            ratio,
            float(step_s),
            circuit,
            noise,
        )
        if watch is not None:
            watch(k, x, p, innovation_v, ratio)
    return x, p


def matrices(p: FloatArray) -> FloatArray:
    """Covariances (cells, width, width) of upper triangles (pairs, cells)."""
    places = [[pair(row, column) for column in range(WIDTH)] for row in range(WIDTH)]
    whole: FloatArray = p[np.array(places)].transpose(2, 0, 1)
    return whole


@pytest.mark.parametrize("step_cells", PATHS)
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_filterpy(
    step_cells: Callable[..., None], seed: int, random_cell: RandomCell, tables_of: TablesOf
) -> None:
    cell = random_cell(seed)
    circuit, noise = build_circuit(cell), noise_of(model_of(cell).uncertainty)
    cells = 3
    drive = draw_drive(seed, cells)
    x, _ = begin(cells)
    tables = tables_of(circuit)
    references = [FilterpyCell(circuit, noise, tables, x[:STATES, k]) for k in range(cells)]

    def compare(
        k: int, x: FloatArray, p: FloatArray, innovation_v: FloatArray, ratio: FloatArray
    ) -> None:
        for cell, one in enumerate(references):
            one.step(
                float(drive.voltage_v[k, cell]),
                float(drive.current_a[k, cell]),
                float(drive.std_a[k, cell]),
                float(drive.temperature_c[k, cell]),
                float(drive.step_s[k]),
            )
            scale = np.sqrt(np.diag(one.filter.P))
            # Of each state's own doubt: everything is compared in units that fit it.
            np.testing.assert_allclose(
                (x[:STATES, cell] - one.filter.x[:STATES]) / scale[:STATES],
                0.0,
                atol=1e-8,
                err_msg=f"step {k}",
            )
            np.testing.assert_allclose(
                (matrices(p)[cell] - one.filter.P) / np.outer(scale, scale), 0.0, atol=1e-8
            )
            assert x[HYSTERESIS, cell] == pytest.approx(one.hysteresis, abs=1e-12)
            assert innovation_v[cell] == pytest.approx(one.innovation_v, abs=1e-10)
            assert ratio[cell] == pytest.approx(one.ratio, rel=1e-7, abs=1e-10)

    run(step_cells, drive, circuit, noise, compare)


@pytest.mark.skipif(cell_step.compiled_step_cells is None, reason="no numba here")
@pytest.mark.parametrize("cells", [1, 7, 96, 700])
def test_compiled_equals_numpy(cells: int, random_cell: RandomCell) -> None:
    assert cell_step.compiled_step_cells is not None
    cell = random_cell(cells)
    circuit, noise = build_circuit(cell), noise_of(model_of(cell).uncertainty)
    drive = draw_drive(cells, cells)
    plain, compiled = (
        run(one, drive, circuit, noise)
        for one in (cell_step.step_cells, cell_step.compiled_step_cells)
    )
    scale = np.sqrt(plain[1][[pair(state, state) for state in range(WIDTH)]])
    np.testing.assert_allclose((plain[0] - compiled[0])[:STATES] / scale[:STATES], 0.0, atol=1e-8)
    of = np.einsum("ac,bc->cab", scale, scale)
    np.testing.assert_allclose((matrices(plain[1]) - matrices(compiled[1])) / of, 0.0, atol=1e-8)


@pytest.mark.parametrize("step_cells", PATHS)
def test_covariance_stays_positive(
    step_cells: Callable[..., None], random_cell: RandomCell
) -> None:
    cell = random_cell(11)

    def watch(
        k: int, x: FloatArray, p: FloatArray, innovation_v: FloatArray, ratio: FloatArray
    ) -> None:
        whole = matrices(p)
        scale = np.sqrt(np.diagonal(whole, axis1=1, axis2=2))
        correlation = whole / scale[:, :, np.newaxis] / scale[:, np.newaxis, :]
        assert np.linalg.eigvalsh(correlation).min() > -1e-9, k

    drive = draw_drive(11, 8, steps=3_000)
    run(step_cells, drive, build_circuit(cell), noise_of(model_of(cell).uncertainty), watch)


@pytest.mark.parametrize("step_cells", PATHS)
def test_a_missing_voltage_only_widens(
    step_cells: Callable[..., None], random_cell: RandomCell
) -> None:
    cell = random_cell(3)
    circuit, noise = build_circuit(cell), noise_of(model_of(cell).uncertainty)
    drive = draw_drive(3, 5, steps=50)
    drive.voltage_v[:] = np.nan
    drive.step_s[:] = 10.0
    x, p = run(step_cells, drive, circuit, noise)
    start_x, start_p = begin(5)
    for state in (SOC, BIAS, RESISTANCE, TEMPERATURE, CAPACITY):
        assert (p[pair(state, state)] > start_p[pair(state, state)]).all()
    for state in (BIAS, RESISTANCE, TEMPERATURE, CAPACITY):
        assert (x[state] == start_x[state]).all()
    counted = drive.current_a.sum(axis=0) * 10.0 / 3600.0 / circuit.capacity_ah
    expected = start_x[SOC] + counted
    inside = (expected > 0.0) & (expected < 1.05)
    assert inside.any()
    np.testing.assert_allclose(x[SOC][inside], expected[inside], atol=1e-12)


@pytest.mark.parametrize("step_cells", PATHS)
def test_a_step_of_no_time_without_voltage_changes_nothing(
    step_cells: Callable[..., None], random_cell: RandomCell
) -> None:
    cell = random_cell(4)
    drive = draw_drive(4, 6, steps=5)
    drive.voltage_v[:] = np.nan
    drive.step_s[:] = 0.0
    x, p = run(step_cells, drive, build_circuit(cell), noise_of(model_of(cell).uncertainty))
    start_x, start_p = begin(6)
    np.testing.assert_array_equal(x, start_x)
    np.testing.assert_array_equal(p, start_p)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import numpy as np
from ibms_battery.cell import Cell
from ibms_edge.estimation import cell_step
from ibms_edge.estimation.adaptive import AdaptiveFilter
assert cell_step.compiled_step_cells is None
cell = Cell(
    "plain", "NMC", 2.5, 2.5, 4.2, 3.6, 0.02, [0.0, 1.0], [3.0, 4.2], 2.5, 5.0, "made up"
)
one, batch = np.ones(3), AdaptiveFilter(cell, 3)
for k in range(3):
    batch.update(3.6 * one, 25.0 * one, -1.0 * one, float(k > 0))
assert (np.abs(batch.estimate.soc - 0.5) < 0.1).all(), batch.estimate
"""


def test_the_same_code_runs_without_numba() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
