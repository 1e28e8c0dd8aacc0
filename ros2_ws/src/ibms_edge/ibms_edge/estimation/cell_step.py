# SPDX-License-Identifier: Apache-2.0
"""One step of the extended Kalman filter of a cell, once for numbers and for arrays. No ROS.

The states of a cell, and the model with the current positive when charging (Plett, Battery
Management Systems vol. 2, ch. 3; charge transfer after Butler and Volmer with equal coefficients;
slow states by augmentation, Simon, Optimal State Estimation, ch. 7.2):

    i = measured - bias
    soc'  = i / (3600 Q capacity)
    fast' = (R_fast i - fast) / tau_fast, slow' likewise
    v = OCV(soc, T) + M(soc) h + resistance (R0 i + R_act i0 asinh(i / i0) + fast + slow)

with all tables at T = measured + temperature: what the sensor is off, or the core is warmer than
the surface. Voltages are trusted the less the more drops at the series resistance, which no circuit
gets right at high currents: so the moments of little current decide.

All voltages share an offset, of the sensor and of the open-circuit voltage, that no averaging
removes and no voltage tells. It is not estimated, but its variance and its covariances with the
states are kept, so that neither gains nor sigma forget it (S. F. Schmidt, Advances in Control
Systems 3 (1966) 293).

All functions take numbers, compiled and called cell by cell, or arrays (cells,), where ``x``,
``p``, ``work`` and ``given`` have one row per state, pair of states or quantity. In array mode
``x[SOC]`` is a view: nothing is written before all that needs the old value has been computed. One
file, as the cache of numba looks only at the file of the function that is called from outside.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ibms_battery.circuit import Circuit

try:
    _NUMBA: Any = importlib.import_module("numba")
    _EXTENDING: Any = importlib.import_module("numba.extending")
except ImportError:  # the same code runs, slower
    _NUMBA = None

Function = TypeVar("Function", bound=Callable[..., Any])


def _compilable(function: Function) -> Function:
    """Let compiled code call ``function``, which stays as it is for all other code."""
    if _NUMBA is None:
        return function
    # In line, the compiler sees that cells lie side by side and works on eight of them at once.
    registered: Function = _EXTENDING.register_jitable(forceinline=True)(function)
    return registered


FloatArray = npt.NDArray[np.float64]

SOC, FAST, SLOW, BIAS, RESISTANCE, TEMPERATURE, CAPACITY = range(7)
STATES = 7
HYSTERESIS = STATES  # row of the states that has no variance
ROWS = STATES + 1
OFFSET = STATES  # of the voltage, beside the states in the covariance
WIDTH = STATES + 1  # of the covariance
PAIRS = WIDTH * (WIDTH + 1) // 2

_MOVING = (SOC, FAST, SLOW)
_CONSTANT = (BIAS, RESISTANCE, TEMPERATURE, CAPACITY, OFFSET)

# What is looked up for a step: rows of ``given``.
(
    _TEMPERATURE_PLACE,
    _COLD_GROWTH,
    _FAST_OHM,
    _SLOW_OHM,
    _FAST_OHM_PER_K,
    _SLOW_OHM_PER_K,
    _SOC_NOISE,
    _POLARISATION_NOISE,
    _OCV_V,
    _SLOPE_V,
    _OCV_V_PER_K,
    _DROP_V,
    _DROP_OHM,
    _DROP_V_PER_K,
    _VARIANCE,
) = range(15)
_GIVEN = 15
_BLOCK = 32  # cells that are worked on side by side: states and all else of them fit the L1 cache

_HIGHEST_SOC = 1.05  # a cell may be charged beyond what counts as full
_LOWEST_RESISTANCE, _HIGHEST_RESISTANCE = 0.2, 5.0
_LOWEST_CAPACITY, _HIGHEST_CAPACITY = 0.3, 1.3
_LARGEST_OFFSET_K = 15.0


def pair(row: int, column: int) -> int:
    """Place of two states, or of one and the offset, in the upper triangle of the covariance."""
    low, high = min(row, column), max(row, column)
    return low * WIDTH - low * (low - 1) // 2 + high - low


_PLACE = np.array([[pair(row, column) for column in range(WIDTH)] for row in range(WIDTH)])


class Noise(NamedTuple):
    """Standard deviations. Those of voltages grow in the cold; those of states hold per sqrt(s)."""

    voltage_v: float
    drop_share: float  # of the drop at the series resistance, added to voltage_v
    polarisation_v: float
    cold_growth_per_k: float
    bias_a: float
    resistance: float
    temperature_k: float
    capacity: float
    gate: float


@_compilable
def predict(
    x: Any,
    p: Any,
    work: Any,
    given: Any,
    current_a: Any,
    charge_gain: Any,
    fast_decay: Any,
    slow_decay: Any,
    noise: Noise,
    step_s: float,
) -> None:
    """Move states and covariance over one step.

    Args:
        x: states, changed in place.
        p: upper triangle of their covariance, with the offset's, changed in place.
        work: (3, WIDTH) or (3, WIDTH, cells), overwritten.
        given: resistances of the RC pairs, their derivatives by the temperature, and the variances
            added to the state of charge and to each polarisation.
        current_a: measured; the bias is a state.
        charge_gain: step over 3600 s/h and rated capacity [1/A].
        fast_decay: exp(-step / time constant).
        slow_decay: likewise.
        noise: of the slow states.
        step_s: time since the last step [s].
    """
    i = current_a - x[BIAS]
    capacity = x[CAPACITY]
    soc_by_bias = -charge_gain / capacity
    soc_by_capacity = soc_by_bias * i / capacity
    fast_gain = (1.0 - fast_decay) * given[_FAST_OHM]
    slow_gain = (1.0 - slow_decay) * given[_SLOW_OHM]
    fast_by_k = (1.0 - fast_decay) * given[_FAST_OHM_PER_K] * i
    slow_by_k = (1.0 - slow_decay) * given[_SLOW_OHM_PER_K] * i

    # work = F P, rows of the moving states
    for state in range(WIDTH):
        work[SOC, state] = (
            p[_PLACE[SOC, state]]
            + soc_by_bias * p[_PLACE[BIAS, state]]
            + soc_by_capacity * p[_PLACE[CAPACITY, state]]
        )
        work[FAST, state] = (
            fast_decay * p[_PLACE[FAST, state]]
            - fast_gain * p[_PLACE[BIAS, state]]
            + fast_by_k * p[_PLACE[TEMPERATURE, state]]
        )
        work[SLOW, state] = (
            slow_decay * p[_PLACE[SLOW, state]]
            - slow_gain * p[_PLACE[BIAS, state]]
            + slow_by_k * p[_PLACE[TEMPERATURE, state]]
        )
    for row in _MOVING:
        for state in _CONSTANT:
            p[_PLACE[row, state]] = work[row, state]
    p[_PLACE[SOC, SOC]] = (
        work[SOC, SOC]
        + soc_by_bias * work[SOC, BIAS]
        + soc_by_capacity * work[SOC, CAPACITY]
        + given[_SOC_NOISE]
    )
    p[_PLACE[SOC, FAST]] = (
        fast_decay * work[SOC, FAST]
        - fast_gain * work[SOC, BIAS]
        + fast_by_k * work[SOC, TEMPERATURE]
    )
    p[_PLACE[SOC, SLOW]] = (
        slow_decay * work[SOC, SLOW]
        - slow_gain * work[SOC, BIAS]
        + slow_by_k * work[SOC, TEMPERATURE]
    )
    p[_PLACE[FAST, FAST]] = (
        fast_decay * work[FAST, FAST]
        - fast_gain * work[FAST, BIAS]
        + fast_by_k * work[FAST, TEMPERATURE]
        + given[_POLARISATION_NOISE]
    )
    p[_PLACE[FAST, SLOW]] = (
        slow_decay * work[FAST, SLOW]
        - slow_gain * work[FAST, BIAS]
        + slow_by_k * work[FAST, TEMPERATURE]
    )
    p[_PLACE[SLOW, SLOW]] = (
        slow_decay * work[SLOW, SLOW]
        - slow_gain * work[SLOW, BIAS]
        + slow_by_k * work[SLOW, TEMPERATURE]
        + given[_POLARISATION_NOISE]
    )
    p[_PLACE[BIAS, BIAS]] = p[_PLACE[BIAS, BIAS]] + noise.bias_a * noise.bias_a * step_s
    p[_PLACE[RESISTANCE, RESISTANCE]] = (
        p[_PLACE[RESISTANCE, RESISTANCE]] + noise.resistance * noise.resistance * step_s
    )
    p[_PLACE[TEMPERATURE, TEMPERATURE]] = (
        p[_PLACE[TEMPERATURE, TEMPERATURE]] + noise.temperature_k * noise.temperature_k * step_s
    )
    p[_PLACE[CAPACITY, CAPACITY]] = (
        p[_PLACE[CAPACITY, CAPACITY]] + noise.capacity * noise.capacity * step_s
    )

    x[SOC] = x[SOC] - soc_by_bias * i
    x[FAST] = fast_decay * x[FAST] + fast_gain * i
    x[SLOW] = slow_decay * x[SLOW] + slow_gain * i


@_compilable
def correct(x: Any, p: Any, work: Any, given: Any, voltage_v: Any, usable: Any, gate: float) -> Any:
    """Correct states and covariance by one voltage.

    Args:
        x: states, changed in place.
        p: upper triangle of their covariance, with the offset's, changed in place.
        work: (3, WIDTH) or (3, WIDTH, cells), overwritten.
        given: open-circuit voltage with hysteresis at the predicted state and what the current
            drops at once with a resistance factor of 1, both with their derivatives, and the
            variance of a single voltage.
        voltage_v: measured; any finite number where ``usable`` is 0.
        usable: 1 where the voltage may be used, else 0.
        gate: an innovation whose square is more than this many times its variance is taken as that
            much less certain (a Huber weight), so that an outlier moves the state by no more than
            one at the gate would.

    Returns:
        Innovation [V] and its square over its variance [1].
    """
    slope_v = given[_SLOPE_V]
    factor = x[RESISTANCE]
    over_v = given[_DROP_V] + x[FAST] + x[SLOW]
    by_bias = -factor * given[_DROP_OHM]
    by_k = given[_OCV_V_PER_K] + factor * given[_DROP_V_PER_K]
    innovation_v = (voltage_v - (given[_OCV_V] + factor * over_v)) * usable
    for state in range(WIDTH):
        work[0, state] = (
            p[_PLACE[state, SOC]] * slope_v
            + (p[_PLACE[state, FAST]] + p[_PLACE[state, SLOW]]) * factor
            + p[_PLACE[state, BIAS]] * by_bias
            + p[_PLACE[state, RESISTANCE]] * over_v
            + p[_PLACE[state, TEMPERATURE]] * by_k
            + p[_PLACE[state, OFFSET]]
        )
    expected = (
        work[0, SOC] * slope_v
        + (work[0, FAST] + work[0, SLOW]) * factor
        + work[0, BIAS] * by_bias
        + work[0, RESISTANCE] * over_v
        + work[0, TEMPERATURE] * by_k
        + work[0, OFFSET]
        + given[_VARIANCE]
    )
    square = innovation_v * innovation_v
    weight = usable / np.maximum(expected, square / gate)
    gain = weight * innovation_v
    for row in range(STATES):
        x[row] = x[row] + work[0, row] * gain
        for column in range(row, WIDTH):
            place = _PLACE[row, column]
            p[place] = p[place] - work[0, row] * work[0, column] * weight
    return innovation_v, square / expected


@_compilable
def look_up_prediction(
    x: Any,
    given: Any,
    current_a: Any,
    current_std_a: Any,
    temperature_c: Any,
    step_s: float,
    circuit: Circuit,
    noise: Noise,
) -> None:
    """Fill what ``predict`` is given, and move the hysteresis.

    Args:
        x: states, (ROWS,) or (ROWS, cells); the hysteresis is changed in place.
        given: quantities of ``predict``, overwritten.
        current_a: mean of the step per cell [A], charge positive.
        current_std_a: uncertainty of it beyond the bias [A].
        temperature_c: measured [degC].
        step_s: time since the last step [s].
        circuit: of the cell type.
        noise: of the cell type.
    """
    rows, columns = circuit.ocv_v.shape
    place = (
        temperature_c + x[TEMPERATURE] - circuit.first_temperature_c
    ) / circuit.temperature_step_k
    place = np.minimum(np.maximum(place, 0.0), rows - 1.000001)
    row = np.intp(place)
    row_share = place - row
    column, column_share = _column(x[SOC], columns)
    charge_gain = step_s / (3600.0 * circuit.capacity_ah)
    growth = np.exp(2.0 * noise.cold_growth_per_k * np.maximum(25.0 - temperature_c, 0.0))
    moved = np.exp(-np.abs(current_a) * charge_gain * circuit.hysteresis_rate)
    x[HYSTERESIS] = moved * x[HYSTERESIS] + (1.0 - moved) * np.sign(current_a)
    fast_ohm, fast_rise = _look_up(circuit.fast_ohm, row, row_share, column, column_share)
    slow_ohm, slow_rise = _look_up(circuit.slow_ohm, row, row_share, column, column_share)
    current_charge = charge_gain * current_std_a
    per_k = 1.0 / circuit.temperature_step_k
    given[_TEMPERATURE_PLACE] = place
    given[_COLD_GROWTH] = growth
    given[_FAST_OHM] = fast_ohm
    given[_SLOW_OHM] = slow_ohm
    given[_FAST_OHM_PER_K] = fast_rise * per_k
    given[_SLOW_OHM_PER_K] = slow_rise * per_k
    given[_SOC_NOISE] = current_charge * current_charge
    given[_POLARISATION_NOISE] = noise.polarisation_v * noise.polarisation_v * step_s * growth


@_compilable
def look_up_correction(x: Any, given: Any, current_a: Any, circuit: Circuit, noise: Noise) -> None:
    """Fill what ``correct`` is given, at the predicted states.

    Args:
        x: states, (ROWS,) or (ROWS, cells).
        given: place and growth from ``look_up_prediction``; quantities of ``correct``, overwritten.
        current_a: mean of the step per cell [A], charge positive.
        circuit: of the cell type.
        noise: of the cell type.
    """
    row = np.intp(given[_TEMPERATURE_PLACE])
    row_share = given[_TEMPERATURE_PLACE] - row
    column, column_share = _column(x[SOC], circuit.ocv_v.shape[1])
    per_k = 1.0 / circuit.temperature_step_k
    ohmic_ohm, ohmic_rise = _look_up(circuit.ohmic_ohm, row, row_share, column, column_share)
    activation_ohm, activation_rise = _look_up(
        circuit.activation_ohm, row, row_share, column, column_share
    )
    ocv_v, ocv_rise = _look_up(circuit.ocv_v, row, row_share, column, column_share)
    slope_v, _ = _look_up(circuit.slope_v, row, row_share, column, column_share)
    unbiased_a = current_a - x[BIAS]
    share = unbiased_a / circuit.activation_current_a
    root = np.sqrt(1.0 + share * share)
    # This is asinh, which itself takes longer; near zero it is off by no more than 1e-16.
    curved_a = circuit.activation_current_a * np.copysign(np.log(np.abs(share) + root), share)
    drop_v = ohmic_ohm * unbiased_a + activation_ohm * curved_a
    hysteresis_v = circuit.hysteresis_v[column]
    hysteresis_v = hysteresis_v + column_share * (circuit.hysteresis_v[column + 1] - hysteresis_v)
    uncertain_v = noise.drop_share * drop_v
    given[_OCV_V] = ocv_v + hysteresis_v * x[HYSTERESIS]
    given[_SLOPE_V] = slope_v
    given[_OCV_V_PER_K] = ocv_rise * per_k
    given[_DROP_V] = drop_v
    given[_DROP_OHM] = ohmic_ohm + activation_ohm / root
    given[_DROP_V_PER_K] = (ohmic_rise * unbiased_a + activation_rise * curved_a) * per_k
    given[_VARIANCE] = (
        noise.voltage_v * noise.voltage_v * given[_COLD_GROWTH] + uncertain_v * uncertain_v
    )


@_compilable
def bound(x: Any) -> None:
    """Keep states where a cell can be."""
    x[SOC] = np.minimum(np.maximum(x[SOC], 0.0), _HIGHEST_SOC)
    x[RESISTANCE] = np.minimum(np.maximum(x[RESISTANCE], _LOWEST_RESISTANCE), _HIGHEST_RESISTANCE)
    x[TEMPERATURE] = np.minimum(np.maximum(x[TEMPERATURE], -_LARGEST_OFFSET_K), _LARGEST_OFFSET_K)
    x[CAPACITY] = np.minimum(np.maximum(x[CAPACITY], _LOWEST_CAPACITY), _HIGHEST_CAPACITY)


@_compilable
def _column(soc: Any, columns: int) -> Any:
    place = np.minimum(np.maximum(soc, 0.0) * (columns - 1), columns - 1.000001)
    column = np.intp(place)
    return column, place - column


@_compilable
def _look_up(table: FloatArray, row: Any, row_share: Any, column: Any, column_share: Any) -> Any:
    """Value, and what it gains from one row to the next."""
    low = table[row, column]
    low = low + column_share * (table[row, column + 1] - low)
    high = table[row + 1, column]
    high = high + column_share * (table[row + 1, column + 1] - high)
    return low + row_share * (high - low), high - low


def step_cells(
    x: FloatArray,
    p: FloatArray,
    work: FloatArray,
    voltage_v: FloatArray,
    usable: FloatArray,
    current_a: FloatArray,
    current_std_a: FloatArray,
    temperature_c: FloatArray,
    innovation_v: FloatArray,
    ratio: FloatArray,
    step_s: float,
    circuit: Circuit,
    noise: Noise,
) -> None:
    """Move all cells over one step and correct them by the measured voltages.

    Args:
        x: states, (ROWS, cells), changed in place.
        p: upper triangle of their covariance, (PAIRS, cells), changed in place.
        work: (3, WIDTH, cells), may be overwritten.
        voltage_v: measured [V] (cells,); any finite number where ``usable`` is 0.
        usable: 1 where the voltage may be used, else 0.
        current_a: mean of the step per cell [A], charge positive.
        current_std_a: uncertainty of it beyond the bias [A].
        temperature_c: measured [degC].
        innovation_v: overwritten [V].
        ratio: its square over its variance, overwritten [1].
        step_s: time since the last step [s].
        circuit: of the cell type.
        noise: of the cell type.
    """
    given = np.empty((_GIVEN, x.shape[1]))
    charge_gain = step_s / (3600.0 * circuit.capacity_ah)
    fast_decay, slow_decay = math.exp(-step_s / circuit.fast_s), math.exp(-step_s / circuit.slow_s)
    look_up_prediction(x, given, current_a, current_std_a, temperature_c, step_s, circuit, noise)
    predict(x, p, work, given, current_a, charge_gain, fast_decay, slow_decay, noise, step_s)
    look_up_correction(x, given, current_a, circuit, noise)
    innovation_v[:], ratio[:] = correct(x, p, work, given, voltage_v, usable, noise.gate)
    bound(x)


def _in_blocks(
    x: Any,
    p: Any,
    _work: Any,  # compiled code has its own, of one block
    voltage_v: Any,
    usable: Any,
    current_a: Any,
    current_std_a: Any,
    temperature_c: Any,
    innovation_v: Any,
    ratio: Any,
    step_s: Any,
    circuit: Any,
    noise: Any,
) -> None:
    """``step_cells``, compiled: blocks of constant size are copied to where they are worked on.

    Only so does the compiler know that rows do not overlap, and the loops over the covariance,
    which have no branch and call nothing, become vector instructions.
    """
    cells = x.shape[1]
    block_x, block_p = np.ones((ROWS, _BLOCK)), np.zeros((PAIRS, _BLOCK))
    block_work, given = np.zeros((3, WIDTH, _BLOCK)), np.zeros((_GIVEN, _BLOCK))
    volts, use, amperes = np.zeros(_BLOCK), np.zeros(_BLOCK), np.zeros(_BLOCK)
    innovations, ratios = np.zeros(_BLOCK), np.zeros(_BLOCK)
    charge_gain = step_s / (3600.0 * circuit.capacity_ah)
    fast_decay, slow_decay = math.exp(-step_s / circuit.fast_s), math.exp(-step_s / circuit.slow_s)
    for first in range(0, cells, _BLOCK):
        count = min(_BLOCK, cells - first)
        # Loops of known length, and not in a function, else copying takes longer than the rest.
        if count == _BLOCK:
            for row in range(ROWS):
                for c in range(_BLOCK):
                    block_x[row, c] = x[row, first + c]
            for row in range(PAIRS):
                for c in range(_BLOCK):
                    block_p[row, c] = p[row, first + c]
        else:
            for row in range(ROWS):
                for c in range(count):
                    block_x[row, c] = x[row, first + c]
            for row in range(PAIRS):
                for c in range(count):
                    block_p[row, c] = p[row, first + c]
        for c in range(count):
            cell = first + c
            volts[c], use[c], amperes[c] = voltage_v[cell], usable[cell], current_a[cell]
            look_up_prediction(
                block_x[:, c],
                given[:, c],
                current_a[cell],
                current_std_a[cell],
                temperature_c[cell],
                step_s,
                circuit,
                noise,
            )
        for c in range(_BLOCK):
            predict(
                block_x[:, c],
                block_p[:, c],
                block_work[:, :, c],
                given[:, c],
                amperes[c],
                charge_gain,
                fast_decay,
                slow_decay,
                noise,
                step_s,
            )
        for c in range(count):
            look_up_correction(block_x[:, c], given[:, c], amperes[c], circuit, noise)
        for c in range(_BLOCK):
            innovations[c], ratios[c] = correct(
                block_x[:, c],
                block_p[:, c],
                block_work[:, :, c],
                given[:, c],
                volts[c],
                use[c],
                noise.gate,
            )
            bound(block_x[:, c])
        if count == _BLOCK:
            for row in range(ROWS):
                for c in range(_BLOCK):
                    x[row, first + c] = block_x[row, c]
            for row in range(PAIRS):
                for c in range(_BLOCK):
                    p[row, first + c] = block_p[row, c]
        else:
            for row in range(ROWS):
                for c in range(count):
                    x[row, first + c] = block_x[row, c]
            for row in range(PAIRS):
                for c in range(count):
                    p[row, first + c] = block_p[row, c]
        for c in range(count):
            innovation_v[first + c], ratio[first + c] = innovations[c], ratios[c]


compiled_step_cells: Callable[..., None] | None = (
    None if _NUMBA is None else _NUMBA.njit(cache=True, error_model="numpy")(_in_blocks)
)
