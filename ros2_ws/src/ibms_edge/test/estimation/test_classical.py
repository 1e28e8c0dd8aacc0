# SPDX-License-Identifier: Apache-2.0
"""Classical filters equal filterpy's; counting counts; whatever is missing only widens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from filterpy.kalman import ExtendedKalmanFilter as FilterpyExtended
from filterpy.kalman import MerweScaledSigmaPoints
from filterpy.kalman import UnscentedKalmanFilter as FilterpyUnscented

from ibms_battery.cell import Cell
from ibms_battery.circuit import Circuit, build_circuit
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.classical_filter import FAST, SLOW, SOC, STATES, Tuning
from ibms_edge.estimation.coulomb_counting import CoulombCounter
from ibms_edge.estimation.estimator import Estimator
from ibms_edge.estimation.extended_kalman import ExtendedKalmanFilter
from ibms_edge.estimation.unscented import ALPHA, BETA, KAPPA, UnscentedKalmanFilter

FloatArray = npt.NDArray[np.float64]
RandomCell = Callable[[int], Cell]
TablesOf = Callable[[Circuit], Any]

STEPS = 300
FILTERS = [ExtendedKalmanFilter, UnscentedKalmanFilter]
ALL = [CoulombCounter, *FILTERS, AdaptiveFilter]


class FilterpyCell:
    """One cell with filterpy's matrices and points, from the equations of the circuit."""

    def __init__(self, kind: type, circuit: Circuit, tables: Any, soc: float, std: float) -> None:
        self.circuit, self.tables, self.tuning = circuit, tables, Tuning()
        self.hysteresis = 0.0
        if kind is ExtendedKalmanFilter:
            self.filter = FilterpyExtended(dim_x=STATES, dim_z=1)
        else:
            points = MerweScaledSigmaPoints(STATES, ALPHA, BETA, KAPPA)
            self.filter = FilterpyUnscented(STATES, 1, 1.0, self.shown_v, self.moved, points)
        self.filter.x = np.array([soc, 0.0, 0.0])
        self.filter.P = np.diag([std**2, 1e-6, 1e-6])

    def moved(self, x: FloatArray, dt: float) -> FloatArray:
        circuit = self.circuit
        after = np.empty(STATES)
        after[SOC] = x[SOC] + dt * self.current_a / 3600.0 / circuit.capacity_ah
        for state, name, time_s in (
            (FAST, "fast_ohm", circuit.fast_s),
            (SLOW, "slow_ohm", circuit.slow_s),
        ):
            decay = np.exp(-dt / time_s)
            driven = self.tables.at(name, self.temperature_c, x[SOC]) * self.current_a
            after[state] = decay * x[state] + (1.0 - decay) * driven
        return after

    def shown_v(self, x: FloatArray) -> FloatArray:
        at = {
            name: self.tables.at(name, self.temperature_c, x[SOC])
            for name in ("ocv_v", "ohmic_ohm", "activation_ohm")
        }
        i0 = self.circuit.activation_current_a
        ocv_v = at["ocv_v"] + self.tables.hysteresis_v(x[SOC]) * self.hysteresis
        drop_v = at["ohmic_ohm"] * self.current_a
        drop_v += at["activation_ohm"] * i0 * np.arcsinh(self.current_a / i0)
        return np.array([ocv_v + drop_v + x[FAST] + x[SLOW]])

    def slope(self, x: FloatArray) -> FloatArray:
        return np.array([[self.tables.at("slope_v", self.temperature_c, x[SOC]), 1.0, 1.0]])

    def step(self, voltage_v: float, temperature_c: float, current_a: float, step_s: float) -> None:
        kalman, tuning = self.filter, self.tuning
        self.current_a, self.temperature_c = current_a, temperature_c
        turn = np.exp(
            -abs(current_a)
            * (step_s / 3600.0 / self.circuit.capacity_ah)
            * self.circuit.hysteresis_rate
        )
        self.hysteresis = turn * self.hysteresis + (1.0 - turn) * np.sign(current_a)
        growth = np.exp(2.0 * tuning.cold_growth_per_k * max(25.0 - temperature_c, 0.0))
        kalman.Q = step_s * np.diag(
            [tuning.soc**2, tuning.polarisation_v**2 * growth, tuning.polarisation_v**2 * growth]
        )
        variance = np.array([[tuning.voltage_v**2 * growth]])
        if isinstance(kalman, FilterpyExtended):
            decay = [1.0, np.exp(-step_s / self.circuit.fast_s)]
            kalman.F = np.diag([*decay, np.exp(-step_s / self.circuit.slow_s)])
            after = self.moved(kalman.x, step_s)
            kalman.predict_x = lambda u=0: setattr(kalman, "x", after)
            kalman.predict()
            if not np.isnan(voltage_v):
                kalman.update(np.array([voltage_v]), self.slope, self.shown_v, R=variance)
        else:
            kalman.predict(dt=step_s)
            if not np.isnan(voltage_v):
                kalman.update(np.array([voltage_v]), R=variance)
        kalman.x[SOC] = np.clip(kalman.x[SOC], 0.0, 1.05)


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("seed", [5, 6])
def test_equals_filterpy(
    kind: type[ExtendedKalmanFilter] | type[UnscentedKalmanFilter],
    seed: int,
    random_cell: RandomCell,
    tables_of: TablesOf,
) -> None:
    cell = random_cell(seed)
    circuit = build_circuit(cell)
    tables = tables_of(circuit)
    random = np.random.default_rng(seed)
    socs = np.array([0.1, 0.5, 0.95])
    batch = kind(cell, len(socs))
    batch.start(socs, np.full(3, 0.05), rested=True)
    references = [FilterpyCell(kind, circuit, tables, soc, 0.05) for soc in socs]
    temperature_c = np.array([-15.0, 10.0, 40.0])
    for k in range(STEPS):
        temperature_c = np.clip(temperature_c + random.normal(0.0, 0.5, 3), -30.0, 60.0)
        current_a = random.choice([-5.0, -1.0, 0.0, 2.0], 3) * random.uniform(0.5, 1.5, 3)
        voltage_v = 3.9 + 0.04 * current_a + random.normal(0.0, 0.05, 3)
        if k:  # the start is checked elsewhere
            voltage_v[random.random(3) < 0.1] = np.nan
        step_s = float(random.choice([0.0, 0.01, 0.1, 1.0, 10.0, 60.0]))
        batch.update(voltage_v, temperature_c, current_a, step_s)
        estimate = batch.estimate
        for at, one in enumerate(references):
            one.step(float(voltage_v[at]), float(temperature_c[at]), float(current_a[at]), step_s)
            std = np.sqrt(one.filter.P[SOC, SOC])
            assert estimate.soc_std[at] == pytest.approx(std, rel=1e-8), k
            soc = np.clip(one.filter.x[SOC], 0.0, 1.0)
            assert estimate.soc[at] == pytest.approx(soc, abs=1e-8 * std), k
            if np.isnan(voltage_v[at]):
                assert np.isnan(estimate.innovation_v[at])
            else:
                innovation = one.filter.y.item()
                ratio = innovation**2 / one.filter.S.item()
                assert estimate.innovation_v[at] == pytest.approx(innovation, abs=1e-10)
                assert estimate.innovation_ratio[at] == pytest.approx(ratio, rel=1e-7, abs=1e-12)


