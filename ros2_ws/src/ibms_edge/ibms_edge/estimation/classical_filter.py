# SPDX-License-Identifier: Apache-2.0
"""What the classical filters of a cell have in common: states, start, missing samples. No ROS.

Charge and two polarisations of the equivalent circuit, current positive when charging (Plett,
Battery Management Systems vol. 2, ch. 3):

    soc'  = i / (3600 Q)
    fast' = (R_fast i - fast) / tau_fast, slow' likewise
    v = OCV(soc, T) + M(soc) h + R0 i + R_act i0 asinh(i / i0) + fast + slow

All errors are taken as white noise, which is what makes these filters classical, and their doubt
too small: bias, resistance, capacity and error of the model stay as they are for hours.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit, model_of
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.estimation.estimator import Estimate
from ibms_edge.estimation.open_circuit_start import (
    UNKNOWN_SOC_STD,
    branch_under_load,
    polarisation_variances,
    soc_of_first_voltage,
)
from ibms_edge.estimation.restart import check_snapshot, soc_std_after

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SOC, FAST, SLOW = range(3)
STATES = 3

_WARM_C = 25.0
_HIGHEST_SOC = 1.05  # a cell may be charged beyond what counts as full
_RESTED_V = 0.001  # polarisation left in a rested cell


@dataclass(frozen=True)
class Tuning:
    """Standard deviations; tuned on the train rows of the LG cell, for all cells and temperatures.

    Those of voltages hold at 25 degC and above and grow with exp(cold_growth_per_k * K below).
    """

    voltage_v: float = 0.05
    cold_growth_per_k: float = 0.014
    soc: float = 5e-5  # per square root of a second
    polarisation_v: float = 0.0002  # of each pair, per square root of a second


class ClassicalFilter(ABC):
    """One filter of three states for each of ``count`` cells.

    Args:
        cell: description of the cell type.
        count: cells.
        tuning: what noise is assumed.
    """

    def __init__(self, cell: Cell, count: int, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._x = np.zeros((STATES, count))
        self._p = np.zeros((count, STATES, STATES))
        self._hysteresis = np.zeros(count)
        self._temperature_c = np.full(count, _WARM_C)
        self._innovation_v = np.full(count, np.nan)
        self._ratio = np.full(count, np.nan)
        # Share that is left of a polarisation which may be there when a cell is met.
        self._unrested = np.ones((2, count))
        self._new = np.ones(count, np.bool_)
        self.adopt(cell)
        nothing = np.full(count, np.nan)
        self.start(nothing, nothing, rested=False)

    def adopt(self, cell: Cell) -> None:
        """See ``Estimator``."""
        self._circuit = build_circuit(cell)
        self._uncertainty = model_of(cell).uncertainty

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """See ``Estimator``."""
        self._known = np.isfinite(soc) & np.isfinite(soc_std)
        self._x[:] = 0.0
        self._x[SOC] = np.where(self._known, soc, 0.5)
        self._p[:] = np.eye(STATES) * _RESTED_V**2
        std = np.where(self._known, np.maximum(soc_std, 1e-6), UNKNOWN_SOC_STD)
        self._p[:, SOC, SOC] = np.square(std)
        self._hysteresis[:] = 0.0
        self._unrested[:] = 0.0 if rested else 1.0
        self._new[:] = True
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
        flows = np.isfinite(current_a)
        measured = np.isfinite(voltage_v) & flows
        current = np.where(flows, current_a, 0.0)
        place = CircuitPlace(self._circuit, self._temperature_c)
        growth = np.exp(
            2.0 * self._tuning.cold_growth_per_k * np.maximum(_WARM_C - self._temperature_c, 0.0)
        )
        voltage_variance = self._tuning.voltage_v**2 * growth

        charge_gain = step_s / (3600.0 * self._circuit.capacity_ah)
        moved = np.exp(-np.abs(current) * charge_gain * self._circuit.hysteresis_rate)
        self._hysteresis = moved * self._hysteresis + (1.0 - moved) * np.sign(current)
        noise = np.empty((len(current), STATES))
        noise[:, SOC] = self._tuning.soc**2 * step_s
        # An unknown current may have been one of an hour's charge, all the time: sigma grows by it.
        unknown = charge_gain * self._circuit.capacity_ah
        grown = unknown * (unknown + 2.0 * np.sqrt(self._p[:, SOC, SOC]))
        noise[:, SOC] += np.where(flows, 0.0, grown)
        noise[:, FAST:] = (self._tuning.polarisation_v**2 * step_s * growth)[:, np.newaxis]
        self._predict(place, current, charge_gain, step_s, noise)

        begins = self._new & measured
        if begins.any():
            self._begin(begins, voltage_v, current)
        usable = measured & (self._known | ~begins)
        self._correct(place, np.where(usable, voltage_v, 0.0), usable, current, voltage_variance)
        self._x[SOC] = np.clip(self._x[SOC], 0.0, _HIGHEST_SOC)

    def decays(self, step_s: float) -> FloatArray:
        """What a step leaves of each state (STATES,)."""
        circuit = self._circuit
        return np.array([1.0, np.exp(-step_s / circuit.fast_s), np.exp(-step_s / circuit.slow_s)])

    @abstractmethod
    def _predict(
        self,
        place: CircuitPlace,
        current_a: FloatArray,
        charge_gain: float,
        step_s: float,
        noise: FloatArray,
    ) -> None:
        """Move states and covariance; ``noise`` (cells, STATES) is the variance that comes on."""

    @abstractmethod
    def _correct(
        self,
        place: CircuitPlace,
        voltage_v: FloatArray,
        usable: BoolArray,
        current_a: FloatArray,
        variance: FloatArray,
    ) -> None:
        """Correct by the voltages where ``usable``; ``variance`` (cells,) is that of a voltage."""

    def _begin(self, begins: BoolArray, voltage_v: FloatArray, current_a: FloatArray) -> None:
        """First voltage of the cells ``begins``: doubt of polarisation, and charge if unknown."""
        circuit, uncertainty = self._circuit, self._uncertainty
        self._new &= ~begins
        polarisation = polarisation_variances(
            circuit, uncertainty, self._temperature_c, self._unrested
        )
        for state, variance in zip((FAST, SLOW), polarisation, strict=True):
            self._p[begins, state, state] += variance[begins]
        # Who is met under load has been driven this way; after a rest the branch is not known.
        driven = begins & (self._unrested[1] == 1.0)
        branch = branch_under_load(uncertainty, current_a)
        self._hysteresis = np.where(driven, branch, self._hysteresis)
        unknown = begins & ~self._known
        soc, std = soc_of_first_voltage(
            circuit,
            uncertainty,
            voltage_v[unknown],
            self._temperature_c[unknown],
            current_a[unknown],
            self._hysteresis[unknown],
            polarisation[:, unknown].sum(axis=0),
        )
        self._x[SOC, unknown] = soc
        self._p[unknown, SOC, SOC] = np.square(std)

    @property
    def estimate(self) -> Estimate:
        """See ``Estimator``; nothing is told of capacity, resistance and bias."""
        known = self._known | ~self._new
        nothing = np.full(len(known), np.nan)
        return Estimate(
            soc=np.where(known, np.clip(self._x[SOC], 0.0, 1.0), np.nan),
            soc_std=np.where(known, np.sqrt(self._p[:, SOC, SOC]), np.nan),
            capacity_factor=nothing,
            capacity_factor_std=nothing,
            resistance_factor=nothing,
            resistance_factor_std=nothing,
            current_bias_a=nothing,
            current_bias_std_a=nothing,
            innovation_v=self._innovation_v.copy(),
            innovation_ratio=self._ratio.copy(),
        )

    def circuit_state(self) -> CircuitState:
        """See ``Estimator``; resistances are taken as described."""
        known = self._known | ~self._new
        x = np.where(known, self._x, np.nan)
        one = np.ones(len(known))
        return CircuitState(
            soc=x[SOC],
            soc_std=np.sqrt(self._p[:, SOC, SOC]),
            fast_v=x[FAST],
            slow_v=x[SLOW],
            hysteresis=self._hysteresis.copy(),
            resistance_factor=one,
            resistance_std=self._uncertainty.resistance * one,
            temperature_c=self._temperature_c.copy(),
            capacity_ah=self._circuit.capacity_ah * one,
        )

    def snapshot(self) -> Mapping[str, FloatArray]:
        """See ``Estimator``."""
        return {
            "soc": self._x[SOC].copy(),
            "soc_std": np.sqrt(self._p[:, SOC, SOC]),
            "met": (self._known | ~self._new).astype(np.float64),
        }

    def restore(self, snapshot: Mapping[str, FloatArray], away_s: float) -> None:
        """See ``Estimator``."""
        check_snapshot(snapshot, dict.fromkeys(("soc", "soc_std", "met"), self._new.shape))
        met = snapshot["met"] != 0.0
        std = soc_std_after(snapshot["soc_std"], away_s)
        self.start(np.where(met, snapshot["soc"], np.nan), std, rested=False)
        if np.isfinite(away_s):
            pairs = np.array((self._circuit.fast_s, self._circuit.slow_s))
            self._unrested[:, met] = np.exp(-away_s / pairs)[:, np.newaxis]
