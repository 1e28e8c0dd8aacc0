# SPDX-License-Identifier: Apache-2.0
"""Least-squares fit of a cell's equivalent circuit to measured current and voltage. No ROS.

With given time constants the voltage above the open-circuit voltage is linear in what is sought:

    v - OCV(soc) = sum_k w_k (c_k + i R0_k + i0 asinh(i / i0) Ra_k) + F_fast[sum_k w_k i R1_k]
                   + F_slow[sum_k w_k i R2_k] + sum_s w_s h M_s + b

where ``w_k(soc, T)`` are bilinear weights of the grid points, ``w_s(soc)`` those over charge alone,
``F`` is the first-order lag of an RC pair and ``h`` the state of hysteresis, which the current
alone determines, and ``b`` the constant by which a run's voltmeter is off, where it is another one.
So all runs at all temperatures are one linear problem, whose normal equations are summed run by
run: leaving a run out is a subtraction. Smoothness over the grid is a prior (P. Eilers, B. Marx,
Statistical Science 11 (1996) 89), which also carries the parameters to states that were never
visited; between temperatures resistances are expected to follow Arrhenius' law.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.signal import lfilter

from ibms_battery.identification.runs import Run
from ibms_battery.recordings import FloatArray

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CORRECTION, OHMIC, ACTIVATION, FAST, SLOW = range(5)
GROUPS = 5  # over temperature and charge; a sixth one, hysteresis, over charge alone

_ACTIVATION_K = 30e3 / 8.314  # 30 kJ/mol: usual for charge transfer and electrolyte
_REFERENCE_K = 298.15
_LONGEST_WEIGHT_S = 10.0  # a sample after a longer pause tells no more than one after this time
_FULL, _EMPTY = 0.99, 0.01  # beyond, a run began with the hysteresis of the charge or discharge
_SMALLEST_SHARE = 1e-3  # of the typical resistance


@dataclass(frozen=True)
class Structure:
    """What is fixed before the fit. ``hysteresis_rate`` None: no hysteresis."""

    temperatures_c: FloatArray
    soc: FloatArray
    time_constants_s: tuple[float, float]
    activation_current_a: float
    capacity_ah: float
    hysteresis_rate: float | None = None
    voltage_offsets: int = 0

    @property
    def points(self) -> int:
        """Points of one group of parameters."""
        return len(self.temperatures_c) * len(self.soc)

    @property
    def size(self) -> int:
        """Number of all parameters."""
        return self.first_offset + self.voltage_offsets

    @property
    def first_offset(self) -> int:
        """Place of the first voltage offset, after all else."""
        return GROUPS * self.points + (len(self.soc) if self.hysteresis_rate else 0)


@dataclass(frozen=True)
class RunEquations:
    """Normal equations of a run, for the ``columns`` of the parameters that it touches."""

    columns: IntArray
    matrix: FloatArray
    vector: FloatArray
    square: float  # weighted sum of squares of what is to be explained
    weight: float  # sum of weights

    def residual_v(self, parameters: FloatArray) -> float:
        """Weighted root of the mean square of what the parameters leave unexplained [V]."""
        own = parameters[self.columns]
        square = float(self.square - 2.0 * own @ self.vector + own @ self.matrix @ own)
        return float(np.sqrt(max(square, 0.0) / max(self.weight, 1e-12)))


@dataclass(frozen=True)
class Equations:
    """Sum of the equations of runs."""

    matrix: FloatArray
    vector: FloatArray

    def without(self, run: RunEquations) -> "Equations":
        """Equations without a run that was added before."""
        matrix, vector = self.matrix.copy(), self.vector.copy()
        matrix[np.ix_(run.columns, run.columns)] -= run.matrix
        vector[run.columns] -= run.vector
        return Equations(matrix, vector)


@dataclass(frozen=True)
class Prior:
    """How smooth the parameters are expected to be (standard deviations).

    ``bend``: of the second difference over the state of charge, ``step``: of the first one,
    ``warmth``: between neighbouring temperatures; those of resistances as shares of the typical
    resistance. ``error_v`` and ``independent_s`` say how much a sample weighs: model errors last
    much longer than a sample.
    """

    correction_v: float = 0.1
    correction_bend_v: float = 0.005
    correction_warmth_v: float = 0.02
    resistance_bend: float = 0.1
    resistance_step: float = 1.0
    resistance_warmth: float = 1.0
    hysteresis_v: float = 0.03
    hysteresis_bend_v: float = 0.002
    offset_v: float = 0.03
    error_v: float = 0.005
    independent_s: float = 60.0

    @property
    def weight(self) -> float:
        """Of a second of measurement [1/V^2]."""
        return 1.0 / (self.error_v**2 * self.independent_s)


@dataclass(frozen=True)
class Parameters:
    """Result of a fit: tables (temperatures, socs) and, over charge alone, hysteresis (socs,)."""

    correction_v: FloatArray
    ohmic_ohm: FloatArray
    activation_ohm: FloatArray
    fast_ohm: FloatArray
    slow_ohm: FloatArray
    hysteresis_v: FloatArray

    @classmethod
    def from_vector(cls, structure: Structure, vector: FloatArray) -> "Parameters":
        """Tables out of the vector of all parameters."""
        shape = (GROUPS, len(structure.temperatures_c), len(structure.soc))
        tables = vector[: GROUPS * structure.points].reshape(shape)
        rest = vector[GROUPS * structure.points : structure.first_offset]
        return cls(
            correction_v=tables[CORRECTION],
            ohmic_ohm=tables[OHMIC],
            activation_ohm=tables[ACTIVATION],
            fast_ohm=tables[FAST],
            slow_ohm=tables[SLOW],
            hysteresis_v=rest if len(rest) else np.zeros(len(structure.soc)),
        )


def design(run: Run, structure: Structure) -> tuple[IntArray, FloatArray]:
    """Parameters that a run touches (columns,), and what each adds to the voltage per unit."""
    weights = _weights(run, structure)
    active = np.flatnonzero(weights.any(axis=0))
    weights = weights[:, active]
    step_s = run.step_s
    # Between two temperatures a resistance lies near Arrhenius' law, not on a straight line.
    expected = np.repeat(warmth_factor(structure.temperatures_c), len(structure.soc))[active]
    warm = weights * warmth_factor(_inside(run.temperature_c, structure))[:, np.newaxis] / expected
    held = warm * run.held_a[:, np.newaxis]
    i0 = structure.activation_current_a
    parts = [
        weights,
        warm * run.current_a[:, np.newaxis],
        warm * (i0 * np.arcsinh(run.current_a / i0))[:, np.newaxis],
        *(lag(held, step_s, seconds) for seconds in structure.time_constants_s),
    ]
    columns = [active + group * structure.points for group in range(GROUPS)]
    if structure.hysteresis_rate:
        state = hysteresis(run, structure.hysteresis_rate, structure.capacity_ah)
        over_soc = _between(run.soc, structure.soc)
        touched = np.flatnonzero(over_soc.any(axis=0))
        parts.append(over_soc[:, touched] * state[:, np.newaxis])
        columns.append(touched + GROUPS * structure.points)
    if run.voltage_offset is not None:
        parts.append(np.ones((len(run.soc), 1)))
        columns.append(np.array([structure.first_offset + run.voltage_offset]))
    return np.concatenate(columns), np.concatenate(parts, axis=1)


def equations_of(run: Run, ocv_v: FloatArray, structure: Structure) -> RunEquations:
    """Normal equations of one run.

    Strong currents count less, as the model errs there in proportion to the current.

    Args:
        run: the run.
        ocv_v: open-circuit voltage without correction at each sample (samples,).
        structure: what is fixed.
    """
    columns, matrix = design(run, structure)
    above_v = run.voltage_v - ocv_v
    weight = run.weight * np.clip(run.step_s, 0.0, _LONGEST_WEIGHT_S)
    weight = weight / (1.0 + (run.current_a / structure.activation_current_a) ** 2)
    weighted = matrix * weight[:, np.newaxis]
    return RunEquations(
        columns=columns,
        matrix=matrix.T @ weighted,
        vector=weighted.T @ above_v,
        square=float(above_v @ (weight * above_v)),
        weight=float(weight.sum()),
    )


def total(runs: Iterable[RunEquations], size: int) -> Equations:
    """Sum of the equations of runs with ``size`` parameters."""
    matrix, vector = np.zeros((size, size)), np.zeros(size)
    for run in runs:
        matrix[np.ix_(run.columns, run.columns)] += run.matrix
        vector[run.columns] += run.vector
    return Equations(matrix, vector)


def solve(
    equations: Equations, structure: Structure, typical_ohm: float, prior: Prior | None = None
) -> FloatArray:
    """Most likely parameters (size,); no resistance and no hysteresis is negative."""
    prior = prior or Prior()
    matrix = prior.weight * equations.matrix + _prior_matrix(structure, typical_ohm, prior)
    lowest = np.full(structure.size, -np.inf)
    lowest[structure.points : GROUPS * structure.points] = _SMALLEST_SHARE * typical_ohm
    lowest[GROUPS * structure.points : structure.first_offset] = 0.0
    return solve_bounded(matrix, prior.weight * equations.vector, lowest)


def solve_bounded(matrix: FloatArray, vector: FloatArray, lowest: FloatArray) -> FloatArray:
    """Minimum of x' A x / 2 - b' x with x >= ``lowest``, for a positive definite A.

    Block principal pivoting with Murty's rule as the way out of cycles (L. Portugal, J. Judice,
    L. Vicente, Mathematics of Computation 63 (1994) 625).

    Raises:
        ArithmeticError: if it does not end; A is not positive definite then.
    """
    held = np.zeros(len(vector), np.bool_)
    best, patience = len(vector) + 1, 3
    for _ in range(10 * len(vector)):
        x = np.where(held, lowest, 0.0)
        free = ~held
        side = vector[free] - matrix[np.ix_(free, held)] @ x[held]
        x[free] = cho_solve(cho_factor(matrix[np.ix_(free, free)]), side)
        slope = matrix @ x - vector
        scale = 1e-10 * max(float(np.abs(vector).max()), 1e-300)
        wrong = (free & (x < lowest)) | (held & (slope < -scale))
        count = int(wrong.sum())
        if count == 0:
            return x
        if count < best:
            best, patience = count, 3
            held ^= wrong
        elif patience > 0:
            patience -= 1
            held ^= wrong
        else:
            last = int(np.flatnonzero(wrong)[-1])
            held[last] = not held[last]
    raise ArithmeticError("the bounded least-squares problem has no stable solution")


def lag(values: FloatArray, step_s: FloatArray, time_constant_s: float) -> FloatArray:
    """First-order lag of columns (samples, columns), each value held over the step before it."""
    result = np.empty_like(values)
    state = np.zeros(values.shape[1])
    edges = np.flatnonzero(np.diff(step_s, prepend=np.nan))  # the step is constant between them
    for begin, end in zip(edges, [*edges[1:], len(step_s)], strict=True):
        decay = np.exp(-step_s[begin] / time_constant_s)
        part, _ = lfilter(
            [1.0 - decay], [1.0, -decay], values[begin:end], axis=0, zi=decay * state[np.newaxis]
        )
        result[begin:end] = part
        state = part[-1]
    return result


def hysteresis(run: Run, rate: float, capacity_ah: float) -> FloatArray:
    """State of hysteresis (samples,) from -1 (discharge) to 1 (Plett, ch. 2.10, one state)."""
    first = 1.0 if run.soc[0] > _FULL else -1.0 if run.soc[0] < _EMPTY else 0.0
    moved = np.abs(run.held_a) * run.step_s / (3600.0 * capacity_ah)
    decay = np.exp(-rate * moved)
    driven = (1.0 - decay) * np.sign(run.held_a)
    result = np.empty_like(decay)
    state = first
    for sample in range(len(decay)):
        state = decay[sample] * state + driven[sample]
        result[sample] = state
    return result


def warmth_factor(temperature_c: FloatArray) -> FloatArray:
    """Expected resistance over that at 25 degC, by Arrhenius' law."""
    kelvin = np.asarray(temperature_c) + 273.15
    factor: FloatArray = np.exp(_ACTIVATION_K * (1.0 / kelvin - 1.0 / _REFERENCE_K))
    return factor


