# SPDX-License-Identifier: Apache-2.0
"""What the cells and the pack can give and take for the next seconds (state of power). No ROS.

For each horizon the largest constant current at which no cell leaves its bounds until its end:
voltage by the whole equivalent circuit, state of charge, rated current, temperature. The root is
bracketed, not linearised once (compare Plett, Battery Management Systems vol. 2, ch. 6.4), and the
side of the bracket that keeps the bound is taken. In a string the weakest cell decides.

The voltages to hold, the currents and the temperatures are those of ``config/limits``, which
``power_limits`` derates by; so prediction and limit follow the same facts.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit, model_of
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.limits.curves import DeratingCurves

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

HORIZONS_S = (2.0, 10.0, 30.0, np.inf)
CONTINUOUS_CHARGE_S = 1800.0  # continuous use must be possible for this long by the charge

# At the moment of its start a load finds the polarisation of the one before: a bound of its own.
_TIMES_S = np.array([0.0, *HORIZONS_S])[:, np.newaxis]
_CHARGE_TIMES_S = np.minimum(_TIMES_S, CONTINUOUS_CHARGE_S)
_CHARGE, _DISCHARGE = 0, 1
_SIGN = np.array([1.0, -1.0])[:, np.newaxis, np.newaxis]
_ITERATIONS = 10  # to 1 mV also where the voltage is steep, on the side of less power
_SIGMAS = 2.0


class Limit(IntEnum):
    """What ends the power; equal to PackPower.LIMIT_*."""

    RATING = 0
    CELL_VOLTAGE = 1
    TEMPERATURE = 2
    STATE_OF_CHARGE = 3
    UNKNOWN = 4


@dataclass(frozen=True, slots=True)
class CellPower:
    """Per direction (charge, discharge), horizon and cell: (2, horizons, cells), magnitudes."""

    current_a: FloatArray
    limited_by: IntArray


@dataclass(frozen=True, slots=True)
class PackPower:
    """Per direction (charge, discharge) and horizon: (2, horizons), magnitudes."""

    current_a: FloatArray
    power_w: FloatArray  # at the end of the horizon
    cell: IntArray  # that ends it; -1 where nothing is in the circuit
    limited_by: IntArray


class PowerPrediction:
    """Predicts for all cells of a pack in one batch.

    Args:
        cell: description of the cell type.
        curves: its derating.
    """

    def __init__(self, cell: Cell, curves: DeratingCurves) -> None:
        self._cell, self._curves = cell, curves
        self._circuit = build_circuit(cell)
        self._thermal = model_of(cell).thermal
        self._bound_v = np.array([curves.charge.hold_v, curves.discharge.hold_v])
        self._bound_v = self._bound_v[:, np.newaxis, np.newaxis]

    def cells(self, state: CircuitState) -> CellPower:
        """Largest currents of one cell of each group; zero where there is no estimate."""
        known = np.isfinite(
            state.soc
            + state.soc_std
            + state.fast_v
            + state.slow_v
            + state.resistance_factor
            + state.resistance_std
            + state.temperature_c
            + state.capacity_ah
        )
        bounded = _Batch(self, _where_known(state, known, self._cell.capacity_ah))
        highest_a, cause = bounded.bounds_a()
        low_a, high_a = np.zeros_like(highest_a), highest_a.copy()
        low, high = bounded.excess_v(low_a), bounded.excess_v(high_a)
        free = high <= 0.0  # no voltage in the way
        none = low > 0.0  # beyond the bound already
        for _ in range(_ITERATIONS):
            middle_a = high_a - high * (high_a - low_a) / np.maximum(high - low, 1e-12)
            middle_a = np.clip(middle_a, low_a, high_a)
            middle = bounded.excess_v(middle_a)
            inside = middle <= 0.0
            # The end that stays is weighed less, so that both ends close in (N. Anderson, A.
            # Bjorck, BIT 13 (1973) 253).
            high, low = (
                np.where(inside, high * _weight(middle, low), middle),
                np.where(inside, middle, low * _weight(middle, high)),
            )
            high_a = np.where(inside, high_a, middle_a)
            low_a = np.where(inside, middle_a, low_a)
        current_a = np.where(free, highest_a, np.where(none, 0.0, low_a))
        cause = np.where(free, cause, Limit.CELL_VOLTAGE)
        # What cannot be held for a shorter time cannot be held for a longer one.
        first = np.minimum.accumulate(current_a, axis=1)
        for horizon in range(1, current_a.shape[1]):
            tighter = first[:, horizon - 1] < current_a[:, horizon]
            cause[:, horizon] = np.where(tighter, cause[:, horizon - 1], cause[:, horizon])
        current_a, cause = first[:, 1:], cause[:, 1:]
        return CellPower(
            np.where(known, current_a, 0.0), np.where(known, cause, Limit.UNKNOWN).astype(np.int64)
        )

    def end_voltage_v(self, state: CircuitState, current_a: FloatArray) -> FloatArray:
        """Voltage at the end of each horizon (horizons, cells) under currents (cells,) [A].

        All cells must have an estimate.
        """
        both = _Batch(self, state).voltage_v(np.abs(current_a)[np.newaxis, np.newaxis])
        ends: FloatArray = np.where(current_a >= 0.0, both[_CHARGE], both[_DISCHARGE])[1:]
        return ends

    def pack(
        self, state: CircuitState, strings: list[slice], parallel: int, in_circuit: BoolArray
    ) -> PackPower:
        """Power of the pack.

        Args:
            state: of all cell groups.
            strings: cell groups of each string; strings in parallel share the current evenly.
            parallel: cells of a group.
            in_circuit: True for groups that are not bypassed (groups,).
        """
        cells = self.cells(state)
        shape = cells.current_a.shape[:2]
        weakest_a = np.where(in_circuit, cells.current_a, np.inf)
        cell = weakest_a.argmin(axis=2)
        string_a = np.take_along_axis(weakest_a, cell[:, :, np.newaxis], axis=2)[:, :, 0]
        limited_by = np.take_along_axis(cells.limited_by, cell[:, :, np.newaxis], axis=2)[:, :, 0]
        if not in_circuit.any():
            nothing = np.zeros(shape)
            unknown = np.full(shape, Limit.UNKNOWN, np.int64)
            return PackPower(nothing, nothing, np.full(shape, -1), unknown)
        batch = _Batch(self, _where_known(state, np.isfinite(state.soc), self._cell.capacity_ah))
        at_a = np.concatenate([np.zeros((2, 1)), string_a], axis=1)[:, :, np.newaxis]
        voltage_v = np.where(in_circuit, batch.voltage_v(at_a)[:, 1:], 0.0)
        carrying = [string for string in strings if in_circuit[string].any()]
        # Strings in parallel have one voltage: the mean of what they would show.
        pack_v = voltage_v.sum(axis=2) / len(carrying)
        current_a = string_a * parallel * len(carrying)
        return PackPower(current_a, current_a * pack_v, cell, limited_by)


class _Batch:
    """The circuit of all cells under constant currents (2, times, cells)."""

    def __init__(self, prediction: PowerPrediction, state: CircuitState) -> None:
        self._of, self._state = prediction, state
        circuit = prediction._circuit
        self._place = CircuitPlace(circuit, state.temperature_c)
        with np.errstate(divide="ignore"):
            self._left = [np.exp(-_TIMES_S / tau) for tau in (circuit.fast_s, circuit.slow_s)]
        self._fast_ohm = self._place.table(circuit.fast_ohm, state.soc)
        self._slow_ohm = self._place.table(circuit.slow_ohm, state.soc)
        self._ohmic_ohm = self._place.table(circuit.ohmic_ohm, state.soc)
        self._activation_ohm = self._place.table(circuit.activation_ohm, state.soc)
        self._slope_v = np.abs(self._place.table(circuit.slope_v, state.soc))

    def voltage_v(self, current_a: FloatArray) -> FloatArray:
        """Voltage at the end of each time; current as a magnitude."""
        state, circuit = self._state, self._of._circuit
        i = _SIGN * current_a
        moved_ah = i * _CHARGE_TIMES_S / 3600.0
        soc = state.soc + moved_ah / state.capacity_ah
        turned = np.exp(-np.abs(moved_ah) / state.capacity_ah * circuit.hysteresis_rate)
        hysteresis = turned * state.hysteresis + (1.0 - turned) * np.sign(i)
        fast_left, slow_left = self._left
        i0 = circuit.activation_current_a
        over_v = (
            self._ohmic_ohm * i
            + self._activation_ohm * i0 * np.arcsinh(i / i0)
            + fast_left * state.fast_v
            + (1.0 - fast_left) * self._fast_ohm * i
            + slow_left * state.slow_v
            + (1.0 - slow_left) * self._slow_ohm * i
        )
        rest_v = self._place.table(circuit.ocv_v, soc)
        if circuit.hysteresis_v.any():
            rest_v = rest_v + self._place.curve(circuit.hysteresis_v, soc) * hysteresis
        voltage: FloatArray = rest_v + state.resistance_factor * over_v
        return voltage

    def excess_v(self, current_a: FloatArray) -> FloatArray:
        """How far the voltage lies beyond its bound, with a margin for what is not known [V]."""
        state = self._state
        drop_v = state.resistance_factor * self._total_ohm() * current_a
        margin_v = _SIGMAS * np.hypot(self._slope_v * state.soc_std, state.resistance_std * drop_v)
        excess: FloatArray = _SIGN * (self.voltage_v(current_a) - self._of._bound_v) + margin_v
        return excess

    def bounds_a(self) -> tuple[FloatArray, IntArray]:
        """Largest current by rating, charge and temperature, and which of them it is."""
        bounds = np.stack([self._rated_a(), self._warm_a(), self._charge_a()])
        causes = np.array([Limit.RATING, Limit.TEMPERATURE, Limit.STATE_OF_CHARGE])
        which = bounds.argmin(axis=0)
        return bounds.min(axis=0), causes[which]

    def _total_ohm(self) -> FloatArray:
        left = self._left
        total: FloatArray = (
            self._ohmic_ohm
            + self._activation_ohm
            + (1.0 - left[0]) * self._fast_ohm
            + (1.0 - left[1]) * self._slow_ohm
        )
        return total

    def _rated_a(self) -> FloatArray:
        cell, curves, state = self._of._cell, self._of._curves, self._state
        rated = []
        for direction, rated_a in (
            (curves.charge, cell.maximum_charge_current_a),
            (curves.discharge, cell.maximum_discharge_current_a),
        ):
            warmth, soc = direction.temperature_c, direction.soc
            share = np.minimum(
                np.interp(state.temperature_c, warmth.at, warmth.share),
                np.interp(state.soc, soc.at, soc.share),
            )
            rated.append(share * rated_a)
        return np.broadcast_to(np.array(rated)[:, np.newaxis], (2, len(_TIMES_S), len(state.soc)))

    def _warm_a(self) -> FloatArray:
        """Current whose heat brings a cell to where nothing is allowed any more.

        One thermal mass; the surroundings are taken to be as warm as the cell.
        """
        thermal, curves, state = self._of._thermal, self._of._curves, self._state
        settling_s = thermal.heat_capacity_j_per_k * thermal.thermal_resistance_k_per_w
        reached = np.maximum(-np.expm1(-_TIMES_S / settling_s), 1e-9)
        ends_c = np.array([c.temperature_c.at[-1] for c in (curves.charge, curves.discharge)])
        room_k = np.maximum(ends_c[:, np.newaxis, np.newaxis] - state.temperature_c, 0.0)
        heat_w = room_k / (thermal.thermal_resistance_k_per_w * reached)
        current: FloatArray = np.sqrt(heat_w / (state.resistance_factor * self._total_ohm()))
        return current

    def _charge_a(self) -> FloatArray:
        state = self._state
        room_ah = np.array([1.0 - state.soc, state.soc])[:, np.newaxis] * state.capacity_ah
        hours = np.maximum(_CHARGE_TIMES_S, 1e-3) / 3600.0
        current: FloatArray = np.maximum(room_ah, 0.0) / hours
        return current


def _weight(now: FloatArray, before: FloatArray) -> FloatArray:
    """Weight of the end that stays, by how far the other one has come."""
    share = 1.0 - now / np.where(before == 0.0, 1.0, before)
    return np.where(share > 0.0, share, 0.5)


def _where_known(state: CircuitState, known: BoolArray, capacity_ah: float) -> CircuitState:
    """Harmless values where there is no estimate: nothing of them is told."""

    def filled(values: FloatArray, otherwise: float) -> FloatArray:
        return np.where(known, values, otherwise)

    return CircuitState(
        soc=filled(state.soc, 0.5),
        soc_std=filled(state.soc_std, 0.0),
        fast_v=filled(state.fast_v, 0.0),
        slow_v=filled(state.slow_v, 0.0),
        hysteresis=filled(state.hysteresis, 0.0),
        resistance_factor=filled(state.resistance_factor, 1.0),
        resistance_std=filled(state.resistance_std, 0.0),
        temperature_c=filled(state.temperature_c, 25.0),
        capacity_ah=filled(state.capacity_ah, capacity_ah),
    )
