# SPDX-License-Identifier: Apache-2.0
"""Where cells stand in the tables of their circuit, for filters written in NumPy. No ROS."""

import numpy as np
import numpy.typing as npt

from ibms_battery.circuit import Circuit

FloatArray = npt.NDArray[np.float64]

_BELOW_LAST = 1e-6  # of an interval: the last point is reached within it


class CircuitPlace:
    """Tables of ``circuit`` at temperatures (cells,) [degC], held at the ends of the tables."""

    def __init__(self, circuit: Circuit, temperature_c: FloatArray) -> None:
        self._circuit = circuit
        rows, self._columns = circuit.ocv_v.shape
        place = (temperature_c - circuit.first_temperature_c) / circuit.temperature_step_k
        place = np.clip(place, 0.0, rows - 1 - _BELOW_LAST)
        self._row = place.astype(np.intp)
        self._row_share = place - self._row

    def table(self, table: FloatArray, soc: FloatArray) -> FloatArray:
        """Value of a table over temperature and charge at ``soc`` (..., cells), bilinear."""
        column, share = self._column(soc)
        row, row_share = self._row, self._row_share
        low = table[row, column] * (1.0 - share) + table[row, column + 1] * share
        high = table[row + 1, column] * (1.0 - share) + table[row + 1, column + 1] * share
        value: FloatArray = low * (1.0 - row_share) + high * row_share
        return value

    def curve(self, curve: FloatArray, soc: FloatArray) -> FloatArray:
        """Value of a curve over charge at ``soc`` (..., cells), linear."""
        column, share = self._column(soc)
        value: FloatArray = curve[column] * (1.0 - share) + curve[column + 1] * share
        return value

    def drop_v(self, soc: FloatArray, current_a: FloatArray) -> FloatArray:
        """What ``current_a`` (cells,) drops at once [V] (..., cells): ohmic and charge transfer."""
        circuit = self._circuit
        i0 = circuit.activation_current_a
        drop: FloatArray = self.table(circuit.ohmic_ohm, soc) * current_a + self.table(
            circuit.activation_ohm, soc
        ) * i0 * np.arcsinh(current_a / i0)
        return drop

    def typical_ohm(self, table_ohm: FloatArray) -> FloatArray:
        """Mean over the charge of a table of resistances (cells,) [ohm]."""
        mean = table_ohm.mean(axis=1)
        typical: FloatArray = mean[self._row] * (1.0 - self._row_share) + (
            mean[self._row + 1] * self._row_share
        )
        return typical

    def soc_at(
        self, voltage_v: FloatArray, current_a: FloatArray, hysteresis: FloatArray
    ) -> FloatArray:
        """Charge at which the circuit without polarisation shows ``voltage_v`` (cells,).

        By bisection, as the table need not rise everywhere; beyond it, 0 or 1.
        """
        low, high = np.zeros(len(voltage_v)), np.ones(len(voltage_v))
        for _ in range(24):  # to 1e-7
            soc = 0.5 * (low + high)
            shown_v = self.table(self._circuit.ocv_v, soc) + self.drop_v(soc, current_a)
            shown_v += self.curve(self._circuit.hysteresis_v, soc) * hysteresis
            above = shown_v > voltage_v
            high, low = np.where(above, soc, high), np.where(above, low, soc)
        return 0.5 * (low + high)

    def _column(self, soc: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
        place = np.clip(soc * (self._columns - 1), 0.0, self._columns - 1 - _BELOW_LAST)
        column = place.astype(np.intp)
        return column, place - column
