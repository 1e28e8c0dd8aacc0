# SPDX-License-Identifier: Apache-2.0
"""Unscented Kalman filter of every cell with charge and two polarisations, batched. No ROS.

Scaled sigma points as in R. van der Merwe, Sigma-Point Kalman Filters (2004), drawn anew after the
prediction: for one cell it equals filterpy's UnscentedKalmanFilter to rounding.
"""

import numpy as np
import numpy.typing as npt

from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.classical_filter import FAST, SLOW, SOC, STATES, ClassicalFilter

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# No weight is negative, so that the covariance stays positive however curved the table is.
ALPHA, BETA, KAPPA = 1.0, 2.0, 0.0
_LEAST_VARIANCE = 1e-30
_LAMBDA = ALPHA**2 * (STATES + KAPPA) - STATES
_MEAN_WEIGHTS: FloatArray = np.full(2 * STATES + 1, 0.5 / (STATES + _LAMBDA))
_MEAN_WEIGHTS[0] = _LAMBDA / (STATES + _LAMBDA)
_COVARIANCE_WEIGHTS: FloatArray = _MEAN_WEIGHTS.copy()
_COVARIANCE_WEIGHTS[0] += 1.0 - ALPHA**2 + BETA


def cholesky(matrix: FloatArray) -> FloatArray:
    """Lower factors (3, 3, cells) of covariances; a variance lost to rounding counts as none."""
    lower = np.zeros_like(matrix)
    for row in range(STATES):
        for column in range(row + 1):
            rest = matrix[row, column] - (lower[row, :column] * lower[column, :column]).sum(axis=0)
            if row == column:
                lower[row, row] = np.sqrt(np.maximum(rest, _LEAST_VARIANCE))
            else:
                lower[row, column] = rest / lower[column, column]
    return lower


def sigma_points(mean: FloatArray, covariance: FloatArray) -> FloatArray:
    """Points (7, 3, cells) around ``mean`` (3, cells) with ``covariance`` (cells, 3, 3)."""
    factor = cholesky((STATES + _LAMBDA) * covariance.transpose(1, 2, 0))
    spread = factor.transpose(1, 0, 2)  # each column is a direction
    return np.concatenate([mean[np.newaxis], mean + spread, mean - spread])


class UnscentedKalmanFilter(ClassicalFilter):
    """Mean and covariance are carried through the model by seven points, without a tangent."""

    def _predict(
        self,
        place: CircuitPlace,
        current_a: FloatArray,
        charge_gain: float,
        step_s: float,
        noise: FloatArray,
    ) -> None:
        circuit, points = self._circuit, sigma_points(self._x, self._p)
        decay = self.decays(step_s)
        soc = points[:, SOC].copy()
        points *= decay[:, np.newaxis]
        points[:, SOC] += charge_gain * current_a
        for state, table in ((FAST, circuit.fast_ohm), (SLOW, circuit.slow_ohm)):
            points[:, state] += (1.0 - decay[state]) * place.table(table, soc) * current_a
        self._x[:] = np.einsum("p,psc->sc", _MEAN_WEIGHTS, points)
        away = points - self._x
        self._p[:] = np.einsum("p,psc,ptc->cst", _COVARIANCE_WEIGHTS, away, away)
        self._p[:, range(STATES), range(STATES)] += noise

    def _correct(
        self,
        place: CircuitPlace,
        voltage_v: FloatArray,
        usable: BoolArray,
        current_a: FloatArray,
        variance: FloatArray,
    ) -> None:
        circuit, points = self._circuit, sigma_points(self._x, self._p)
        soc = points[:, SOC]
        shown_v = (
            place.table(circuit.ocv_v, soc)
            + place.curve(circuit.hysteresis_v, soc) * self._hysteresis
            + place.drop_v(soc, current_a)
            + points[:, FAST]
            + points[:, SLOW]
        )
        expected_v = np.einsum("p,pc->c", _MEAN_WEIGHTS, shown_v)
        away_v, away = shown_v - expected_v, points - self._x
        total = np.einsum("p,pc,pc->c", _COVARIANCE_WEIGHTS, away_v, away_v) + variance
        cross = np.einsum("p,psc,pc->sc", _COVARIANCE_WEIGHTS, away, away_v)
        innovation_v = voltage_v - expected_v
        gain = cross * (usable / total)
        self._x += gain * innovation_v
        self._p -= np.einsum("sc,tc->cst", gain, cross)
        self._innovation_v = np.where(usable, innovation_v, np.nan)
        self._ratio = np.where(usable, innovation_v**2 / total, np.nan)
