# SPDX-License-Identifier: Apache-2.0
"""Current limits from cell voltages, temperatures, charge and faults. No ROS.

Each direction has the smallest of its derating factors. Voltage derates by looking ahead: the limit
is the current at which the first cell would reach the voltage to hold, ``i + (v_hold - v) / r``
(the voltage limit of G. Plett, IEEE Trans. Vehicular Technology 53 (2004) 1586, applied anew with
each scan). A prediction for the next ten seconds lowers it further where it is lower, so that power
promised for that long and the limit do not contradict. The result falls and rises at bounded rates,
so that a driver never feels a jump.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_edge.limits.curves import DeratingCurves, DirectionCurves

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


@dataclass(frozen=True, slots=True)
class CellsNow:
    """What the limits follow from, all of one scan."""

    voltage_v: FloatArray
    temperature_c: FloatArray
    soc: FloatArray  # NaN where unknown: the criterion is left out
    resistance_ohm: FloatArray  # of each group; NaN where unknown: the rated one counts
    current_a: float  # of the pack, charge positive

    @property
    def is_complete(self) -> bool:
        """Whether all is known that limits need."""
        measured = (self.voltage_v, self.temperature_c, np.array([self.current_a]))
        return all(values.size and not np.isnan(values).any() for values in measured)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Currents of the pack that its cells can stand for some seconds, magnitudes, with causes."""

    charge: tuple[float, LimitedBy]
    discharge: tuple[float, LimitedBy]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the pack, magnitudes."""

    charge_current_a: float
    discharge_current_a: float
    limited_by: LimitedBy


NONE_ALLOWED = Limits(0.0, 0.0, LimitedBy.INPUT_STALE)


@dataclass(slots=True)
class _Ramp:
    """Share of the rating that is allowed now, and what brought it there."""

    share: float = 0.0
    cause: LimitedBy = LimitedBy.INPUT_STALE
    rising: bool = False

    def stop(self, cause: LimitedBy) -> None:
        """Nothing is allowed from now on."""
        self.share, self.cause, self.rising = 0.0, cause, False

    def follow(
        self, target: tuple[float, LimitedBy], step_s: float, curves: DeratingCurves
    ) -> None:
        """Move towards ``target`` at the bounded rates."""
        share, cause = target
        if share <= self.share:
            self.share = max(share, self.share - curves.fall_per_s * step_s)
            self.cause, self.rising = cause, False
            return
        if share >= 1.0 or share > self.share + curves.hysteresis:
            self.rising = True
        if self.rising:
            self.share = min(share, self.share + curves.rise_per_s * step_s)
            # Until it has arrived, what brought it down is still why it is no higher.
            if self.share == share:
                self.cause, self.rising = cause, False


class PowerLimits:
    """Limits of a pack, with memory for the rates.

    Args:
        cell: rated data.
        parallel: cells per group.
        curves: derating of the cell.
    """

    def __init__(self, cell: Cell, parallel: int, curves: DeratingCurves) -> None:
        self._curves = curves
        self._rated_ohm = cell.resistance_ohm / parallel
        self._rated_charge_a = cell.maximum_charge_current_a * parallel
        self._rated_discharge_a = cell.maximum_discharge_current_a * parallel
        self._charge = _Ramp()
        self._discharge = _Ramp()
        self._last_ns: int | None = None

    def forbid(self, cause: LimitedBy, now_ns: int) -> Limits:
        """Nothing may flow, at once."""
        self._last_ns = now_ns
        self._charge.stop(cause)
        self._discharge.stop(cause)
        return self._limits()

    def update(
        self,
        cells: CellsNow,
        derate: bool,
        withdraw: bool,
        now_ns: int,
        prediction: Prediction | None = None,
    ) -> Limits:
        """Limits now.

        Args:
            cells: measured state of all cells, without missing voltages and temperatures.
            derate: protection demands derating.
            withdraw: the pack is about to open: nothing may flow, without a jump.
            now_ns: time [ns].
            prediction: it may only lower the limits; None where there is no fresh one.
        """
        step_s = 0.0 if self._last_ns is None else (now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        charge, discharge = self._targets(cells)
        if prediction is not None:
            for shares, (current_a, cause), rated_a in (
                (charge, prediction.charge, self._rated_charge_a),
                (discharge, prediction.discharge, self._rated_discharge_a),
            ):
                shares.append((min(max(current_a / rated_a, 0.0), 1.0), cause))
        others = []
        if derate:
            others.append((self._curves.fault_share, LimitedBy.FAULT))
        if withdraw:
            others.append((0.0, LimitedBy.PACK_STATE))
        self._charge.follow(min([*charge, *others]), step_s, self._curves)
        self._discharge.follow(min([*discharge, *others]), step_s, self._curves)
        return self._limits()

    def _limits(self) -> Limits:
        tighter = min(self._charge, self._discharge, key=lambda ramp: (ramp.share, ramp.cause))
        return Limits(
            self._rated_charge_a * self._charge.share,
            self._rated_discharge_a * self._discharge.share,
            tighter.cause,
        )

    def _targets(
        self, cells: CellsNow
    ) -> tuple[list[tuple[float, LimitedBy]], list[tuple[float, LimitedBy]]]:
        """Factors of both directions with their causes."""
        curves = self._curves
        coldest, hottest = float(cells.temperature_c.min()), float(cells.temperature_c.max())
        least_ohm = self._rated_ohm * curves.resistance.value(coldest)
        # What the estimator knows of a cell counts where it is more; NaN is less than anything.
        ohm = np.fmax(cells.resistance_ohm, least_ohm)
        per_side = []
        for sign, direction, rated_a in (
            (1.0, curves.charge, self._rated_charge_a),
            (-1.0, curves.discharge, self._rated_discharge_a),
        ):
            room_v = sign * (direction.hold_v - cells.voltage_v)
            ahead_a = sign * cells.current_a + float((room_v / ohm).min())
            over = -float(room_v.min()) / abs(direction.zero_v - direction.hold_v)
            voltage = min(ahead_a / rated_a, 1.0 - max(over, 0.0))
            shares = [
                (1.0, LimitedBy.RATING),
                (min(max(voltage, 0.0), 1.0), LimitedBy.CELL_VOLTAGE),
                (_over_cells(direction, coldest, hottest), LimitedBy.TEMPERATURE),
            ]
            known = cells.soc[~np.isnan(cells.soc)]
            if known.size:
                nearest = float(known.max() if sign > 0 else known.min())
                shares.append((direction.soc.value(nearest), LimitedBy.STATE_OF_CHARGE))
            per_side.append(shares)
        return per_side[0], per_side[1]


def _over_cells(direction: DirectionCurves, coldest_c: float, hottest_c: float) -> float:
    return min(direction.temperature_c.value(coldest_c), direction.temperature_c.value(hottest_c))
