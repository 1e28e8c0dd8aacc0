# SPDX-License-Identifier: Apache-2.0
"""Coulomb counting: the start and the charge since then, nothing else. No ROS."""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit, model_of
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

_S_PER_H = 3600.0
_WARM_C = 25.0


class CoulombCounter:
    """Counted charge of each of ``count`` cells.

    A cell of which nothing is known starts with the charge at which it would show its first voltage
    without polarisation. The doubt grows with what the current sensor's bias may have counted
    and with what the capacity may be off; an unknown current may have been one of an hour's charge.
    """

    def __init__(self, cell: Cell, count: int) -> None:
        self._temperature_c = np.full(count, _WARM_C)
        self._soc = np.zeros(count)
        self._start_soc = np.zeros(count)
        self._start_std = np.zeros(count)
        self._drift = np.zeros(count)  # of the charge, all in one direction
        self._known = np.zeros(count, np.bool_)
        self._rested = False
        self.adopt(cell)

    def adopt(self, cell: Cell) -> None:
        """See ``Estimator``."""
        self._circuit = build_circuit(cell)
        self._uncertainty = model_of(cell).uncertainty

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """See ``Estimator``; only the doubt of a first voltage depends on ``rested``."""
        self._known = np.isfinite(soc) & np.isfinite(soc_std)
        self._soc = np.where(self._known, soc, 0.5)
        self._start_soc = self._soc.copy()
        self._start_std = np.where(self._known, soc_std, UNKNOWN_SOC_STD)
        self._drift = np.zeros(len(soc))
        self._rested = rested

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: FloatArray,
        step_s: float,
    ) -> None:
        """See ``Estimator``; voltage and temperature count for the start only."""
        np.copyto(self._temperature_c, temperature_c, where=np.isfinite(temperature_c))
        flows = np.isfinite(current_a)
        current = np.where(flows, current_a, 0.0)
        gain = step_s / (_S_PER_H * self._circuit.capacity_ah)
        self._soc += gain * current
        self._drift += gain * np.where(flows, self._uncertainty.bias_a, self._circuit.capacity_ah)
        begins = ~self._known & flows & np.isfinite(voltage_v)
        if begins.any():
            self._begin(begins, voltage_v[begins], current[begins])

    def _begin(self, cells: BoolArray, voltage_v: FloatArray, current_a: FloatArray) -> None:
        """Start ``cells`` from their first voltage; the other arrays hold these cells only."""
        temperature_c = self._temperature_c[cells]
        unrested = np.full((2, len(voltage_v)), 0.0 if self._rested else 1.0)
        hysteresis = np.zeros(len(voltage_v))
        if not self._rested:
            hysteresis = branch_under_load(self._uncertainty, current_a)
        polarisation = polarisation_variances(
            self._circuit, self._uncertainty, temperature_c, unrested
        )
        self._soc[cells], self._start_std[cells] = soc_of_first_voltage(
            self._circuit,
            self._uncertainty,
            voltage_v,
            temperature_c,
            current_a,
            hysteresis,
            polarisation.sum(axis=0),
        )
        self._start_soc[cells] = self._soc[cells]
        self._drift[cells] = 0.0
        self._known |= cells

    @property
    def estimate(self) -> Estimate:
        """See ``Estimator``; nothing is told but the charge."""
        nothing = np.full(len(self._soc), np.nan)
        return Estimate(
            soc=np.where(self._known, np.clip(self._soc, 0.0, 1.0), np.nan),
            soc_std=np.where(self._known, self._std(), np.nan),
            capacity_factor=nothing,
            capacity_factor_std=nothing,
            resistance_factor=nothing,
            resistance_factor_std=nothing,
            current_bias_a=nothing,
            current_bias_std_a=nothing,
            innovation_v=nothing,
            innovation_ratio=nothing,
        )

    def circuit_state(self) -> CircuitState:
        """See ``Estimator``; who only counts knows no polarisation, so nothing can be predicted."""
        nothing = np.full(len(self._soc), np.nan)
        return CircuitState(*[nothing] * len(fields(CircuitState)))

    def _std(self) -> FloatArray:
        counted = self._uncertainty.capacity * (self._soc - self._start_soc)
        std: FloatArray = np.sqrt(self._start_std**2 + self._drift**2 + counted**2)
        return std

    def snapshot(self) -> Mapping[str, FloatArray]:
        """See ``Estimator``."""
        return {
            "soc": self._soc.copy(),
            "soc_std": self._std(),
            "met": self._known.astype(np.float64),
        }

    def restore(self, snapshot: Mapping[str, FloatArray], away_s: float) -> None:
        """See ``Estimator``; no voltage corrects a charge that is known."""
        check_snapshot(snapshot, dict.fromkeys(("soc", "soc_std", "met"), self._soc.shape))
        met = snapshot["met"] != 0.0
        std = soc_std_after(snapshot["soc_std"], away_s)
        self.start(np.where(met, snapshot["soc"], np.nan), std, rested=False)