def _inside(temperature_c: FloatArray, structure: Structure) -> FloatArray:
    """Temperature, at least the lowest and at most the highest of the grid."""
    inside: FloatArray = np.clip(
        temperature_c, structure.temperatures_c[0], structure.temperatures_c[-1]
    )
    return inside


def _weights(run: Run, structure: Structure) -> FloatArray:
    """Bilinear weights (samples, points); beyond the grid those of its edge."""
    over_temperature = _between(run.temperature_c, structure.temperatures_c)
    over_soc = _between(run.soc, structure.soc)
    product: FloatArray = over_temperature[:, :, np.newaxis] * over_soc[:, np.newaxis, :]
    return product.reshape(len(run.soc), structure.points)


def _between(values: FloatArray, points: FloatArray) -> FloatArray:
    """Linear weights (values, points) of the two points around each value."""
    weights = np.zeros((len(values), len(points)))
    if len(points) == 1:
        weights[:] = 1.0
        return weights
    inside = np.clip(values, points[0], points[-1])
    lower = np.clip(np.searchsorted(points, inside, "right") - 1, 0, len(points) - 2)
    share = (inside - points[lower]) / (points[lower + 1] - points[lower])
    samples = np.arange(len(values))
    weights[samples, lower] = 1.0 - share
    weights[samples, lower + 1] = share
    return weights


