# SPDX-License-Identifier: Apache-2.0
"""The default estimator: charge and polarisation jointly with what changes slowly. No ROS.

Beside the state of charge and two polarisations it estimates the bias of the current sensor, a
factor of all resistances, a slowly varying error of the model, and the capacity; ``cell_step`` has
the equations.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.cell_model import Uncertainty
from ibms_battery.circuit import Circuit, build_circuit, model_of
from ibms_edge.estimation import cell_step
from ibms_edge.estimation.cell_step import (
    BIAS,
    CAPACITY,
    ERROR,
    FAST,
    HYSTERESIS,
    PAIRS,
    RESISTANCE,
    ROWS,
    SLOW,
    SOC,
    STATES,
    Noise,
    pair,
)
from ibms_edge.estimation.estimator import Estimate
from ibms_edge.estimation.first_voltage import Doubt, weigh

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_S_PER_H = 3600.0
_WARM_C = 25.0
_RESTED_V = 0.001  # polarisation left in a rested cell
_LOAD_BEFORE_H = (
    0.5  # rate at which a cell that is met under load may have been loaded before [1/h]
)
_CURRENT_NOISE = 0.002  # of the current, beyond bias: what its mean over a step may be off


def noise_of(uncertainty: Uncertainty) -> Noise:
    """As ``cell_step`` wants it."""
    root = float(np.sqrt(_S_PER_H))
    return Noise(
        voltage_v=uncertainty.voltage_v,
        drop_share=uncertainty.drop_share,
        model_v=uncertainty.model_v,
        model_rate_per_s=1.0 / uncertainty.model_time_s,
        polarisation_v=uncertainty.polarisation_v,
        cold_growth_per_k=uncertainty.cold_growth_per_k,
        bias_a=uncertainty.bias_drift_a / root,
        resistance=uncertainty.resistance_drift / root,
        capacity=uncertainty.capacity_drift / root,
        gate=uncertainty.gate,
    )


class AdaptiveFilter:
    """Joint extended Kalman filter of each of ``count`` cells.

    Args:
        cell: description of the cell type.
        count: cells.
        compiled: use numba where it is installed.
    """

    def __init__(self, cell: Cell, count: int, compiled: bool = True) -> None:
        self._circuit = build_circuit(cell)
        self._uncertainty = model_of(cell).uncertainty
        self._noise = noise_of(self._uncertainty)
        self._step = (compiled and cell_step.compiled_step_cells) or cell_step.step_cells
        self._x = np.zeros((ROWS, count))
        self._p = np.zeros((PAIRS, count))
        self._work = np.empty((STATES, count))
        self._innovation_v = np.full(count, np.nan)
        self._ratio = np.full(count, np.nan)
        self._temperature_c = np.full(count, _WARM_C)
        nothing = np.full(count, np.nan)
        self.start(nothing, nothing, rested=False)

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """See ``Estimator``."""
        known = np.isfinite(soc) & np.isfinite(soc_std)
        self._x[:] = 0.0
        self._x[SOC] = np.where(known, soc, 0.5)
        self._x[[RESISTANCE, CAPACITY]] = 1.0
        self._p[:] = 0.0
        for state, std in (
            (SOC, np.where(known, soc_std, 1.0)),
            (BIAS, self._uncertainty.bias_a),
            (RESISTANCE, self._uncertainty.resistance),
            (ERROR, self._uncertainty.model_v),
            (CAPACITY, self._uncertainty.capacity),
        ):
            self._p[pair(state, state)] = np.square(std)
        self._rested = rested
        self._new = np.ones(len(soc), np.bool_)
        self._innovation_v[:] = np.nan
        self._ratio[:] = np.nan

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: FloatArray,
        step_s: float,
    ) -> None:
        """See ``Estimator``."""
        np.copyto(self._temperature_c, temperature_c, where=np.isfinite(temperature_c))
        known = np.isfinite(current_a)
        measured = np.isfinite(voltage_v) & known
        current = np.where(known, current_a, 0.0)
        begins = self._new & measured
        usable = measured & ~begins
        std_a = np.where(known, _CURRENT_NOISE * np.abs(current), self._circuit.capacity_ah)
        self._step(
            self._x,
            self._p,
            self._work,
            np.where(usable, voltage_v, 0.0),
            usable.astype(np.float64),
            current,
            std_a,
            self._temperature_c,
            self._innovation_v,
            self._ratio,
            step_s,
            self._circuit,
            self._noise,
        )
        if begins.any():
            self._begin(begins, voltage_v[begins], current[begins])

    def _begin(self, cells: BoolArray, voltage_v: FloatArray, current_a: FloatArray) -> None:
        """Weigh the first voltage of ``cells``; the other arrays hold these cells only."""
        circuit, uncertainty = self._circuit, self._uncertainty
        temperature_c = self._temperature_c[cells]
        growth = np.exp(
            2.0 * uncertainty.cold_growth_per_k * np.maximum(_WARM_C - temperature_c, 0.0)
        )
        soc = self._x[SOC, cells]
        hysteresis = np.zeros(len(soc)) if self._rested else np.sign(current_a)
        turned_v = np.interp(
            soc, np.linspace(0.0, 1.0, len(circuit.hysteresis_v)), circuit.hysteresis_v
        )
        if self._rested:
            fast = slow = np.full(len(soc), _RESTED_V**2)
        else:
            before_a = _LOAD_BEFORE_H * circuit.capacity_ah
            fast, slow = (
                (before_a * typical_ohm(circuit, ohm, temperature_c)) ** 2
                for ohm in (circuit.fast_ohm, circuit.slow_ohm)
            )
        doubt = Doubt(
            error=uncertainty.model_v**2 * growth + ((1.0 - np.abs(hysteresis)) * turned_v) ** 2,
            fast=fast,
            slow=slow,
            resistance=np.full(len(soc), uncertainty.resistance**2),
            sample=uncertainty.voltage_v**2 * growth,
        )
        std = np.sqrt(self._p[pair(SOC, SOC), cells])
        first = weigh(circuit, soc, std, voltage_v, temperature_c, current_a, hysteresis, doubt)
        states = (SOC, ERROR, FAST, SLOW, RESISTANCE)
        for a, row in enumerate(states):
            self._x[row, cells] = first.mean[a] + (1.0 if row == RESISTANCE else 0.0)
            for b, column in enumerate(states[a:], a):
                self._p[pair(row, column), cells] = first.covariance[a, b]
        self._x[HYSTERESIS, cells] = hysteresis
        self._new[cells] = False

    @property
    def estimate(self) -> Estimate:
        """See ``Estimator``."""
        known = ~self._new
        x = np.where(known, self._x, np.nan)

        def std(state: int) -> FloatArray:
            return np.where(known, np.sqrt(self._p[pair(state, state)]), np.nan)

        return Estimate(
            soc=np.clip(x[SOC], 0.0, 1.0),
            soc_std=std(SOC),
            capacity_factor=x[CAPACITY],
            capacity_factor_std=std(CAPACITY),
            resistance_factor=x[RESISTANCE],
            resistance_factor_std=std(RESISTANCE),
            current_bias_a=x[BIAS],
            current_bias_std_a=std(BIAS),
            innovation_v=np.where(known, self._innovation_v, np.nan),
            innovation_ratio=np.where(known, self._ratio, np.nan),
        )

    def snapshot(self) -> Mapping[str, FloatArray]:
        """See ``Estimator``."""
        return {
            "states": self._x.copy(),
            "covariance": self._p.copy(),
            "new": self._new.astype(float),
        }

    def restore(self, snapshot: Mapping[str, FloatArray]) -> None:
        """See ``Estimator``."""
        shapes = {"states": self._x.shape, "covariance": self._p.shape, "new": self._new.shape}
        for name, shape in shapes.items():
            values = snapshot.get(name)
            if values is None or values.shape != shape or not np.isfinite(values).all():
                found = "nothing" if values is None else f"shape {values.shape}"
                raise ValueError(
                    f"snapshot: {name!r} must be finite with shape {shape}, found {found}"
                )
        self._x[:] = snapshot["states"]
        self._p[:] = snapshot["covariance"]
        self._new[:] = snapshot["new"] != 0.0


def typical_ohm(circuit: Circuit, table_ohm: FloatArray, temperature_c: FloatArray) -> FloatArray:
    """Mean over the state of charge of a table at temperatures (cells,)."""
    rows = circuit.first_temperature_c + circuit.temperature_step_k * np.arange(len(table_ohm))
    typical: FloatArray = np.interp(temperature_c, rows, table_ohm.mean(axis=1))
    return typical
