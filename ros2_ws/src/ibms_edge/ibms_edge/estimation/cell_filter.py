# SPDX-License-Identifier: Apache-2.0
"""Extended Kalman filter for the state of charge of every cell, vectorised over cells. No ROS.

Model per cell: series resistance and one RC pair (Plett, Battery Management Systems vol. 2, ch. 3):
    soc' = i / (3600 Q),  v1' = -v1 / tau + i R1 / tau,  v = OCV(soc) + v1 + R0 i,
with the current positive when charging.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FilterTuning:
    """Noise assumptions and shares of the resistance."""

    ohmic_share: float = 0.6  # of the rated resistance; the rest is the RC pair
    time_constant_s: float = 40.0
    temperature_coefficient: float = 0.02  # relative rise of resistance per K below 25 degC
    voltage_std_v: float = 0.03  # model error far above sensor noise
    current_std_a: float = 0.1  # per cell, bias and noise
    polarisation_std_v: float = 0.002  # per square root of second
    initial_soc_std_at_rest: float = 0.03
    initial_soc_std_under_load: float = 0.15
    rest_current_a: float = 0.05  # per cell


class CellFilter:
    """State of charge of ``count`` cell groups.

    Args:
        cell: rated data.
        count: cell groups in series.
        parallel: cells per group.
    """

    def __init__(
        self, cell: Cell, count: int, parallel: int, tuning: FilterTuning | None = None
    ) -> None:
        self.tuning = tuning or FilterTuning()
        self._cell = cell
        self._parallel = parallel
        self._soc_points = np.asarray(cell.soc_points, np.float64)
        self._ocv_points = np.asarray(cell.ocv_points_v, np.float64)
        self._slopes = np.gradient(self._ocv_points, self._soc_points)
        # NaN until the first voltage of a cell.
        self.soc: FloatArray = np.full(count, np.nan)
        self.polarisation_v: FloatArray = np.full(count, np.nan)
        self._p00: FloatArray = np.full(count, np.nan)
        self._p01: FloatArray = np.full(count, np.nan)
        self._p11: FloatArray = np.full(count, np.nan)
        self.resistance_ohm: FloatArray = np.full(count, cell.resistance_ohm / parallel)
        self.capacity_ah: FloatArray = np.full(count, cell.capacity_ah * parallel)

    @property
    def soc_std(self) -> FloatArray:
        """One standard deviation of ``soc``."""
        return np.sqrt(self._p00)

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: float,
        step_s: float,
    ) -> None:
        """One step over all cells.

        Args:
            voltage_v: measured voltages [V], NaN where unmeasured: those cells are only predicted.
            temperature_c: temperatures [degC], NaN where unknown: taken as 25 degC.
            current_a: mean pack current of the step [A], charge positive. NaN leaves the charge
                as it is, uncertain by what could have flowed, and the voltages unused.
            step_s: time since the last step [s].
        """
        tuning = self.tuning
        cell_current_a = current_a / self._parallel
        current_known = not np.isnan(cell_current_a)
        if not current_known:
            cell_current_a = 0.0  # whatever is made of it carries the uncertainty below
        warm = np.where(np.isnan(temperature_c), 25.0, temperature_c)
        resistance = self._cell.resistance_ohm * np.clip(
            1.0 + tuning.temperature_coefficient * (25.0 - warm), 0.6, 3.0
        )
        self.resistance_ohm = resistance / self._parallel
        ohmic = resistance * tuning.ohmic_share
        self._begin(voltage_v, ohmic, cell_current_a, current_known)
        self._predict(resistance - ohmic, cell_current_a, current_known, step_s)
        if current_known:
            self._correct(voltage_v, ohmic, cell_current_a)

    def _begin(
        self, voltage_v: FloatArray, ohmic: FloatArray, current_a: float, current_known: bool
    ) -> None:
        new = np.isnan(self.soc) & ~np.isnan(voltage_v)
        if not new.any():
            return
        tuning = self.tuning
        start_v = voltage_v - ohmic * current_a
        at_rest = current_known and abs(current_a) <= tuning.rest_current_a
        std = tuning.initial_soc_std_at_rest if at_rest else tuning.initial_soc_std_under_load
        self.soc[new] = np.interp(start_v, self._ocv_points, self._soc_points)[new]
        self.polarisation_v[new] = 0.0
        self._p00[new] = std**2
        self._p01[new] = 0.0
        self._p11[new] = 0.0 if at_rest else 0.02**2

    def _predict(
        self, rc_resistance: FloatArray, current_a: float, current_known: bool, step_s: float
    ) -> None:
        tuning = self.tuning
        gain = step_s / (3600.0 * self._cell.capacity_ah)
        decay = float(np.exp(-step_s / tuning.time_constant_s))
        self.soc += gain * current_a
        self.polarisation_v = decay * self.polarisation_v + (1 - decay) * rc_resistance * current_a
        current_std = tuning.current_std_a if current_known else self._cell.capacity_ah
        self._p00 += (gain * current_std) ** 2 + 1e-12 * step_s
        self._p01 *= decay
        self._p11 = decay**2 * self._p11 + tuning.polarisation_std_v**2 * step_s

    def _correct(self, voltage_v: FloatArray, ohmic: FloatArray, current_a: float) -> None:
        slope = np.interp(self.soc, self._soc_points, self._slopes)
        ocv = np.interp(self.soc, self._soc_points, self._ocv_points)
        error_v = voltage_v - (ocv + self.polarisation_v + ohmic * current_a)
        # With C = [slope, 1]: P C^T and the innovation's variance.
        pc0 = self._p00 * slope + self._p01
        pc1 = self._p01 * slope + self._p11
        variance = slope * pc0 + pc1 + self.tuning.voltage_std_v**2
        usable = ~np.isnan(error_v)
        gain0 = np.where(usable, pc0 / variance, 0.0)
        gain1 = np.where(usable, pc1 / variance, 0.0)
        correction = np.where(usable, error_v, 0.0)
        self.soc = np.clip(self.soc + gain0 * correction, 0.0, 1.0)
        self.polarisation_v += gain1 * correction
        self._p00 = np.maximum(self._p00 - gain0 * pc0, 1e-10)
        self._p01 = self._p01 - gain0 * pc1
        self._p11 = np.maximum(self._p11 - gain1 * pc1, 1e-12)