def test_counting_counts(random_cell: RandomCell) -> None:
    cell = random_cell(1)
    counter = CoulombCounter(cell, 2)
    counter.start(np.array([0.5, 0.9]), np.array([0.01, 0.02]), rested=True)
    for _ in range(3600):
        counter.update(np.full(2, np.nan), np.full(2, 25.0), np.array([1.0, -0.5]), 1.0)
    counted = np.array([1.0, -0.5]) / cell.capacity_ah
    np.testing.assert_allclose(counter.estimate.soc, np.array([0.5, 0.9]) + counted, rtol=1e-9)
    assert cell.model is not None
    told = cell.model.uncertainty
    expected = np.sqrt(
        np.array([0.01, 0.02]) ** 2
        + (told.bias_a / cell.capacity_ah) ** 2
        + (told.capacity * counted) ** 2
    )
    np.testing.assert_allclose(counter.estimate.soc_std, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ALL)
def test_an_unknown_charge_is_read_from_the_first_voltage(
    kind: Callable[[Cell, int], Estimator], random_cell: RandomCell, tables_of: TablesOf
) -> None:
    cell = random_cell(2)
    circuit = build_circuit(cell)
    tables = tables_of(circuit)
    socs = np.linspace(0.05, 0.95, 7)
    estimator = kind(cell, len(socs))
    estimator.start(np.full(7, np.nan), np.full(7, np.nan), rested=True)
    assert np.isnan(estimator.estimate.soc).all()
    voltage_v = np.array([tables.at("ocv_v", 20.0, soc) for soc in socs])
    temperature_c = np.full(7, 20.0)
    nothing = np.full(7, np.nan)
    estimator.update(nothing, temperature_c, np.zeros(7), 0.0)
    assert np.isnan(estimator.estimate.soc).all()
    estimator.update(voltage_v, temperature_c, np.zeros(7), 1.0)
    estimate = estimator.estimate
    assert (np.abs(estimate.soc - socs) < 2.0 * estimate.soc_std).all()
    assert (estimate.soc_std < 0.15).all()  # knowing nothing is 0.29
    # The same is read under load, with the drop in it, but with less certainty.
    loaded = kind(cell, len(socs))
    current_a = np.full(7, -1.5)
    curved_a = circuit.activation_current_a * np.arcsinh(
        current_a[0] / circuit.activation_current_a
    )
    dropped_v = [
        tables.at("ohmic_ohm", 20.0, soc) * current_a[0]
        + tables.at("activation_ohm", 20.0, soc) * curved_a
        - tables.hysteresis_v(soc)
        for soc in socs
    ]
    loaded.update(voltage_v + dropped_v, temperature_c, current_a, 0.0)
    assert (np.abs(loaded.estimate.soc - socs) < 2.0 * loaded.estimate.soc_std).all()
    assert (loaded.estimate.soc_std > estimate.soc_std).all()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("missing", ["voltage", "temperature", "current", "all"])
