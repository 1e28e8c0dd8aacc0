# SPDX-License-Identifier: Apache-2.0
"""Extended Kalman filter of every cell with charge and two polarisations, batched. No ROS."""

import numpy as np
import numpy.typing as npt

from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.classical_filter import FAST, SLOW, SOC, STATES, ClassicalFilter

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class ExtendedKalmanFilter(ClassicalFilter):
    """The measurement is linearised on one tangent, at the predicted charge."""

    def _predict(
        self,
        place: CircuitPlace,
        current_a: FloatArray,
        charge_gain: float,
        step_s: float,
        noise: FloatArray,
    ) -> None:
        circuit, soc = self._circuit, self._x[SOC]
        decay = self.decays(step_s)
        gain = np.array(
            [
                np.full(len(soc), charge_gain),
                (1.0 - decay[FAST]) * place.table(circuit.fast_ohm, soc),
                (1.0 - decay[SLOW]) * place.table(circuit.slow_ohm, soc),
            ]
        )
        self._x[:] = decay[:, np.newaxis] * self._x + gain * current_a
        self._p *= np.outer(decay, decay)  # the transition is diagonal
        self._p[:, range(STATES), range(STATES)] += noise

    def _correct(
        self,
        place: CircuitPlace,
        voltage_v: FloatArray,
        usable: BoolArray,
        current_a: FloatArray,
        variance: FloatArray,
    ) -> None:
        circuit, soc = self._circuit, self._x[SOC]
        expected_v = (
            place.table(circuit.ocv_v, soc)
            + place.curve(circuit.hysteresis_v, soc) * self._hysteresis
            + place.drop_v(soc, current_a)
            + self._x[FAST]
            + self._x[SLOW]
        )
        slope = np.ones((len(soc), STATES))
        slope[:, SOC] = place.table(circuit.slope_v, soc)
        cross = np.einsum("cst,ct->cs", self._p, slope)
        total = np.einsum("cs,cs->c", cross, slope) + variance
        innovation_v = voltage_v - expected_v
        gain = cross * (usable / total)[:, np.newaxis]
        self._x += gain.T * innovation_v
        self._p -= gain[:, :, np.newaxis] * cross[:, np.newaxis, :]
        self._innovation_v = np.where(usable, innovation_v, np.nan)
        self._ratio = np.where(usable, innovation_v**2 / total, np.nan)
