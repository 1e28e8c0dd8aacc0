# SPDX-License-Identifier: Apache-2.0
"""The default filter and the network together, weighed by what each says of its doubt. No ROS.

Both run by themselves on the same samples, so their errors are alike in part: the same sensors, the
same start, the same open-circuit voltage. Two estimates whose errors are correlated combine as
(Bar-Shalom and Campo, IEEE Trans. Aerosp. Electron. Syst. 22, 1986, 803)

    w = (s2^2 - r s1 s2) / (s1^2 + s2^2 - 2 r s1 s2)

for the first, held within 0 to 1: if one is far surer, it alone counts. Where they lie farther
apart than their doubt allows, at least one is wrong about itself, and nobody knows which: the
fused doubt grows by what they are apart too far.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.estimation.estimator import Estimate, Estimator
from ibms_edge.estimation.network import NetworkEstimator

FloatArray = npt.NDArray[np.float64]

CORRELATION = 0.3  # of errors over sigma: 0.2 to 0.4 on train runs that the network had not seen
_LEAST_STD = 1e-6


class FusedEstimator:
    """``AdaptiveFilter`` and ``NetworkEstimator`` of ``count`` cells.

    The network corrects the charge only; all else is told by the filter.

    Args:
        cell: description of the cell type.
        count: cells.
        folder: of the networks; None: where ``network_folder`` finds it.

    Raises:
        NetworkError: as ``NetworkEstimator``.
    """

    def __init__(self, cell: Cell, count: int, folder: Path | None = None) -> None:
        self._network = NetworkEstimator(cell, count, folder)
        self._filter = AdaptiveFilter(cell, count)
        self._both: dict[str, Estimator] = {"filter": self._filter, "network": self._network}

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """See ``Estimator``."""
        for one in self._both.values():
            one.start(soc, soc_std, rested)

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: FloatArray,
        step_s: float,
    ) -> None:
        """See ``Estimator``."""
        for one in self._both.values():
            one.update(voltage_v, temperature_c, current_a, step_s)

    def adopt(self, cell: Cell) -> None:
        """See ``Estimator``."""
        for one in self._both.values():
            one.adopt(cell)

    @property
    def estimate(self) -> Estimate:
        """See ``Estimator``."""
        first, second = (one.estimate for one in self._both.values())
        soc, soc_std = fuse(first.soc, first.soc_std, second.soc, second.soc_std)
        return replace(first, soc=soc, soc_std=soc_std)

    def circuit_state(self) -> CircuitState:
        """See ``Estimator``: the filter's, whose charge and polarisations make up one voltage."""
        return self._filter.circuit_state()

    def snapshot(self) -> Mapping[str, FloatArray]:
        """See ``Estimator``."""
        return {
            f"{whose}.{name}": values
            for whose, one in self._both.items()
            for name, values in one.snapshot().items()
        }

    def restore(self, snapshot: Mapping[str, FloatArray], away_s: float) -> None:
        """See ``Estimator``."""
        # Both must fit before either is changed; the filter checks before it begins.
        kept = {whose: _part(snapshot, whose) for whose in self._both}
        self._network.check(kept["network"])
        for whose, one in self._both.items():
            one.restore(kept[whose], away_s)


def fuse(
    first: FloatArray, first_std: FloatArray, second: FloatArray, second_std: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Both estimates as one, and its standard deviation; where one is NaN it is the other."""
    std_1, std_2 = (np.maximum(std, _LEAST_STD) for std in (first_std, second_std))
    common_v = CORRELATION * std_1 * std_2
    apart_v = std_1**2 + std_2**2 - 2.0 * common_v
    weight = np.clip((std_2**2 - common_v) / apart_v, 0.0, 1.0)
    rest = 1.0 - weight
    variance = (weight * std_1) ** 2 + (rest * std_2) ** 2 + 2.0 * weight * rest * common_v
    too_far_v = np.maximum((first - second) ** 2 - apart_v, 0.0)
    variance += weight * rest * too_far_v
    soc = weight * first + rest * second
    std = np.sqrt(variance)
    only_1, only_2 = np.isnan(second), np.isnan(first)
    soc = np.where(only_1, first, np.where(only_2, second, soc))
    return soc, np.where(only_1, first_std, np.where(only_2, second_std, std))


def _part(snapshot: Mapping[str, FloatArray], whose: str) -> dict[str, FloatArray]:
    start = f"{whose}."
    return {
        name.removeprefix(start): values
        for name, values in snapshot.items()
        if name.startswith(start)
    }
