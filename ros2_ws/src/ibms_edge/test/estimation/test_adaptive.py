# SPDX-License-Identifier: Apache-2.0
"""The default estimator on a cell whose circuit is known."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from ibms_battery.cell import Cell
from ibms_battery.circuit import Circuit, build_circuit, model_of
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.cell_step import BIAS, SOC, WIDTH, pair

FloatArray = npt.NDArray[np.float64]
RandomCell = Callable[[int], Cell]

TEMPERATURE_C = 15.0
STEP_S = 1.0


class TrueCell:
    """The circuit itself at one temperature, driven by a current."""

    def __init__(self, circuit: Circuit, soc: float, capacity: float = 1.0) -> None:
        self.circuit, self.soc, self.capacity = circuit, soc, capacity
        self.fast_v = self.slow_v = 0.0
        self.hysteresis = 0.0
        self._row = round(
            (TEMPERATURE_C - circuit.first_temperature_c) / circuit.temperature_step_k
        )
        self._grid = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])

    def _at(self, table: FloatArray) -> float:
        row = table[self._row] if table.ndim == 2 else table
        return float(np.interp(self.soc, self._grid, row))

    def step(self, current_a: float) -> float:
        """Voltage after one step."""
        circuit = self.circuit
        gain = STEP_S / 3600.0 / circuit.capacity_ah
        moved = np.exp(-abs(current_a) * gain * circuit.hysteresis_rate)
        self.hysteresis = moved * self.hysteresis + (1.0 - moved) * np.sign(current_a)
        for name, table, tau in (
            ("fast_v", circuit.fast_ohm, circuit.fast_s),
            ("slow_v", circuit.slow_ohm, circuit.slow_s),
        ):
            decay = np.exp(-STEP_S / tau)
            driven = (1.0 - decay) * self._at(table) * current_a
            setattr(self, name, decay * getattr(self, name) + driven)
        self.soc += gain * current_a / self.capacity
        i0 = circuit.activation_current_a
        return (
            self._at(circuit.ocv_v)
            + self._at(circuit.hysteresis_v) * self.hysteresis
            + self._at(circuit.ohmic_ohm) * current_a
            + self._at(circuit.activation_ohm) * i0 * float(np.arcsinh(current_a / i0))
            + self.fast_v
            + self.slow_v
        )


def drive(steps: int, seed: int = 0) -> FloatArray:
    """Loads of 20 s with rests between, on the whole a discharge."""
    random = np.random.default_rng(seed)
    loads = random.choice([-5.0, -2.0, 0.0, 0.0, 2.0], steps // 20 + 1)
    return np.repeat(loads, 20)[:steps]


def run(
    estimator: AdaptiveFilter, true: TrueCell, currents_a: FloatArray, bias_a: float = 0.0
) -> FloatArray:
    """Feed the estimator's cells with the same cell; the true charge after each step."""
    count = len(estimator.estimate.soc)
    one = np.ones(count)
    socs = []
    for k, current_a in enumerate(currents_a):
        voltage_v = true.step(current_a)
        estimator.update(
            voltage_v * one,
            TEMPERATURE_C * one,
            (current_a + bias_a) * one,
            STEP_S if k else 0.0,
        )
        socs.append(true.soc)
    return np.array(socs)


@pytest.fixture
def cell(random_cell: RandomCell) -> Cell:
    return random_cell(11)


def test_recovers_from_any_start(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.8)
    estimator = AdaptiveFilter(cell, 4)
    estimator.start(np.array([0.8, 0.6, 1.0, np.nan]), np.full(4, 0.2), rested=True)
    run(estimator, true, drive(600))
    found = estimator.estimate
    assert found.soc == pytest.approx(np.full(4, true.soc), abs=0.01)
    assert (np.abs(found.soc - true.soc) < 3.0 * found.soc_std).all()


def test_finds_the_bias_of_the_current_sensor(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.95)
    estimator = AdaptiveFilter(cell, 1)
    estimator.start(np.array([0.95]), np.array([0.02]), rested=True)
    run(estimator, true, drive(4000), bias_a=0.1)
    found = estimator.estimate
    assert found.current_bias_a[0] == pytest.approx(0.1, abs=0.03)
    assert found.soc[0] == pytest.approx(true.soc, abs=0.015)


