# SPDX-License-Identifier: Apache-2.0
"""One step of the extended Kalman filter of a cell, once for numbers and for arrays. No ROS.

The states of a cell, and the model with the current positive when charging (Plett, Battery
Management Systems vol. 2, ch. 3; charge transfer after Butler and Volmer with equal coefficients;
slow states and the first-order Gauss-Markov error by augmentation, Simon, Optimal State Estimation,
ch. 7.2):

    i = measured - bias
    soc'  = i / (3600 Q capacity)
    fast' = (R_fast i - fast) / tau_fast, slow' likewise
    error' = -error / tau_error + noise
    v = OCV(soc, T) + M(soc) h + resistance (R0 i + R_act i0 asinh(i / i0) + fast + slow) + error

All functions take numbers, compiled and called cell by cell, or arrays (cells,), where ``x``,
``p`` and ``work`` have one row per state or pair of states. In array mode ``x[SOC]`` is a view:
nothing is written before all that needs the old value has been computed. One file, as the cache of
numba looks only at the file of the function that is called from outside.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ibms_battery.circuit import Circuit

try:
    from numba import njit
    from numba.extending import register_jitable
except ImportError:  # the same code runs, slower
    njit = None

    def register_jitable(function: Any) -> Any:
        """Leave the function as it is."""
        return function


FloatArray = npt.NDArray[np.float64]

SOC, FAST, SLOW, BIAS, RESISTANCE, ERROR, CAPACITY = range(7)
STATES = 7
HYSTERESIS = STATES  # row of the states that has no variance
ROWS = STATES + 1
PAIRS = STATES * (STATES + 1) // 2

_HIGHEST_SOC = 1.05  # a cell may be charged beyond what counts as full
_LOWEST_RESISTANCE, _HIGHEST_RESISTANCE = 0.2, 5.0
_LOWEST_CAPACITY, _HIGHEST_CAPACITY = 0.3, 1.3


def pair(row: int, column: int) -> int:
    """Place of two states in the upper triangle of the covariance."""
    low, high = min(row, column), max(row, column)
    return low * STATES - low * (low - 1) // 2 + high - low


_PLACE = np.array([[pair(row, column) for column in range(STATES)] for row in range(STATES)])

_ZZ, _ZF, _ZS, _ZB = pair(SOC, SOC), pair(SOC, FAST), pair(SOC, SLOW), pair(SOC, BIAS)
_ZK, _ZE, _ZC = pair(SOC, RESISTANCE), pair(SOC, ERROR), pair(SOC, CAPACITY)
_FF, _FS, _FB = pair(FAST, FAST), pair(FAST, SLOW), pair(FAST, BIAS)
_FK, _FE, _FC = pair(FAST, RESISTANCE), pair(FAST, ERROR), pair(FAST, CAPACITY)
_SS, _SB, _SK = pair(SLOW, SLOW), pair(SLOW, BIAS), pair(SLOW, RESISTANCE)
_SE, _SC = pair(SLOW, ERROR), pair(SLOW, CAPACITY)
_BB, _BK, _BE, _BC = (
    pair(BIAS, BIAS),
    pair(BIAS, RESISTANCE),
    pair(BIAS, ERROR),
    pair(BIAS, CAPACITY),
)
_KK, _KE, _KC = pair(RESISTANCE, RESISTANCE), pair(RESISTANCE, ERROR), pair(RESISTANCE, CAPACITY)
_EE, _EC, _CC = pair(ERROR, ERROR), pair(ERROR, CAPACITY), pair(CAPACITY, CAPACITY)


class Noise(NamedTuple):
    """Standard deviations. Those of voltages grow in the cold; those of states hold per sqrt(s)."""

    voltage_v: float
    drop_share: float  # of the drop at the series resistance, added to voltage_v
    model_v: float
    model_rate_per_s: float
    polarisation_v: float
    cold_growth_per_k: float
    bias_a: float
    resistance: float
    capacity: float
    gate: float


@register_jitable
def predict(
    x: Any,
    p: Any,
    current_a: Any,
    charge_gain: Any,
    fast_decay: Any,
    slow_decay: Any,
    error_decay: Any,
    fast_ohm: Any,
    slow_ohm: Any,
    noise: Any,
) -> None:
    """Move states and covariance over one step.

    Args:
        x: states, changed in place.
        p: upper triangle of their covariance, changed in place.
        current_a: measured, less nothing: the bias is a state.
        charge_gain: step over 3600 s/h and rated capacity [1/A].
        fast_decay: exp(-step / time constant).
        slow_decay: likewise.
        error_decay: likewise.
        fast_ohm: resistance of the fast RC pair.
        slow_ohm: of the slow one.
        noise: variances added in this step, (STATES,) of numbers or arrays.
    """
    i = current_a - x[BIAS]
    capacity = x[CAPACITY]
    fast_gain = (1.0 - fast_decay) * fast_ohm
    slow_gain = (1.0 - slow_decay) * slow_ohm
    soc_by_bias = -charge_gain / capacity
    soc_by_capacity = soc_by_bias * i / capacity

    # Rows of F P and F P F', old values on the right.
    zb = p[_ZB] + soc_by_bias * p[_BB] + soc_by_capacity * p[_BC]
    zc = p[_ZC] + soc_by_bias * p[_BC] + soc_by_capacity * p[_CC]
    fb = fast_decay * p[_FB] - fast_gain * p[_BB]
    sb = slow_decay * p[_SB] - slow_gain * p[_BB]
    zz = p[_ZZ] + soc_by_bias * (p[_ZB] + zb) + soc_by_capacity * (p[_ZC] + zc)
    zf = fast_decay * (p[_ZF] + soc_by_bias * p[_FB] + soc_by_capacity * p[_FC]) - fast_gain * zb
    zs = slow_decay * (p[_ZS] + soc_by_bias * p[_SB] + soc_by_capacity * p[_SC]) - slow_gain * zb
    ff = fast_decay * (fast_decay * p[_FF] - fast_gain * p[_FB]) - fast_gain * fb
    ss = slow_decay * (slow_decay * p[_SS] - slow_gain * p[_SB]) - slow_gain * sb
    fs = fast_decay * (slow_decay * p[_FS] - slow_gain * p[_FB]) - fast_gain * sb
    zk = p[_ZK] + soc_by_bias * p[_BK] + soc_by_capacity * p[_KC]
    ze = error_decay * (p[_ZE] + soc_by_bias * p[_BE] + soc_by_capacity * p[_EC])
    fk = fast_decay * p[_FK] - fast_gain * p[_BK]
    fe = error_decay * (fast_decay * p[_FE] - fast_gain * p[_BE])
    fc = fast_decay * p[_FC] - fast_gain * p[_BC]
    sk = slow_decay * p[_SK] - slow_gain * p[_BK]
    se = error_decay * (slow_decay * p[_SE] - slow_gain * p[_BE])
    sc = slow_decay * p[_SC] - slow_gain * p[_BC]

    p[_ZZ] = zz + noise[SOC]
    p[_ZF] = zf
    p[_ZS] = zs
    p[_ZB] = zb
    p[_ZK] = zk
    p[_ZE] = ze
    p[_ZC] = zc
    p[_FF] = ff + noise[FAST]
    p[_FS] = fs
    p[_FB] = fb
    p[_FK] = fk
    p[_FE] = fe
    p[_FC] = fc
    p[_SS] = ss + noise[SLOW]
    p[_SB] = sb
    p[_SK] = sk
    p[_SE] = se
    p[_SC] = sc
    p[_BB] = p[_BB] + noise[BIAS]
    p[_BE] = error_decay * p[_BE]
    p[_KK] = p[_KK] + noise[RESISTANCE]
    p[_KE] = error_decay * p[_KE]
    p[_EE] = error_decay * error_decay * p[_EE] + noise[ERROR]
    p[_EC] = error_decay * p[_EC]
    p[_CC] = p[_CC] + noise[CAPACITY]

    x[SOC] = x[SOC] - soc_by_bias * i
    x[FAST] = fast_decay * x[FAST] + fast_gain * i
    x[SLOW] = slow_decay * x[SLOW] + slow_gain * i
    x[ERROR] = error_decay * x[ERROR]


@register_jitable
def correct(
    x: Any,
    p: Any,
    work: Any,
    voltage_v: Any,
    usable: Any,
    ocv_v: Any,
    slope_v: Any,
    drop_v: Any,
    drop_ohm: Any,
    variance: Any,
    gate: float,
) -> Any:
    """Correct states and covariance by one voltage.

    Args:
        x: states, changed in place.
        p: upper triangle of their covariance, changed in place.
        work: (STATES,) or (STATES, cells), overwritten.
        voltage_v: measured; any finite number where ``usable`` is 0.
        usable: 1 where the voltage may be used, else 0.
        ocv_v: open-circuit voltage with hysteresis, at the predicted state.
        slope_v: its derivative by the state of charge.
        drop_v: what the current drops at once, with a resistance factor of 1.
        drop_ohm: its derivative by the current.
        variance: of a single voltage [V^2].
        gate: an innovation whose square is more than this many times its variance is taken as that
            much less certain (a Huber weight), so that an outlier moves the state by no more than
            one at the gate would.

    Returns:
        Innovation [V] and its square over its variance [1].
    """
    factor = x[RESISTANCE]
    over_v = drop_v + x[FAST] + x[SLOW]
    by_bias = -factor * drop_ohm
    innovation_v = (voltage_v - (ocv_v + factor * over_v + x[ERROR])) * usable
    for state in range(STATES):
        work[state] = (
            p[_PLACE[state, SOC]] * slope_v
            + (p[_PLACE[state, FAST]] + p[_PLACE[state, SLOW]]) * factor
            + p[_PLACE[state, BIAS]] * by_bias
            + p[_PLACE[state, RESISTANCE]] * over_v
            + p[_PLACE[state, ERROR]]
        )
    expected = (
        work[SOC] * slope_v
        + (work[FAST] + work[SLOW]) * factor
        + work[BIAS] * by_bias
        + work[RESISTANCE] * over_v
        + work[ERROR]
        + variance
    )
    square = innovation_v * innovation_v
    weight = usable / np.maximum(expected, square / gate)
    gain = weight * innovation_v
    for row in range(STATES):
        x[row] = x[row] + work[row] * gain
        for column in range(row, STATES):
            place = _PLACE[row, column]
            p[place] = p[place] - work[row] * work[column] * weight
    return innovation_v, square / expected


@register_jitable
def step_cell(
    x: Any,
    p: Any,
    work: Any,
    voltage_v: Any,
    usable: Any,
    current_a: Any,
    current_std_a: Any,
    temperature_c: Any,
    step_s: float,
    circuit: Circuit,
    noise: Noise,
) -> Any:
    """Move one cell, or all of them, over one step and correct by the measured voltage.

    Args:
        x: states, (ROWS,) or (ROWS, cells), changed in place.
        p: upper triangle of their covariance, (PAIRS,) or (PAIRS, cells), changed in place.
        work: (2 * STATES,) or (2 * STATES, cells), overwritten.
        voltage_v: measured [V]; any finite number where ``usable`` is 0.
        usable: 1 where the voltage may be used, else 0.
        current_a: mean of the step per cell [A], charge positive.
        current_std_a: uncertainty of it beyond the bias [A].
        temperature_c: of the cell [degC].
        step_s: time since the last step [s].
        circuit: of the cell type.
        noise: of the cell type.

    Returns:
        Innovation [V] and its square over its variance [1].
    """
    rows, columns = circuit.ocv_v.shape
    place = (temperature_c - circuit.first_temperature_c) / circuit.temperature_step_k
    place = np.minimum(np.maximum(place, 0.0), rows - 1.000001)
    row = np.intp(place)
    row_share = place - row
    column, column_share = _column(x[SOC], columns)
    charge_gain = step_s / (3600.0 * circuit.capacity_ah)
    growth = np.exp(noise.cold_growth_per_k * np.maximum(25.0 - temperature_c, 0.0))
    growth = growth * growth
    error_decay = math.exp(-step_s * noise.model_rate_per_s)

    current_charge = charge_gain * current_std_a
    work[SOC] = current_charge * current_charge
    work[FAST] = noise.polarisation_v * noise.polarisation_v * step_s * growth
    work[SLOW] = work[FAST]
    work[BIAS] = noise.bias_a * noise.bias_a * step_s
    work[RESISTANCE] = noise.resistance * noise.resistance * step_s
    work[ERROR] = noise.model_v * noise.model_v * (1.0 - error_decay * error_decay) * growth
    work[CAPACITY] = noise.capacity * noise.capacity * step_s
    moved = np.exp(-np.abs(current_a) * charge_gain * circuit.hysteresis_rate)
    x[HYSTERESIS] = moved * x[HYSTERESIS] + (1.0 - moved) * np.sign(current_a)
    predict(
        x,
        p,
        current_a,
        charge_gain,
        math.exp(-step_s / circuit.fast_s),
        math.exp(-step_s / circuit.slow_s),
        error_decay,
        _look_up(circuit.fast_ohm, row, row_share, column, column_share),
        _look_up(circuit.slow_ohm, row, row_share, column, column_share),
        work,
    )

    column, column_share = _column(x[SOC], columns)
    ohmic_ohm = _look_up(circuit.ohmic_ohm, row, row_share, column, column_share)
    activation_ohm = _look_up(circuit.activation_ohm, row, row_share, column, column_share)
    unbiased_a = current_a - x[BIAS]
    share = unbiased_a / circuit.activation_current_a
    drop_v = ohmic_ohm * unbiased_a + activation_ohm * circuit.activation_current_a * np.arcsinh(
        share
    )
    drop_ohm = ohmic_ohm + activation_ohm / np.sqrt(1.0 + share * share)
    hysteresis_v = circuit.hysteresis_v[column]
    hysteresis_v = hysteresis_v + column_share * (circuit.hysteresis_v[column + 1] - hysteresis_v)
    uncertain_v = noise.drop_share * drop_v
    innovation_v, ratio = correct(
        x,
        p,
        work,
        voltage_v,
        usable,
        _look_up(circuit.ocv_v, row, row_share, column, column_share)
        + hysteresis_v * x[HYSTERESIS],
        _look_up(circuit.slope_v, row, row_share, column, column_share),
        drop_v,
        drop_ohm,
        noise.voltage_v * noise.voltage_v * growth + uncertain_v * uncertain_v,
        noise.gate,
    )
    x[SOC] = np.minimum(np.maximum(x[SOC], 0.0), _HIGHEST_SOC)
    x[RESISTANCE] = np.minimum(np.maximum(x[RESISTANCE], _LOWEST_RESISTANCE), _HIGHEST_RESISTANCE)
    x[CAPACITY] = np.minimum(np.maximum(x[CAPACITY], _LOWEST_CAPACITY), _HIGHEST_CAPACITY)
    return innovation_v, ratio


@register_jitable
def _column(soc: Any, columns: int) -> Any:
    place = np.minimum(np.maximum(soc, 0.0) * (columns - 1), columns - 1.000001)
    column = np.intp(place)
    return column, place - column


@register_jitable
def _look_up(table: FloatArray, row: Any, row_share: Any, column: Any, column_share: Any) -> Any:
    low = table[row, column]
    low = low + column_share * (table[row, column + 1] - low)
    high = table[row + 1, column]
    high = high + column_share * (table[row + 1, column + 1] - high)
    return low + row_share * (high - low)


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
    """``step_cell`` for all cells; ``innovation_v`` and ``ratio`` (cells,) are overwritten."""
    innovation_v[:], ratio[:] = step_cell(
        x,
        p,
        work,
        voltage_v,
        usable,
        current_a,
        current_std_a,
        temperature_c,
        step_s,
        circuit,
        noise,
    )


def _one_by_one(
    x: Any,
    p: Any,
    work: Any,
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
    for cell in range(x.shape[1]):
        innovation_v[cell], ratio[cell] = step_cell(
            x[:, cell],
            p[:, cell],
            work[:, 0],
            voltage_v[cell],
            usable[cell],
            current_a[cell],
            current_std_a[cell],
            temperature_c[cell],
            step_s,
            circuit,
            noise,
        )


compiled_step_cells: Callable[..., None] | None = (
    None if njit is None else njit(cache=True, error_model="numpy")(_one_by_one)
)