def test_what_is_missing_only_widens(
    kind: Callable[[Cell, int], Estimator],
    missing: str,
    random_cell: RandomCell,
    tables_of: TablesOf,
) -> None:
    cell = random_cell(3)
    estimator = kind(cell, 2)
    estimator.start(np.full(2, 0.6), np.full(2, 0.02), rested=True)
    tables = tables_of(build_circuit(cell))
    sample = {
        "voltage": np.full(2, tables.at("ocv_v", 25.0, 0.6) - tables.at("ohmic_ohm", 25.0, 0.6)),
        "temperature": np.full(2, 25.0),
        "current": np.full(2, -1.0),
    }

    def update(step_s: float) -> None:
        estimator.update(sample["voltage"], sample["temperature"], sample["current"], step_s)

    for k in range(20):
        update(1.0 if k else 0.0)
    before = estimator.estimate
    for name in sample:
        if missing in (name, "all"):
            sample[name] = np.array([np.nan, sample[name][1]])  # of the first cell only
    for _ in range(600):
        update(1.0)
    after = estimator.estimate
    assert np.isfinite(after.soc).all()
    assert np.isfinite(after.soc_std).all()
    if missing != "temperature":  # the last one holds
        assert after.soc_std[0] > before.soc_std[0]
        assert after.soc_std[0] > after.soc_std[1] or kind is CoulombCounter
    if missing in ("current", "all"):
        assert after.soc[0] == pytest.approx(before.soc[0], abs=1e-3)
        assert after.soc_std[0] > 0.99 * np.hypot(before.soc_std[0], 600.0 / 3600.0)