def test_an_outlier_moves_little(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.7)
    estimator = AdaptiveFilter(cell, 1)
    estimator.start(np.array([0.7]), np.array([0.02]), rested=True)
    run(estimator, true, drive(300))
    before = estimator.estimate.soc[0]
    one = np.ones(1)
    estimator.update(0.5 * one, TEMPERATURE_C * one, 0.0 * one, STEP_S)
    assert estimator.estimate.soc[0] == pytest.approx(before, abs=0.02)
    assert estimator.estimate.innovation_ratio[0] > 100.0


def test_what_is_missing_only_widens(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.7)
    estimator = AdaptiveFilter(cell, 4)
    estimator.start(np.full(4, 0.7), np.full(4, 0.02), rested=True)
    run(estimator, true, drive(300))
    before = estimator.estimate
    nan, one = np.nan, np.ones(4)
    for _ in range(60):
        estimator.update(
            np.array([3.9, nan, 3.9, nan]),
            np.array([nan, TEMPERATURE_C, TEMPERATURE_C, nan]),
            np.array([0.0, 0.0, nan, nan]),
            STEP_S,
        )
    after = estimator.estimate
    assert np.isfinite(after.soc).all()
    assert np.isfinite(after.soc_std).all()
    assert after.soc_std[1] > before.soc_std[1]
    # A minute in which a full charge per hour could have flowed, all the time.
    assert (after.soc_std[2:] > before.soc_std[2:] + 0.99 * 60.0 / 3600.0).all()
    assert after.soc[2:] == pytest.approx(before.soc[2:], abs=2e-3)
    assert one.shape == after.soc.shape


@pytest.mark.parametrize("steps", [1, 10, 600])
def test_what_an_unknown_current_may_have_moved_does_not_depend_on_the_steps(
    cell: Cell, steps: int
) -> None:
    estimator = AdaptiveFilter(cell, 1)
    estimator.start(np.array([0.7]), np.array([0.02]), rested=True)
    nothing, warm = np.full(1, np.nan), np.array([TEMPERATURE_C])
    for _ in range(steps):
        estimator.update(nothing, warm, nothing, 600.0 / steps)
    assert estimator.estimate.soc_std[0] == pytest.approx(0.02 + 600.0 / 3600.0, rel=0.01)


@pytest.mark.parametrize("unmeasured", ["voltage", "current", "both"])
def test_a_cell_that_is_met_late_is_estimated_like_any(cell: Cell, unmeasured: str) -> None:
    """What was counted before its first voltage must not stand against it."""
    true = TrueCell(build_circuit(cell), 0.7)
    estimator = AdaptiveFilter(cell, 1)
    one, nan = np.ones(1), np.full(1, np.nan)
    voltage = nan if unmeasured in ("voltage", "both") else 3.9 * one
    current = nan if unmeasured in ("current", "both") else 0.0 * one
    for _ in range(3 * 3600):
        estimator.update(voltage, TEMPERATURE_C * one, current, STEP_S)
    run(estimator, true, drive(2400))
    covariance = estimator.snapshot()["covariance"]
    whole = covariance[[[pair(a, b) for b in range(WIDTH)] for a in range(WIDTH)], 0]
    scale = np.sqrt(np.diag(whole))
    assert np.linalg.eigvalsh(whole / np.outer(scale, scale)).min() > -1e-9
    found = estimator.estimate
    assert found.soc[0] == pytest.approx(true.soc, abs=0.02)
    assert abs(found.soc[0] - true.soc) < 3.0 * found.soc_std[0]


def test_a_belief_that_the_first_voltage_rules_out_is_none(cell: Cell) -> None:
    """Another battery in its place: neither its charge nor what was slow is that of the old one."""
    circuit = build_circuit(cell)
    old = AdaptiveFilter(cell, 2)
    run(old, TrueCell(circuit, 0.9), drive(600), bias_a=0.2)
    kept = old.snapshot()
    new = AdaptiveFilter(cell, 2)
    new.restore(kept, 8 * 3600.0)
    true = TrueCell(circuit, 0.2)
    run(new, true, np.zeros(1))
    found = new.estimate
    assert (np.abs(found.soc - true.soc) < 3.0 * found.soc_std).all()
    assert found.current_bias_a == pytest.approx(np.zeros(2))
    # One that fits goes on.
    again = AdaptiveFilter(cell, 2)
    again.restore(kept, 8 * 3600.0)
    run(again, TrueCell(circuit, float(kept["states"][SOC, 0])), np.zeros(1))
    assert again.estimate.current_bias_a == pytest.approx(kept["states"][BIAS])


