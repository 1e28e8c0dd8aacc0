# SPDX-License-Identifier: Apache-2.0
"""The estimator that has learned from data: a recurrent network reads the charge. No ROS.

A gated recurrent unit (Cho et al., 2014, arXiv:1406.1078) sees means over its period and says of
each cell which charge it reads there, how sure it is of that, and by how much all its readings may
be off together. Between readings the charge is counted; a Kalman filter of two states, charge and
bias of the current sensor, weighs both. So a start without knowledge, a wrong one and a sensor that
is off are all the same case, and where nothing can be read the charge is still counted.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.estimation.estimator import Estimate
from ibms_edge.estimation.network_file import NAMES, load_network, network_folder
from ibms_edge.estimation.network_input import NetworkInput
from ibms_edge.estimation.open_circuit_start import UNKNOWN_SOC_STD
from ibms_edge.estimation.restart import check_snapshot, soc_std_after

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_S_PER_H = 3600.0
_HIGHEST_SOC = 1.05  # a cell may be charged beyond what counts as full
_KEPT = ("soc", "soc_std", "bias_a", "bias_std_a", "met")


class NetworkEstimator:
    """A network and a counter of each of ``count`` cells.

    A cell of which nothing is known has no estimate until the first period of the network is over.
    Where a feature lies outside of what the network was trained on, it is not asked.

    Args:
        cell: description of the cell type.
        count: cells.
        folder: of the networks; None: where ``network_folder`` finds it.

    Raises:
        NetworkError: if there is no network for this cell type, or no onnxruntime.
    """

    def __init__(self, cell: Cell, count: int, folder: Path | None = None) -> None:
        loaded = load_network(cell.name, folder or network_folder())
        self._session = loaded.session
        self._network = network = loaded.description
        self._lowest, self._highest = np.array(network.lowest), np.array(network.highest)
        self._input = NetworkInput(network.curves, network.capacity_ah, network.period_s, count)
        self._hidden = np.zeros((count, network.units), np.float32)
        self._soc = np.zeros(count)
        self._bias_a = np.zeros(count)
        self._soc_v, self._both_v, self._bias_v = np.zeros((3, count))  # covariance
        self._common_std = np.zeros(count)
        self._known = np.zeros(count, np.bool_)
        self.adopt(cell)
        nothing = np.full(count, np.nan)
        self.start(nothing, nothing, rested=False)

    def adopt(self, cell: Cell) -> None:
        """See ``Estimator``; the network itself stays, only the capacity is taken."""
        self._capacity_ah = cell.capacity_ah

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """See ``Estimator``."""
        self._known = np.isfinite(soc) & np.isfinite(soc_std)
        self._soc = np.where(self._known, soc, 0.5)
        self._soc_v = np.square(np.where(self._known, soc_std, UNKNOWN_SOC_STD))
        self._both_v[:] = 0.0
        self._bias_a[:] = 0.0
        self._bias_v[:] = self._network.bias_a**2
        self._common_std[:] = 0.0
        self._hidden[:] = 0.0
        self._input.start(rested)

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: FloatArray,
        step_s: float,
    ) -> None:
        """See ``Estimator``."""
        self._count(current_a, step_s)
        features = self._input.update(voltage_v, temperature_c, current_a, step_s)
        if features is None:
            return
        inside = (features.values >= self._lowest) & (features.values <= self._highest)
        usable = features.usable & inside.all(axis=1)
        if usable.any():
            self._read(np.flatnonzero(usable), features.values)

    def _count(self, current_a: FloatArray, step_s: float) -> None:
        flows = np.isfinite(current_a)
        hours = step_s / _S_PER_H
        gain = hours / self._capacity_ah
        self._soc += np.where(flows, gain * (np.where(flows, current_a, 0.0) - self._bias_a), 0.0)
        self._soc = np.clip(self._soc, 0.0, _HIGHEST_SOC)
        self._soc_v += gain * (gain * self._bias_v - 2.0 * self._both_v)
        self._soc_v += self._network.soc_drift**2 * hours
        # An unknown current may have been one of an hour's charge, all the time.
        self._soc_v = np.where(flows, self._soc_v, np.square(np.sqrt(self._soc_v) + hours))
        self._both_v -= gain * self._bias_v
        self._bias_v += self._network.bias_drift_a**2 * hours

    def _read(self, cells: npt.NDArray[np.intp], features: FloatArray) -> None:
        """Ask the network and correct the charge of ``cells``."""
        shown = (features[cells].astype(np.float32), self._hidden[cells])
        reading, hidden = self._session.run(None, dict(zip(NAMES, shown, strict=True)))
        self._hidden[cells] = hidden
        soc, log_std, log_common_std = reading.astype(np.float64).T
        soc_v, both_v, bias_v = self._soc_v[cells], self._both_v[cells], self._bias_v[cells]
        total = soc_v + np.exp(2.0 * log_std)
        innovation = soc - self._soc[cells]
        self._soc[cells] += soc_v / total * innovation
        self._soc = np.clip(self._soc, 0.0, _HIGHEST_SOC)
        self._bias_a[cells] += both_v / total * innovation
        self._soc_v[cells] -= soc_v**2 / total
        self._both_v[cells] -= soc_v * both_v / total
        self._bias_v[cells] = bias_v - both_v**2 / total
        self._common_std[cells] = np.exp(log_common_std)
        self._known[cells] = True

    @property
    def estimate(self) -> Estimate:
        """See ``Estimator``; nothing is told of capacity, resistance and voltage."""
        known = self._known
        nothing = np.full(len(known), np.nan)
        return Estimate(
            soc=np.where(known, np.clip(self._soc, 0.0, 1.0), np.nan),
            soc_std=np.where(known, self._std(), np.nan),
            capacity_factor=nothing,
            capacity_factor_std=nothing,
            resistance_factor=nothing,
            resistance_factor_std=nothing,
            current_bias_a=np.where(known, self._bias_a, np.nan),
            current_bias_std_a=np.where(known, np.sqrt(self._bias_v), np.nan),
            innovation_v=nothing,
            innovation_ratio=nothing,
        )

    def circuit_state(self) -> CircuitState:
        """See ``Estimator``; the network knows of no circuit, so nothing can be predicted."""
        nothing = np.full(len(self._soc), np.nan)
        return CircuitState(*[nothing] * len(fields(CircuitState)))

    def _std(self) -> FloatArray:
        std: FloatArray = np.hypot(np.sqrt(self._soc_v), self._common_std)
        return std

    def snapshot(self) -> Mapping[str, FloatArray]:
        """See ``Estimator``."""
        values = (self._soc, self._std(), self._bias_a, np.sqrt(self._bias_v), self._known)
        return {
            name: np.array(value, np.float64) for name, value in zip(_KEPT, values, strict=True)
        }

    def check(self, snapshot: Mapping[str, FloatArray]) -> None:
        """Raise ``ValueError`` unless ``restore`` can use the snapshot."""
        check_snapshot(snapshot, dict.fromkeys(_KEPT, self._soc.shape))

    def restore(self, snapshot: Mapping[str, FloatArray], away_s: float) -> None:
        """See ``Estimator``."""
        self.check(snapshot)
        met = snapshot["met"] != 0.0
        std = soc_std_after(snapshot["soc_std"], away_s)
        self.start(np.where(met, snapshot["soc"], np.nan), std, rested=False)
        if np.isfinite(away_s):
            self._input.rest(away_s)
        self._bias_a = np.where(met, snapshot["bias_a"], self._bias_a)
        drift_v = self._network.bias_drift_a**2 * (away_s if np.isfinite(away_s) else 0.0)
        grown = np.minimum(snapshot["bias_std_a"] ** 2 + drift_v / _S_PER_H, self._bias_v)
        self._bias_v = np.where(met, grown, self._bias_v)