@pytest.mark.parametrize("kind", ALL)
def test_a_sample_given_twice_is_no_news_of_the_charge(
    kind: Callable[[Cell, int], Estimator], random_cell: RandomCell
) -> None:
    estimator = kind(random_cell(4), 1)
    one = np.ones(1)
    estimator.start(0.6 * one, 0.02 * one, rested=True)
    estimator.update(3.9 * one, 25.0 * one, -1.0 * one, 0.0)
    before = estimator.estimate
    for _ in range(100):
        estimator.update(np.nan * one, 25.0 * one, -1.0 * one, 0.0)
    assert estimator.estimate.soc == pytest.approx(before.soc, abs=1e-12)
    assert estimator.estimate.soc_std == pytest.approx(before.soc_std, rel=1e-9)
    for _ in range(100):
        estimator.update(3.9 * one, 25.0 * one, -1.0 * one, 0.0)
    assert np.isfinite(estimator.estimate.soc).all()
    assert 0.0 < estimator.estimate.soc_std[0] <= before.soc_std[0]


@pytest.mark.parametrize("kind", FILTERS)
def test_covariance_stays_positive(
    kind: type[ExtendedKalmanFilter] | type[UnscentedKalmanFilter], random_cell: RandomCell
) -> None:
    random = np.random.default_rng(8)
    batch = kind(random_cell(8), 6)
    batch.start(np.linspace(0.0, 1.0, 6), np.array([0.0, 1e-4, 0.01, 0.1, 0.3, np.nan]), False)
    for k in range(2_000):
        current_a = random.choice([-5.0, 0.0, 2.0], 6)
        voltage_v = 3.9 + 0.04 * current_a + random.normal(0.0, 0.05, 6)
        batch.update(voltage_v, np.full(6, -20.0 + 0.03 * k), current_a, float(k % 3))
        scale = np.sqrt(np.diagonal(batch._p, axis1=1, axis2=2))
        correlation = batch._p / scale[:, :, np.newaxis] / scale[:, np.newaxis, :]
        assert np.linalg.eigvalsh(correlation).min() > -1e-9


@pytest.mark.parametrize("kind", [CoulombCounter, *FILTERS])
def test_goes_on_after_a_restart(
    kind: Callable[[Cell, int], Estimator], random_cell: RandomCell
) -> None:
    cell = random_cell(5)
    before = kind(cell, 2)
    before.start(np.array([0.6, np.nan]), np.array([0.02, np.nan]), rested=True)
    for k in range(20):
        before.update(np.array([3.9, np.nan]), np.full(2, 25.0), np.full(2, -1.0), float(k > 0))
    kept = before.snapshot()
    for away_s, longest in ((3600.0, 1e-3), (np.nan, 0.31)):
        after = kind(cell, 2)
        after.restore(kept, away_s)
        assert after.estimate.soc[0] == before.estimate.soc[0]
        assert np.isnan(after.estimate.soc[1])
        std, had = after.estimate.soc_std[0], before.estimate.soc_std[0]
        assert had < std < had + longest
        if np.isnan(away_s):
            assert std > 0.29
        after.update(np.full(2, 3.9), np.full(2, 25.0), np.zeros(2), 0.0)
        assert np.isfinite(after.estimate.soc).all()


@pytest.mark.parametrize("kind", [CoulombCounter, *FILTERS])
def test_a_snapshot_that_does_not_fit_is_refused(
    kind: Callable[[Cell, int], Estimator], random_cell: RandomCell
) -> None:
    cell = random_cell(5)
    estimator = kind(cell, 2)
    estimator.start(np.array([0.6, 0.7]), np.full(2, 0.02), rested=True)
    good = estimator.snapshot()
    for wrong, told in (
        ({}, "found nothing"),
        ({**good, "soc": np.zeros(3)}, r"found shape \(3,\)"),
        ({**good, "soc_std": np.array([0.1, np.nan])}, "found values that are not"),
    ):
        with pytest.raises(ValueError, match=told):
            estimator.restore(wrong, 10.0)
        np.testing.assert_array_equal(estimator.estimate.soc, [0.6, 0.7])
