# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import numpy.typing as npt
import pytest
from filterpy.kalman import ExtendedKalmanFilter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibms_battery.cell import Cell
from ibms_edge.estimation.cell_filter import CellFilter, FilterTuning

NAN = math.nan
PARALLEL = 3
TUNING = FilterTuning()


class Oracle:
    """The same model for one cell with filterpy, written from its equations."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.filter = ExtendedKalmanFilter(dim_x=2, dim_z=1)
        self.begun = False

    def _ocv(self, soc: float) -> float:
        return float(np.interp(soc, self.cell.soc_points, self.cell.ocv_points_v))

    def _slope(self, soc: float) -> float:
        slopes = np.gradient(self.cell.ocv_points_v, self.cell.soc_points)
        return float(np.interp(soc, self.cell.soc_points, slopes))

    def step(self, voltage_v: float, temperature_c: float, pack_a: float, step_s: float) -> None:
        current_a = pack_a / PARALLEL
        warmth = min(max(1 + TUNING.temperature_coefficient * (25 - temperature_c), 0.6), 3.0)
        ohmic = self.cell.resistance_ohm * warmth * TUNING.ohmic_share
        rc = self.cell.resistance_ohm * warmth - ohmic
        ekf = self.filter
        if not self.begun:
            self.begun = True
            at_rest = abs(current_a) <= TUNING.rest_current_a
            std = TUNING.initial_soc_std_at_rest if at_rest else TUNING.initial_soc_std_under_load
            start = np.interp(
                voltage_v - ohmic * current_a, self.cell.ocv_points_v, self.cell.soc_points
            )
            ekf.x = np.array([[start], [0.0]])
            ekf.P = np.diag([std**2, 0.0 if at_rest else 0.02**2])
        decay = math.exp(-step_s / TUNING.time_constant_s)
        gain = step_s / (3600 * self.cell.capacity_ah)
        ekf.F = np.diag([1.0, decay])
        ekf.B = np.array([[gain], [(1 - decay) * rc]])
        ekf.Q = np.diag(
            [
                (gain * TUNING.current_std_a) ** 2 + 1e-12 * step_s,
                TUNING.polarisation_std_v**2 * step_s,
            ]
        )
        ekf.R = np.array([[TUNING.voltage_std_v**2]])
        ekf.predict(u=np.array([[current_a]]))
        ekf.update(
            np.array([[voltage_v]]),
            HJacobian=lambda x: np.array([[self._slope(x[0, 0]), 1.0]]),
            Hx=lambda x: np.array([[self._ocv(x[0, 0]) + x[1, 0] + ohmic * current_a]]),
        )
        ekf.x[0, 0] = min(max(ekf.x[0, 0], 0.0), 1.0)


def drive(
    cell: Cell, soc: float, seconds: int, temperature_c: float = 25.0
) -> list[tuple[float, float, float]]:
    """Voltage, pack current and true charge of a cell of the filter's own structure, per second."""
    rng = np.random.default_rng(3)
    resistance = cell.resistance_ohm * (1 + 0.02 * (25 - temperature_c))
    polarisation, samples = 0.0, []
    for second in range(seconds):
        current_a = 4.0 * math.sin(second / 37) - 2.0 + (3.0 if second % 90 < 20 else 0.0)
        if second < 5:
            current_a = 0.0
        soc += current_a / (3600 * cell.capacity_ah)
        decay = math.exp(-1 / 40)
        polarisation = decay * polarisation + (1 - decay) * 0.4 * resistance * current_a
        ocv = float(np.interp(soc, cell.soc_points, cell.ocv_points_v))
        voltage_v = ocv + polarisation + 0.6 * resistance * current_a + rng.normal(0, 0.002)
        samples.append((voltage_v, current_a * PARALLEL, soc))
    return samples


@pytest.mark.parametrize("temperature_c", [25.0, 0.0, 45.0])
def test_it_agrees_with_an_independent_filter(cell: Cell, temperature_c: float) -> None:
    oracle, ours = Oracle(cell), CellFilter(cell, 1, PARALLEL)
    for voltage_v, pack_a, _ in drive(cell, 0.7, 600, temperature_c):
        oracle.step(voltage_v, temperature_c, pack_a, 1.0)
        ours.update(np.array([voltage_v]), np.array([temperature_c]), pack_a, 1.0)
        assert ours.soc[0] == pytest.approx(oracle.filter.x[0, 0], abs=1e-9)
        assert ours.polarisation_v[0] == pytest.approx(oracle.filter.x[1, 0], abs=1e-9)
        assert ours.soc_std[0] == pytest.approx(math.sqrt(oracle.filter.P[0, 0]), rel=1e-3)