def test_one_offset_is_no_news_at_each_restart(cell: Cell) -> None:
    circuit = build_circuit(cell)
    offset_v = model_of(cell).uncertainty.offset_v
    true = TrueCell(circuit, 0.5)
    rest_v = true.step(0.0) + offset_v
    one = np.ones(1)
    estimator = AdaptiveFilter(cell, 1)
    estimator.start(np.array([0.5]), np.array([0.01]), rested=True)
    for _ in range(30):
        for k in range(20):
            estimator.update(rest_v * one, TEMPERATURE_C * one, 0.0 * one, STEP_S if k else 0.0)
        kept = estimator.snapshot()
        estimator = AdaptiveFilter(cell, 1)
        estimator.restore(kept, 8 * 3600.0)
    estimator.update(rest_v * one, TEMPERATURE_C * one, 0.0 * one, 0.0)
    found = estimator.estimate
    assert abs(found.soc[0] - true.soc) < 2.0 * found.soc_std[0]


def test_a_current_that_may_be_bias_tells_no_branch_of_the_hysteresis(cell: Cell) -> None:
    one = np.ones(2)
    estimator = AdaptiveFilter(cell, 2)
    little = 0.5 * model_of(cell).uncertainty.bias_a
    estimator.update(3.7 * one, TEMPERATURE_C * one, np.array([little, -2.0]), 0.0)
    assert estimator.circuit_state().hysteresis == pytest.approx([0.0, -1.0])


def test_a_cell_that_lost_its_numbers_begins_anew(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.7)
    estimator = AdaptiveFilter(cell, 3)
    run(estimator, true, drive(300))
    estimator._p[pair(SOC, SOC), 1] = np.nan
    one = np.ones(3)
    voltage_v = true.step(0.0)
    estimator.update(voltage_v * one, TEMPERATURE_C * one, 0.0 * one, STEP_S)
    found = estimator.estimate
    assert np.isnan(found.soc).tolist() == np.isnan(found.soc_std).tolist() == [False, True, False]
    estimator.update(voltage_v * one, TEMPERATURE_C * one, 0.0 * one, STEP_S)
    found = estimator.estimate
    assert abs(found.soc[1] - true.soc) < 3.0 * found.soc_std[1]
    assert found.soc_std[1] > found.soc_std[0]
    assert np.isfinite(estimator.snapshot()["covariance"]).all()  # it can be kept


def test_nothing_is_claimed_before_the_first_voltage(cell: Cell) -> None:
    estimator = AdaptiveFilter(cell, 2)
    assert np.isnan(estimator.estimate.soc).all()
    estimator.update(np.array([3.9, np.nan]), np.full(2, 25.0), np.zeros(2), 0.0)
    found = estimator.estimate
    assert np.isfinite(found.soc[0])
    assert np.isnan(found.soc[1])
    assert np.isnan(found.soc_std[1])


def test_goes_on_after_a_restart(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.9)
    before = AdaptiveFilter(cell, 2)
    before.start(np.full(2, 0.9), np.full(2, 0.02), rested=True)
    run(before, true, drive(1500), bias_a=0.1)
    kept = before.snapshot()
    rested = AdaptiveFilter(cell, 2)
    rested.restore(kept, away_s=7200.0)
    assert rested.estimate.soc == pytest.approx(before.estimate.soc)
    assert rested.estimate.current_bias_a == pytest.approx(before.estimate.current_bias_a)
    unknown = AdaptiveFilter(cell, 2)
    unknown.restore(kept, away_s=np.nan)
    assert (unknown.estimate.soc_std > 0.25).all()
    # Driven by somebody else meanwhile: only the unknown time lets the voltage say so.
    true.soc -= 0.3
    run(unknown, true, np.zeros(200))
    assert unknown.estimate.soc == pytest.approx(np.full(2, true.soc), abs=0.05)


@pytest.mark.parametrize("name", ["states", "covariance", "known"])
def test_a_snapshot_that_does_not_fit_is_refused(cell: Cell, name: str) -> None:
    kept = dict(AdaptiveFilter(cell, 2).snapshot())
    estimator = AdaptiveFilter(cell, 2)
    for wrong in (None, np.zeros(3), np.full_like(kept[name], np.nan)):
        broken = {key: value for key, value in kept.items() if key != name}
        if wrong is not None:
            broken[name] = wrong
        with pytest.raises(ValueError, match=name):
            estimator.restore(broken, 0.0)
    assert np.isnan(estimator.estimate.soc).all()


