# SPDX-License-Identifier: Apache-2.0
"""The default estimator's filter of one cell on filterpy: what the batch is compared with.

Same states, model and noise as ``ibms_edge.estimation.cell_step`` (the equations stand there),
written as one would for one cell: filterpy's matrices, plain numbers for the tables.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from filterpy.kalman import ExtendedKalmanFilter

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit, model_of
from ibms_edge.estimation.adaptive import noise_of
from ibms_edge.estimation.cell_step import (
    BIAS,
    CAPACITY,
    FAST,
    HYSTERESIS,
    OFFSET,
    RESISTANCE,
    SLOW,
    SOC,
    STATES,
    TEMPERATURE,
    WIDTH,
    pair,
)

FloatArray = npt.NDArray[np.float64]
Table = list[list[float]]

_BELOW_LAST = 1e-6
_LIMITS = {SOC: (0.0, 1.05), RESISTANCE: (0.2, 5.0), TEMPERATURE: (-15.0, 15.0)}
_LIMITS[CAPACITY] = (0.3, 1.3)


class FilterpyCell:
    """One cell, going on from a snapshot of the default estimator.

    Args:
        cell: description of the cell type.
        snapshot: of an ``AdaptiveFilter`` that has met its cells.
        index: of the cell in it.
    """

    def __init__(self, cell: Cell, snapshot: Mapping[str, FloatArray], index: int = 0) -> None:
        circuit = self._circuit = build_circuit(cell)
        self._noise = noise_of(model_of(cell).uncertainty)
        self._tables: dict[str, Table] = {
            name: getattr(circuit, name).tolist()
            for name in ("ocv_v", "slope_v", "ohmic_ohm", "activation_ohm", "fast_ohm", "slow_ohm")
        }
        self._hysteresis_v: list[float] = circuit.hysteresis_v.tolist()
        self.filter = ExtendedKalmanFilter(dim_x=WIDTH, dim_z=1)
        self.filter.x = np.append(snapshot["states"][:STATES, index], 0.0)
        places = [[pair(row, column) for column in range(WIDTH)] for row in range(WIDTH)]
        self.filter.P = snapshot["covariance"][np.array(places), index]
        self._offset_v2 = float(self.filter.P[OFFSET, OFFSET])
        self.filter.predict_x = self._predict_x
        self.hysteresis = float(snapshot["states"][HYSTERESIS, index])

    def update(
        self, voltage_v: float, temperature_c: float, current_a: float, std_a: float, step_s: float
    ) -> None:
        """One step.

        Args:
            voltage_v: measured [V].
            temperature_c: measured [degC].
            current_a: mean of the step [A], charge positive.
            std_a: uncertainty of it beyond the bias [A].
            step_s: time since the last step [s].
        """
        circuit, noise, kalman = self._circuit, self._noise, self.filter
        bias_a, capacity = float(kalman.x[BIAS]), float(kalman.x[CAPACITY])
        self._current_a = current_a
        place = (
            temperature_c + float(kalman.x[TEMPERATURE]) - circuit.first_temperature_c
        ) / circuit.temperature_step_k
        place = min(max(place, 0.0), len(circuit.ocv_v) - 1 - _BELOW_LAST)
        self._row, self._row_share = int(place), place - int(place)
        soc = float(kalman.x[SOC])
        i = current_a - bias_a
        charge = step_s / 3600.0 / circuit.capacity_ah
        turn = math.exp(-abs(current_a) * charge * circuit.hysteresis_rate)
        self.hysteresis = turn * self.hysteresis + (1.0 - turn) * float(np.sign(current_a))
        growth = math.exp(2.0 * noise.cold_growth_per_k * max(25.0 - temperature_c, 0.0))

        transition = np.eye(WIDTH)
        transition[SOC, BIAS] = -charge / capacity
        transition[SOC, CAPACITY] = -charge * i / capacity**2
        moved = kalman.x.copy()
        moved[SOC] += charge * i / capacity
        for state, name, time_s in (
            (FAST, "fast_ohm", circuit.fast_s),
            (SLOW, "slow_ohm", circuit.slow_s),
        ):
            decay = math.exp(-step_s / time_s)
            ohm, ohm_per_k = self._look_up(name, soc)
            transition[state, state] = decay
            transition[state, BIAS] = -(1.0 - decay) * ohm
            transition[state, TEMPERATURE] = (1.0 - decay) * ohm_per_k * i
            moved[state] = decay * moved[state] + (1.0 - decay) * ohm * i
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
        self._moved = moved
        kalman.predict()
        self._correct(voltage_v, growth)
        for state, (low, high) in _LIMITS.items():
            kalman.x[state] = min(max(kalman.x[state], low), high)

    def _predict_x(self, _u: float = 0.0) -> None:
        self.filter.x = self._moved

    def _correct(self, voltage_v: float, growth: float) -> None:
        circuit, noise, kalman = self._circuit, self._noise, self.filter
        x, i0 = kalman.x, circuit.activation_current_a
        soc, factor, i = float(x[SOC]), float(x[RESISTANCE]), self._current_a - float(x[BIAS])
        ocv_v, ocv_v_per_k = self._look_up("ocv_v", soc)
        ohmic, ohmic_per_k = self._look_up("ohmic_ohm", soc)
        activation, activation_per_k = self._look_up("activation_ohm", soc)
        curved_a = i0 * math.asinh(i / i0)
        drop_v = ohmic * i + activation * curved_a
        over_v = drop_v + float(x[FAST]) + float(x[SLOW])
        column, share = self._column(soc)
        low_v, high_v = self._hysteresis_v[column : column + 2]
        shown_v = ocv_v + (low_v + share * (high_v - low_v)) * self.hysteresis + factor * over_v
        slope = np.zeros((1, WIDTH))
        slope[0, OFFSET] = 1.0
        slope[0, SOC] = self._look_up("slope_v", soc)[0]
        slope[0, FAST] = slope[0, SLOW] = factor
        slope[0, BIAS] = -factor * (ohmic + activation / math.hypot(1.0, i / i0))
        slope[0, RESISTANCE] = over_v
        slope[0, TEMPERATURE] = ocv_v_per_k + factor * (
            ohmic_per_k * i + activation_per_k * curved_a
        )
        variance = noise.voltage_v**2 * growth + (noise.drop_share * drop_v) ** 2
        total = (slope @ kalman.P @ slope.T).item() + variance
        # An outlier counts as a voltage so much less certain that it stands at the gate.
        doubted = max((voltage_v - shown_v) ** 2 / noise.gate - total, 0.0)
        kalman.update(
            np.array([voltage_v]),
            lambda _x: slope,
            lambda _x: np.array([shown_v]),
            R=np.array([[variance + doubted]]),
        )
        # The offset is considered, not estimated.
        kalman.x[OFFSET], kalman.P[OFFSET, OFFSET] = 0.0, self._offset_v2

    def _column(self, soc: float) -> tuple[int, float]:
        last = len(self._hysteresis_v) - 1
        place = min(max(soc, 0.0) * last, last - _BELOW_LAST)
        return int(place), place - int(place)

    def _look_up(self, name: str, soc: float) -> tuple[float, float]:
        """Value, and its derivative by the temperature."""
        column, share = self._column(soc)
        below, above = self._tables[name][self._row : self._row + 2]
        low = below[column] + share * (below[column + 1] - below[column])
        high = above[column] + share * (above[column + 1] - above[column])
        rise_per_k = (high - low) / self._circuit.temperature_step_k
        return low + self._row_share * (high - low), rise_per_k