def test_all_cells_together_give_what_each_gives_alone(cell: Cell) -> None:
    rng = np.random.default_rng(1)
    together = CellFilter(cell, 4, PARALLEL)
    alone = [CellFilter(cell, 1, PARALLEL) for _ in range(4)]
    for _ in range(50):
        voltage_v = rng.uniform(3.3, 4.0, 4)
        voltage_v[rng.integers(4)] = NAN
        temperature_c = rng.uniform(-10, 50, 4)
        current_a = rng.uniform(-20, 20)
        together.update(voltage_v, temperature_c, current_a, 1.0)
        for index, single in enumerate(alone):
            where = slice(index, index + 1)
            single.update(voltage_v[where], temperature_c[where], current_a, 1.0)
    np.testing.assert_array_equal(together.soc, [single.soc[0] for single in alone])
    np.testing.assert_array_equal(together.soc_std, [single.soc_std[0] for single in alone])


def test_a_wrong_start_converges(cell: Cell) -> None:
    samples = drive(cell, 0.6, 3600)
    ours = CellFilter(cell, 1, PARALLEL)
    # The first sample misleads: heavily loaded, so that charge looks far too low.
    ours.update(np.array([3.3]), np.array([25.0]), -6.0, 1.0)
    assert abs(ours.soc[0] - 0.6) > 0.1
    for voltage_v, pack_a, _ in samples:
        ours.update(np.array([voltage_v]), np.array([25.0]), pack_a, 1.0)
    assert ours.soc[0] == pytest.approx(samples[-1][2], abs=0.02)


def test_an_unmeasured_cell_is_predicted_and_becomes_less_certain(cell: Cell) -> None:
    ours = CellFilter(cell, 2, PARALLEL)
    ours.update(np.array([3.7, 3.7]), np.full(2, 25.0), 0.0, 1.0)
    soc, std = ours.soc.copy(), ours.soc_std.copy()
    for _ in range(600):
        ours.update(np.array([3.7, NAN]), np.full(2, 25.0), -15.0, 1.0)
    counted = soc[1] - 600 * 5.0 / 3600 / cell.capacity_ah
    assert ours.soc[1] == pytest.approx(counted, abs=1e-9)
    assert ours.soc_std[1] > std[1]
    assert not np.isnan(ours.soc[0])


def test_a_cell_that_was_never_measured_has_no_estimate(cell: Cell) -> None:
    ours = CellFilter(cell, 2, PARALLEL)
    for _ in range(3):
        ours.update(np.array([3.7, NAN]), np.full(2, NAN), -5.0, 1.0)
    assert np.isnan([ours.soc[1], ours.soc_std[1], ours.polarisation_v[1]]).all()
    ours.update(np.array([3.7, 3.7]), np.full(2, NAN), -5.0, 1.0)
    assert not np.isnan([ours.soc[1], ours.soc_std[1]]).any()


def test_an_unknown_current_keeps_the_charge_and_raises_the_uncertainty(cell: Cell) -> None:
    ours = CellFilter(cell, 1, PARALLEL)
    ours.update(np.array([3.7]), np.array([25.0]), 0.0, 1.0)
    soc, std = ours.soc[0], ours.soc_std[0]
    ours.update(np.array([3.2]), np.array([25.0]), NAN, 60.0)
    assert ours.soc[0] == soc  # the voltage may be sagging under a load that nobody measured
    assert ours.soc_std[0] > std
    ours.update(np.array([3.2]), np.array([25.0]), NAN, 3600.0)
    assert ours.soc_std[0] > 0.9


def test_a_start_under_unknown_current_is_as_uncertain_as_under_load(cell: Cell) -> None:
    ours = CellFilter(cell, 1, PARALLEL)
    ours.update(np.array([3.7]), np.array([25.0]), NAN, 0.0)
    assert ours.soc_std[0] == pytest.approx(TUNING.initial_soc_std_under_load, rel=1e-6)


def test_cold_cells_have_more_resistance(cell: Cell) -> None:
    ours = CellFilter(cell, 3, PARALLEL)
    ours.update(np.full(3, 3.7), np.array([0.0, 25.0, NAN]), 0.0, 1.0)
    rated = cell.resistance_ohm / PARALLEL
    assert ours.resistance_ohm == pytest.approx([1.5 * rated, rated, rated])


FINITE = st.floats(2.0, 4.5) | st.just(NAN)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(
            FINITE,
            st.floats(-40, 80) | st.just(NAN),
            st.floats(-200, 200) | st.just(NAN),
            st.sampled_from([0.0, 0.02, 1.0, 100.0]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_the_covariance_stays_positive_and_charge_within_0_and_1(
    cell: Cell, steps: list[tuple[float, float, float, float]]
) -> None:
    ours = CellFilter(cell, 1, PARALLEL)
    for voltage_v, temperature_c, current_a, step_s in steps:
        ours.update(np.array([voltage_v]), np.array([temperature_c]), current_a, step_s)
        if np.isnan(ours.soc[0]):
            continue
        matrix: npt.NDArray[np.float64] = np.array(
            [[ours._p00[0], ours._p01[0]], [ours._p01[0], ours._p11[0]]]
        )
        assert np.linalg.eigvalsh(matrix).min() > -1e-12
        assert 0.0 <= ours.soc[0] <= 1.0