def _prior_matrix(structure: Structure, typical_ohm: float, prior: Prior) -> FloatArray:
    temperatures, socs = len(structure.temperatures_c), len(structure.soc)
    over_soc, over_temperature = np.eye(socs), np.eye(temperatures)
    bend, step = _bends(structure.soc), np.diff(over_soc, 1, axis=0)
    warmth = np.diff(over_temperature, 1, axis=0)
    correction = (
        np.kron(over_temperature, bend.T @ bend) / prior.correction_bend_v**2
        + np.kron(warmth.T @ warmth, over_soc) / prior.correction_warmth_v**2
        + np.eye(structure.points) / prior.correction_v**2
    )
    # In units of what is expected at each temperature.
    unit = 1.0 / warmth_factor(structure.temperatures_c)
    scaled = warmth * unit
    resistance = (
        np.kron(np.diag(unit**2), bend.T @ bend) / prior.resistance_bend**2
        + np.kron(np.diag(unit**2), step.T @ step) / prior.resistance_step**2
        + np.kron(scaled.T @ scaled, over_soc) / prior.resistance_warmth**2
    ) / typical_ohm**2
    resistance += 1e-3 / typical_ohm**2 * np.diag(np.repeat(unit**2, socs))
    matrix = np.zeros((structure.size, structure.size))
    for group in range(GROUPS):
        part = slice(group * structure.points, (group + 1) * structure.points)
        matrix[part, part] = correction if group == CORRECTION else resistance
    if structure.hysteresis_rate:
        part = slice(GROUPS * structure.points, structure.first_offset)
        matrix[part, part] = (
            bend.T @ bend / prior.hysteresis_bend_v**2 + over_soc / prior.hysteresis_v**2
        )
    offsets = np.arange(structure.first_offset, structure.size)
    matrix[offsets, offsets] = 1.0 / prior.offset_v**2
    return matrix


def _bends(soc: FloatArray) -> FloatArray:
    """Second differences (points - 2, points), as if the points lay evenly."""
    step = np.diff(soc)
    mean = (soc[-1] - soc[0]) / (len(soc) - 1)
    slopes = np.diff(np.eye(len(soc)), 1, axis=0) * (mean / step)[:, np.newaxis]
    bends: FloatArray = np.diff(slopes, 1, axis=0)
    return bends
