# SPDX-License-Identifier: Apache-2.0
"""Current and power limits from cell voltages, temperatures and charge. No ROS.

Derating is linear over a band before each operating limit, and the result follows falling limits at
once and rising ones with a bounded rate, so that a driver never feels a jump upwards and back.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Cell

FloatArray = npt.NDArray[np.float64]


class LimitedBy(IntEnum):
    """Cause of a limit; equal to PackLimits.LIMIT_*."""

    RATING = 0
    CELL_VOLTAGE = 1
    TEMPERATURE = 2
    STATE_OF_CHARGE = 3
    FAULT = 4
    INPUT_STALE = 5
    PACK_STATE = 6


@dataclass(frozen=True)
class Bands:
    """Where derating begins and ends."""

    charge_cold_c: tuple[float, float] = (0.0, 10.0)  # nothing below, everything above
    discharge_cold_c: tuple[float, float] = (-20.0, -5.0)
    hot_c: tuple[float, float] = (45.0, 55.0)  # everything below, nothing above
    voltage_v: float = 0.10  # band below the maximum and above the minimum voltage
    soc: float = 0.05
    derate_on_fault: float = 0.5
    rise_per_s: float = 0.2  # of the rating


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the pack, magnitudes."""

    charge_current_a: float
    discharge_current_a: float
    limited_by: LimitedBy


NONE_ALLOWED = Limits(0.0, 0.0, LimitedBy.INPUT_STALE)


class PowerLimits:
    """Computes limits with memory for the rise rate."""

    def __init__(self, cell: Cell, parallel: int, bands: Bands | None = None) -> None:
        self._cell = cell
        self._bands = bands or Bands()
        self._rated_charge_a = cell.maximum_charge_current_a * parallel
        self._rated_discharge_a = cell.maximum_discharge_current_a * parallel
        self._charge_ratio = 0.0
        self._discharge_ratio = 0.0
        self._last_ns: int | None = None

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        soc: FloatArray,
        derate: bool,
        forbidden: LimitedBy | None,
        now_ns: int,
    ) -> Limits:
        """Limits now.

        Args:
            voltage_v: cell voltages [V]; a NaN forbids both directions.
            temperature_c: temperatures of all cells [degC]; a NaN forbids both directions.
            soc: states of charge [1]; a NaN only leaves out this criterion.
            derate: protection demands derating.
            forbidden: cause that forbids any current, or ``None``.
            now_ns: time [ns].
        """
        step_s = 0.0 if self._last_ns is None else (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        unmeasured = bool(np.isnan(voltage_v).any() or np.isnan(temperature_c).any())
        if forbidden is not None or unmeasured or voltage_v.size == 0:
            self._charge_ratio = self._discharge_ratio = 0.0
            return Limits(0.0, 0.0, forbidden or LimitedBy.INPUT_STALE)
        charge, discharge = self._ratios(voltage_v, temperature_c, soc, derate)
        rise = self._bands.rise_per_s * step_s
        self._charge_ratio = min(charge[0], self._charge_ratio + rise)
        self._discharge_ratio = min(discharge[0], self._discharge_ratio + rise)
        tighter = min(charge, discharge)
        return Limits(
            self._rated_charge_a * self._charge_ratio,
            self._rated_discharge_a * self._discharge_ratio,
            tighter[1],
        )

    def _ratios(
        self, voltage_v: FloatArray, temperature_c: FloatArray, soc: FloatArray, derate: bool
    ) -> tuple[tuple[float, LimitedBy], tuple[float, LimitedBy]]:
        bands, cell = self._bands, self._cell
        hottest, coldest = float(temperature_c.max()), float(temperature_c.min())
        hot = 1.0 - _ramp(hottest, *bands.hot_c)
        charge = [
            (1.0, LimitedBy.RATING),
            (min(hot, _ramp(coldest, *bands.charge_cold_c)), LimitedBy.TEMPERATURE),
            (
                _ramp(cell.maximum_voltage_v - float(voltage_v.max()), 0.0, bands.voltage_v),
                LimitedBy.CELL_VOLTAGE,
            ),
        ]
        discharge = [
            (1.0, LimitedBy.RATING),
            (min(hot, _ramp(coldest, *bands.discharge_cold_c)), LimitedBy.TEMPERATURE),
            (
                _ramp(float(voltage_v.min()) - cell.minimum_voltage_v, 0.0, bands.voltage_v),
                LimitedBy.CELL_VOLTAGE,
            ),
        ]
        known = soc[~np.isnan(soc)]
        if known.size:
            charge.append((_ramp(1.0 - known.max(), 0.0, bands.soc), LimitedBy.STATE_OF_CHARGE))
            discharge.append((_ramp(known.min(), 0.0, bands.soc), LimitedBy.STATE_OF_CHARGE))
        if derate:
            charge.append((bands.derate_on_fault, LimitedBy.FAULT))
            discharge.append((bands.derate_on_fault, LimitedBy.FAULT))
        return min(charge), min(discharge)


def _ramp(value: float, low: float, high: float) -> float:
    """0 at and below ``low``, 1 at and above ``high``, linear between."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))
