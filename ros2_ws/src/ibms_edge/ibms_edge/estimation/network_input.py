# SPDX-License-Identifier: Apache-2.0
"""What a network is shown of each cell: features of the last seconds, at any sampling rate. No ROS.

Samples are averaged over seconds, seconds over the network's period. Beside the means the network
is shown what they say by a coarse circuit: how voltage followed current within the period (the
resistance at this moment), polarisations as low-pass filtered currents, and the charge at which
the open-circuit voltage is what remains.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ibms_edge.estimation.network_file import Curves

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FEATURES = (
    "rough_soc",
    "soc_per_v",
    "voltage",
    "current",
    "current_spread",
    "fast_current",
    "slow_current",
    "slower_current",
    "slow_unknown",
    "slower_unknown",
    "temperature",
    "resistance_factor",
    "drop",
)

_WARM_C = 25.0
_SECOND_S = 1.0
_SLOWER_S = 1200.0  # diffusion goes on after the circuit's slow pair has settled
_FOLLOW_S = 300.0  # over so long the resistance is averaged
_USUAL_A2 = 0.02  # C-rate squared: below this spread of the current the table's resistance counts
_SPAN_V = 0.005  # half of it: over this the slope of the open-circuit voltage is taken
_EARLY_S = 1e-6  # steps of 0.1 s do not add up to a second exactly


class Features(NamedTuple):
    """One period of each cell."""

    values: FloatArray  # (cells, features), finite
    usable: BoolArray  # (cells,): voltage, current and temperature were there


class Sums:
    """Time integrals of what was measured, of each cell, over the same samples."""

    def __init__(self, names: int, count: int) -> None:
        self._of = np.zeros((names, count))
        self._weight_s = np.zeros(count)
        self.length_s = 0.0

    def add(self, values: FloatArray, step_s: float, measured: BoolArray) -> None:
        """Add ``values`` (names, cells) where ``measured``."""
        self._of += np.where(measured, values, 0.0) * step_s
        self._weight_s += np.where(measured, step_s, 0.0)
        self.length_s += step_s

    def take(self) -> tuple[FloatArray, BoolArray]:
        """Means (names, cells), and which cells have any; begins anew."""
        there = self._weight_s > 0.0
        means = self._of / np.where(there, self._weight_s, 1.0)
        self._of[:] = 0.0
        self._weight_s[:] = 0.0
        self.length_s = 0.0
        return means, there


class NetworkInput:
    """Collects samples of ``count`` cells.

    Args:
        curves: of the cell type.
        capacity_ah: by which currents are scaled.
        period_s: of the network.
        count: cells.
    """

    def __init__(self, curves: Curves, capacity_ah: float, period_s: float, count: int) -> None:
        self._curves = curves
        self._capacity_ah = capacity_ah
        self._period_s = period_s
        self._socs = np.array(curves.soc_points)
        self._ocv_v = np.array(curves.ocv_v)
        self._ohms = np.array([curves.instant_ohm, curves.fast_ohm, curves.slow_ohm])
        self._temperatures_c = np.array(curves.temperatures_c)
        self._times_s = np.array([curves.fast_s, curves.slow_s, _SLOWER_S])[:, np.newaxis]
        # voltage, current, temperature, filtered currents; of the period also products
        self._second = Sums(6, count)
        self._period = Sums(8, count)
        self._filtered = np.zeros((3, count))  # C-rates
        self._unknown = np.ones((3, count))  # share of the filtered current that nobody saw
        self._follow = np.zeros((2, count))  # covariance with the current, its variance
        self._temperature_c = np.full(count, np.nan)

    def start(self, rested: bool) -> None:
        """Forget all; after a rest the currents before are known: none."""
        self._second.take()
        self._period.take()
        self._filtered[:] = 0.0
        self._unknown[:] = 0.0 if rested else 1.0
        self._follow[:] = 0.0
        self._temperature_c[:] = np.nan

    def rest(self, away_s: float) -> None:
        """Nothing flows for ``away_s``."""
        left = np.exp(-away_s / self._times_s)
        self._filtered *= left
        self._unknown *= left

    def update(
        self, voltage_v: FloatArray, temperature_c: FloatArray, current_a: FloatArray, step_s: float
    ) -> Features | None:
        """Add a sample, NaN where unmeasured; the features if a period is full.

        A temperature holds until the next one.
        """
        np.copyto(self._temperature_c, temperature_c, where=np.isfinite(temperature_c))
        flows = np.isfinite(current_a)
        rate = np.where(flows, current_a, 0.0) / self._capacity_ah
        decay = np.exp(-step_s / self._times_s)
        self._filtered = decay * self._filtered + (1.0 - decay) * rate
        self._unknown = decay * self._unknown + (1.0 - decay) * ~flows
        sample = np.array([voltage_v, rate, self._temperature_c, *self._filtered])
        self._second.add(sample, step_s, np.isfinite(sample).all(axis=0) & flows)
        if self._second.length_s < _SECOND_S - _EARLY_S:
            return None
        length_s = self._second.length_s
        means, there = self._second.take()
        voltage_v, rate = means[:2]
        self._period.add(np.array([*means, voltage_v * rate, rate**2]), length_s, there)
        if self._period.length_s < self._period_s - _EARLY_S:
            return None
        length_s = self._period.length_s
        means, there = self._period.take()
        return Features(self._features(means, there, length_s), there)

    def _features(self, means: FloatArray, there: BoolArray, length_s: float) -> FloatArray:
        voltage_v, rate, temperature_c, fast_rate, slow_rate, slower_rate, product, square = means
        variance = np.maximum(square - rate**2, 0.0)
        covariance = product - voltage_v * rate
        weight = np.where(there, 1.0 - np.exp(-length_s / _FOLLOW_S), 0.0)
        self._follow += weight * (np.array([covariance, variance]) - self._follow)

        instant, fast, slow = (
            np.interp(temperature_c, self._temperatures_c, row) * self._capacity_ah
            for row in self._ohms
        )
        followed_v, spread = self._follow
        factor = (followed_v + _USUAL_A2 * instant) / ((spread + _USUAL_A2) * instant)
        factor = np.clip(factor, 0.3, 3.0)
        drop_v = factor * (instant * rate + fast * fast_rate + slow * slow_rate)
        rough, high, low = (
            self._soc_at(voltage_v - drop_v + off_v, temperature_c)
            for off_v in (0.0, _SPAN_V, -_SPAN_V)
        )
        return np.column_stack(
            [
                rough,
                (high - low) / (2.0 * _SPAN_V),
                voltage_v,
                rate,
                np.sqrt(variance),
                fast_rate,
                slow_rate,
                slower_rate,
                *self._unknown[1:],
                temperature_c / _WARM_C,
                np.log(factor),
                drop_v,
            ]
        )

    def _soc_at(self, voltage_v: FloatArray, temperature_c: FloatArray) -> FloatArray:
        """Charge of an open-circuit voltage; straight on beyond the curve's ends."""
        table = np.array([_inverse(row, self._socs, voltage_v) for row in self._ocv_v])
        place = np.interp(temperature_c, self._temperatures_c, np.arange(len(table)))
        row = np.minimum(place.astype(np.intp), len(table) - 2)
        share = place - row
        cells = np.arange(len(voltage_v))
        soc: FloatArray = (1.0 - share) * table[row, cells] + share * table[row + 1, cells]
        return soc


def _inverse(ocv_v: FloatArray, socs: FloatArray, voltage_v: FloatArray) -> FloatArray:
    soc = np.interp(voltage_v, ocv_v, socs)
    # Beyond the ends by the slope over the whole curve: how far beyond is news as well.
    per_v = (socs[-1] - socs[0]) / (ocv_v[-1] - ocv_v[0])
    soc += np.maximum(voltage_v - ocv_v[-1], 0.0) * per_v
    soc -= np.maximum(ocv_v[0] - voltage_v, 0.0) * per_v
    return soc
