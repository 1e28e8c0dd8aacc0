# SPDX-License-Identifier: Apache-2.0
"""The default estimator: charge and polarisation jointly with what changes slowly. No ROS.

Beside the state of charge and two polarisations it estimates the bias of the current sensor, a
factor of all resistances, the offset of the temperature sensor, and the capacity; ``cell_step`` has
the equations.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.cell_model import Uncertainty
from ibms_battery.circuit import build_circuit, model_of
from ibms_edge.estimation import cell_step
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
    TEMPERATURE,
    WIDTH,
    Noise,
    pair,
)
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.estimation.estimator import Estimate
from ibms_edge.estimation.first_voltage import Doubt, FirstEstimate, weigh
from ibms_edge.estimation.open_circuit_start import branch_under_load, polarisation_variances
from ibms_edge.estimation.restart import check_snapshot, soc_std_after

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

_S_PER_H = 3600.0
_BLOCK = 1000
_UNKNOWN_SOC_STD = 1.0  # flat over all charges
_SURE_SOC_STD = 0.1
_CONTRADICTION = 5.0  # standard deviations between a belief and the first voltage
_WARM_C = 25.0
_RESTED_V = 0.001  # polarisation left in a rested cell
_CURRENT_NOISE = 0.002  # of the current, beyond bias: what its mean over a step may be off
# Slow states that are kept over a restart, with the places of their variances.
_SLOW = (BIAS, RESISTANCE, TEMPERATURE, CAPACITY)


def noise_of(uncertainty: Uncertainty) -> Noise:
    """As ``cell_step`` wants it."""
    root = float(np.sqrt(_S_PER_H))
    return Noise(
        voltage_v=uncertainty.voltage_v,
        drop_share=uncertainty.drop_share,
        polarisation_v=uncertainty.polarisation_v,
        cold_growth_per_k=uncertainty.cold_growth_per_k,
        bias_a=uncertainty.bias_drift_a / root,
        resistance=uncertainty.resistance_drift / root,
        temperature_k=uncertainty.temperature_drift_k / root,
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
        self._step = (compiled and cell_step.compiled_step_cells) or cell_step.step_cells
        self._x = np.zeros((ROWS, count))
        self._p = np.zeros((PAIRS, count))
        self._work = np.empty((3, WIDTH, count))
        self._innovation_v = np.full(count, np.nan)
        self._ratio = np.full(count, np.nan)
        self._temperature_c = np.full(count, _WARM_C)
        # What is left of a polarisation that may be there when a cell is met: 0 rested, 1 unknown.
        self._unrested = np.ones((2, count))
        self._new = np.ones(count, np.bool_)  # no voltage yet
        self._known = np.zeros(count, np.bool_)  # there is an estimate
        self._describe(cell)
        nothing = np.full(count, np.nan)
        self.start(nothing, nothing, rested=False)

    def _describe(self, cell: Cell) -> None:
        self._circuit = build_circuit(cell)
        self._uncertainty = model_of(cell).uncertainty
        self._noise = noise_of(self._uncertainty)

    def adopt(self, cell: Cell) -> None:
        """See ``Estimator``; the capacity that is known stays the same in ampere hours."""
        before_ah, before_v = self._circuit.capacity_ah, self._uncertainty.offset_v
        self._describe(cell)
        scale = before_ah / self._circuit.capacity_ah
        self._x[CAPACITY] *= scale
        self._scale(CAPACITY, scale)
        self._scale(OFFSET, self._uncertainty.offset_v / before_v)

    def _scale(self, row: int, scale: float) -> None:
        for column in range(WIDTH):
            self._p[pair(row, column)] *= scale**2 if column == row else scale

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """See ``Estimator``."""
        known = np.isfinite(soc) & np.isfinite(soc_std)
        self._forget(np.arange(len(soc)))
        self._x[SOC] = np.where(known, soc, self._x[SOC])
        self._p[pair(SOC, SOC)] = np.where(known, np.square(soc_std), self._p[pair(SOC, SOC)])
        self._unrested[:] = 0.0 if rested else 1.0
        self._new[:] = True
        self._known[:] = known
        self._innovation_v[:] = np.nan
        self._ratio[:] = np.nan

    def _forget(self, cells: IntArray) -> None:
        """As if nothing had ever been known of ``cells``."""
        self._x[:, cells] = 0.0
        self._x[SOC, cells] = 0.5
        for state in (RESISTANCE, CAPACITY):
            self._x[state, cells] = 1.0
        self._p[:, cells] = 0.0
        uncertainty = self._uncertainty
        for state, std in (
            (SOC, _UNKNOWN_SOC_STD),
            (BIAS, uncertainty.bias_a),
            (RESISTANCE, uncertainty.resistance),
            (TEMPERATURE, uncertainty.temperature_k),
            (CAPACITY, uncertainty.capacity),
            (OFFSET, uncertainty.offset_v),
        ):
            self._p[pair(state, state), cells] = std**2

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
        # What the sensor would show of no current.
        current = np.where(known, current_a, self._x[BIAS])
        begins = self._new & measured
        usable = measured & ~begins
        std_a = _CURRENT_NOISE * np.abs(current)
        if step_s > 0.0 and not known.all():
            std_a = np.where(known, std_a, self._unknown_a(step_s))
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
        lost = ~np.isfinite(self._x[SOC] + self._p[pair(SOC, SOC)])
        if lost.any():
            self._begin_anew(np.flatnonzero(lost))
            begins &= ~lost
        # In blocks: weighing takes an array over all charges for each cell.
        first = np.flatnonzero(begins)
        for cells in np.array_split(first, -(-len(first) // _BLOCK)) if len(first) else []:
            self._begin(cells, voltage_v[cells], current[cells])

    def _begin_anew(self, cells: IntArray) -> None:
        """Of no number nothing can be said, and nothing comes of it: the next voltage decides."""
        self._forget(cells)
        self._unrested[:, cells] = 1.0
        self._new[cells] = True
        self._known[cells] = False

    def _unknown_a(self, step_s: float) -> FloatArray:
        """Noise of an unknown current (cells,): one of an hour's charge may flow all the time.

        Of the size that makes sigma grow by that charge in each step, whatever the steps are.
        """
        charge = step_s / _S_PER_H
        soc_std = np.sqrt(self._p[pair(SOC, SOC)])
        unknown: FloatArray = self._circuit.capacity_ah * np.sqrt(1.0 + 2.0 * soc_std / charge)
        return unknown

    def _begin(self, cells: IntArray, voltage_v: FloatArray, current_a: FloatArray) -> None:
        """Weigh the first voltage of ``cells``; the other arrays hold these cells only."""
        circuit, uncertainty = self._circuit, self._uncertainty
        temperature_c = self._temperature_c[cells]
        cold_k = np.maximum(_WARM_C - temperature_c, 0.0)
        growth = np.exp(2.0 * uncertainty.cold_growth_per_k * cold_k)
        # Who is met under load has been driven this way; after a rest the branch is not known.
        branch = branch_under_load(uncertainty, current_a)
        hysteresis = np.where(self._unrested[1, cells] == 1.0, branch, 0.0)
        fast_v2, slow_v2 = _RESTED_V**2 + polarisation_variances(
            circuit, uncertainty, temperature_c, self._unrested[:, cells]
        )
        sample_v2 = (uncertainty.voltage_v**2 + uncertainty.model_v**2) * growth

        def weighed(of: BoolArray, soc: FloatArray, soc_v: FloatArray) -> FirstEstimate:
            """First estimate of those ``of`` the cells from a belief (cells,) and its variance."""
            at = cells[of]
            grid = np.linspace(0.0, 1.0, len(circuit.hysteresis_v))
            branch_v = (1.0 - np.abs(hysteresis)) * np.interp(soc, grid, circuit.hysteresis_v)
            offset_v2 = self._p[pair(OFFSET, OFFSET), at]
            shared = self._p[pair(SOC, OFFSET), at]
            return weigh(
                circuit,
                soc[of],
                np.sqrt(soc_v[of]),
                voltage_v[of],
                (temperature_c + self._x[TEMPERATURE, cells])[of],
                (current_a - self._x[BIAS, cells])[of],
                hysteresis[of],
                Doubt(
                    fast=fast_v2[of],
                    slow=slow_v2[of],
                    offset=offset_v2 - shared**2 / soc_v[of],
                    offset_per_soc=shared / soc_v[of],
                    resistance=self._p[pair(RESISTANCE, RESISTANCE), at],
                    sample=(sample_v2 + branch_v**2)[of],
                ),
            )

        # Kept from another pack, say: a belief that its first voltage rules out is none, and what
        # else was known of such a cell neither.
        everywhere, unknown = np.full(len(cells), 0.5), np.full(len(cells), _UNKNOWN_SOC_STD**2)
        sure = self._p[pair(SOC, SOC), cells] < _SURE_SOC_STD**2
        if sure.any():
            told = weighed(sure, everywhere, unknown)
            apart = np.abs(told.mean[0] - self._x[SOC, cells[sure]])
            doubt_v = told.covariance[0, 0] + self._p[pair(SOC, SOC), cells[sure]]
            self._forget(cells[sure][apart > _CONTRADICTION * np.sqrt(doubt_v)])
        first = weighed(
            np.ones(len(cells), np.bool_), self._x[SOC, cells], self._p[pair(SOC, SOC), cells]
        )
        states = (SOC, FAST, SLOW, OFFSET, RESISTANCE)
        # The offset is only considered: what the voltage tells of it is not taken. Where the
        # weighing leaves it more doubt than it has, its covariances are scaled to what it has.
        offset_v2 = self._p[pair(OFFSET, OFFSET), cells]
        place = states.index(OFFSET)
        scale = np.sqrt(np.minimum(1.0, offset_v2 / first.covariance[place, place]))
        for a, row in enumerate(states):
            for b, column in enumerate(states[a:], a):
                if OFFSET in (row, column):
                    self._p[pair(row, column), cells] = scale * first.covariance[a, b]
                else:
                    self._p[pair(row, column), cells] = first.covariance[a, b]
            # They came from counting with all else before; kept, they would be too large now.
            for column in (BIAS, TEMPERATURE, CAPACITY):
                self._p[pair(row, column), cells] = 0.0
        self._p[pair(OFFSET, OFFSET), cells] = offset_v2
        self._x[SOC, cells], self._x[FAST, cells], self._x[SLOW, cells] = first.mean[:3]
        self._x[RESISTANCE, cells] += first.mean[-1]
        self._x[HYSTERESIS, cells] = hysteresis
        self._new[cells] = False
        self._known[cells] = True

    @property
    def estimate(self) -> Estimate:
        """See ``Estimator``."""
        known = self._known
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
            innovation_v=np.where(self._new, np.nan, self._innovation_v),
            innovation_ratio=np.where(self._new, np.nan, self._ratio),
        )

    def circuit_state(self) -> CircuitState:
        """See ``Estimator``."""
        x = np.where(self._known, self._x, np.nan)
        offset_k = self._x[TEMPERATURE]
        temperature_c = self._temperature_c + offset_k
        # What the doubt of the temperature makes of the resistances.
        colder, warmer = (
            CircuitPlace(self._circuit, temperature_c + k).typical_ohm(self._circuit.ohmic_ohm)
            for k in (-1.0, 1.0)
        )
        per_k = (colder - warmer) / (colder + warmer)
        temperature_std = np.sqrt(self._p[pair(TEMPERATURE, TEMPERATURE)])
        factor_std = np.sqrt(self._p[pair(RESISTANCE, RESISTANCE)]) / self._x[RESISTANCE]
        return CircuitState(
            soc=x[SOC],
            soc_std=np.sqrt(self._p[pair(SOC, SOC)]),
            fast_v=x[FAST],
            slow_v=x[SLOW],
            hysteresis=x[HYSTERESIS],
            resistance_factor=x[RESISTANCE],
            resistance_std=np.hypot(factor_std, per_k * temperature_std),
            temperature_c=temperature_c,
            capacity_ah=self._circuit.capacity_ah * x[CAPACITY],
        )

    def snapshot(self) -> Mapping[str, FloatArray]:
        """See ``Estimator``."""
        return {
            "states": self._x.copy(),
            "covariance": self._p.copy(),
            "known": self._known.astype(np.float64),
        }

    def restore(self, snapshot: Mapping[str, FloatArray], away_s: float) -> None:
        """See ``Estimator``."""
        check_snapshot(
            snapshot,
            {"states": self._x.shape, "covariance": self._p.shape, "known": self._known.shape},
        )
        states, covariance = snapshot["states"], snapshot["covariance"]
        met = snapshot["known"] != 0.0
        known = np.isfinite(away_s)
        std = soc_std_after(np.sqrt(covariance[pair(SOC, SOC)]), away_s)
        nothing = np.full(len(met), np.nan)
        self.start(np.where(met, states[SOC], nothing), np.where(met, std, nothing), rested=False)
        drifts = {BIAS: self._noise.bias_a, RESISTANCE: self._noise.resistance}
        drifts |= {TEMPERATURE: self._noise.temperature_k, CAPACITY: self._noise.capacity}
        # The offset is still the same one: what it did to the charge it does not do anew.
        self._p[pair(SOC, OFFSET), met] = covariance[pair(SOC, OFFSET), met]
        for row in _SLOW:
            self._x[row, met] = states[row, met]
            place = pair(row, row)
            grown = covariance[place] + drifts[row] ** 2 * (away_s if known else 0.0)
            # However long it was away, no more is forgotten than was never known.
            self._p[place, met] = np.minimum(grown, self._p[place])[met]
        if known:
            pairs = (self._circuit.fast_s, self._circuit.slow_s)
            self._unrested[:, met] = np.exp(-away_s / np.array(pairs))[:, np.newaxis]