def test_adopts_a_new_model_and_keeps_what_it_knows(cell: Cell, random_cell: RandomCell) -> None:
    true = TrueCell(build_circuit(cell), 0.9)
    estimator = AdaptiveFilter(cell, 1)
    estimator.start(np.array([0.9]), np.array([0.02]), rested=True)
    run(estimator, true, drive(600))
    before = estimator.estimate
    assert cell.model is not None
    twice = [[2.0 * ohm for ohm in row] for row in cell.model.ohmic_resistance_ohm]
    model = replace(cell.model, ohmic_resistance_ohm=twice, version=2)
    estimator.adopt(replace(cell, model=model))
    assert estimator.estimate.soc == pytest.approx(before.soc)
    one = np.ones(1)
    estimator.update(true.step(-4.0) * one, TEMPERATURE_C * one, -4.0 * one, STEP_S)
    assert estimator.estimate.innovation_v[0] > 0.02  # more drop was expected


def test_another_rated_capacity_changes_nothing_that_is_known(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.9)
    estimator = AdaptiveFilter(cell, 1)
    estimator.start(np.array([0.9]), np.array([0.02]), rested=True)
    run(estimator, true, drive(600))
    before, held_ah = estimator.estimate, estimator.circuit_state().capacity_ah
    estimator.adopt(replace(cell, capacity_ah=0.9 * cell.capacity_ah))
    after = estimator.estimate
    assert estimator.circuit_state().capacity_ah == pytest.approx(held_ah)
    assert after.capacity_factor == pytest.approx(before.capacity_factor / 0.9)
    assert after.capacity_factor_std == pytest.approx(before.capacity_factor_std / 0.9)
    assert after.soc == pytest.approx(before.soc)


def test_many_cells_begin_like_one(cell: Cell) -> None:
    socs = np.linspace(0.05, 0.95, 2500)
    circuit = build_circuit(cell)
    grid = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])
    voltage_v = np.interp(socs, grid, circuit.ocv_v[2])
    nothing = np.full(len(socs), np.nan)
    many = AdaptiveFilter(cell, len(socs))
    many.start(nothing, nothing, rested=True)
    many.update(voltage_v, np.full(len(socs), 5.0), np.zeros(len(socs)), 0.0)
    for index in (0, 999, 1000, 2499):
        one = AdaptiveFilter(cell, 1)
        one.start(nothing[:1], nothing[:1], rested=True)
        one.update(voltage_v[index : index + 1], np.full(1, 5.0), np.zeros(1), 0.0)
        assert many.estimate.soc[index] == pytest.approx(one.estimate.soc[0], abs=1e-12)


def test_tells_where_its_circuit_stands(cell: Cell) -> None:
    true = TrueCell(build_circuit(cell), 0.8)
    estimator = AdaptiveFilter(cell, 2)
    estimator.start(np.array([0.8, np.nan]), np.full(2, 0.02), rested=True)
    assert np.isnan(estimator.circuit_state().soc[1])
    run(estimator, true, np.full(60, -4.0))
    found = estimator.circuit_state()
    assert found.soc == pytest.approx(estimator.estimate.soc)
    assert found.fast_v[0] == pytest.approx(true.fast_v, rel=0.15)
    assert found.temperature_c == pytest.approx(np.full(2, TEMPERATURE_C), abs=4.0)
    assert found.capacity_ah == pytest.approx(np.full(2, cell.capacity_ah), rel=0.05)
    assert ((found.resistance_std > 0.0) & (found.resistance_std < 0.5)).all()


def test_compiled_and_plain_agree(cell: Cell) -> None:
    found = []
    for compiled in (True, False):
        true = TrueCell(build_circuit(cell), 0.9)
        estimator = AdaptiveFilter(cell, 3, compiled=compiled)
        estimator.start(np.array([0.9, 0.7, np.nan]), np.full(3, 0.2), rested=False)
        run(estimator, true, drive(200), bias_a=0.05)
        found.append(estimator.estimate)
    assert found[0].soc == pytest.approx(found[1].soc, abs=1e-9)
    assert found[0].soc_std == pytest.approx(found[1].soc_std, rel=1e-6)
