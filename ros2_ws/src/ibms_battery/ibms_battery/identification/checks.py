# SPDX-License-Identifier: Apache-2.0
"""Whether measured data can tell a cell's circuit, judged by the information in them. No ROS."""

from collections.abc import Sequence

import numpy as np

from ibms_battery.identification.circuit_fit import (
    CORRECTION,
    FAST,
    OHMIC,
    SLOW,
    Equations,
    Prior,
    Structure,
    warmth_factor,
)
from ibms_battery.identification.runs import Run
from ibms_battery.recordings import FloatArray

_SMALLEST_CHANGE = 0.02  # of the capacity per hour: a step of the current worth looking at
_LONGEST_STEP_S = 2.5  # of samples that show what a step of the current does at once
_SMALLEST_SPAN = 0.5  # of the charge
_FARTHEST_K = 7.5  # from a temperature of the grid to the nearest measured one
_LARGEST_DOUBT = 0.5  # standard error of a resistance, as a share of the typical one
_SHARES = {OHMIC: 1.0, FAST: 0.3, SLOW: 0.5}  # of the typical resistance, as usual
_NAMES = {
    OHMIC: "the series resistance: the current never changes quickly; add pulses or a drive cycle",
    FAST: "the fast RC pair: too few changes of current; add pulses of 10 s or a drive cycle",
    SLOW: "the slow RC pair: add loads and rests that last minutes",
}


class IdentificationError(ValueError):
    """Data that do not tell what is sought; the text says what is missing."""


def typical_resistance_ohm(runs: Sequence[Run], capacity_ah: float) -> float:
    """Voltage over current in quick changes, carried to 25 degC: the scale of all resistances.

    Raises:
        IdentificationError: if there are no quick changes, or if in a run the voltage falls when
            the current rises, so that its sign must be wrong.
    """
    products = squares = 0.0
    for run in runs:
        change_a, change_v = np.diff(run.current_a), np.diff(run.voltage_v)
        quick = np.abs(change_a) > _SMALLEST_CHANGE * capacity_ah
        quick &= np.diff(run.time_s) <= _LONGEST_STEP_S
        change_a, change_v = change_a[quick], change_v[quick]
        if not len(change_a):
            continue
        product, square = float(change_a @ change_v), float(change_a @ change_a)
        left_v = change_v - change_a * product / square
        error = float(np.sqrt(left_v @ left_v / max(len(left_v) - 1, 1) / square))
        if product / square < -3.0 * error:
            raise IdentificationError(
                f"{run.path}: the voltage falls when the charging current rises "
                f"({1e3 * product / square:.1f} mohm): the current's sign is wrong, "
                "set discharge_positive"
            )
        factor = float(warmth_factor(np.array(run.mean_temperature_c)))
        products += product / factor
        squares += square
    if not squares or products <= 0.0:
        raise IdentificationError(
            "no run holds a quick change of the current "
            f"({_SMALLEST_CHANGE * capacity_ah:.2g} A within {_LONGEST_STEP_S:g} s), so no "
            f"resistance can be told; {_NAMES[OHMIC].partition(': ')[2]}"
        )
    return products / squares


def check_coverage(runs: Sequence[Run], structure: Structure) -> None:
    """Refuse runs that leave most of the charge, or a temperature of the grid, untouched.

    Raises:
        IdentificationError: naming what is covered and what is missing.
    """
    low, high = min(float(run.soc.min()) for run in runs), max(float(run.soc.max()) for run in runs)
    if min(high, 1.0) - max(low, 0.0) < _SMALLEST_SPAN:
        raise IdentificationError(
            f"the runs cover states of charge from {low:.0%} to {high:.0%} only; at least "
            f"{_SMALLEST_SPAN:.0%} must be covered, as the circuit changes over the charge"
        )
    coldest = min(float(run.temperature_c.min()) for run in runs)
    warmest = max(float(run.temperature_c.max()) for run in runs)
    measured = np.concatenate([np.unique(np.round(run.temperature_c)) for run in runs])
    for temperature_c in structure.temperatures_c:
        if np.abs(measured - temperature_c).min() > _FARTHEST_K:
            raise IdentificationError(
                f"circuit.temperatures_c names {temperature_c:g} degC, but the runs were measured "
                f"between {coldest:.0f} and {warmest:.0f} degC and none within {_FARTHEST_K:g} K "
                "of it; add a run there or take it out of the plan"
            )


def check_information(
    equations: Equations, structure: Structure, typical_ohm: float, prior: Prior
) -> None:
    """Refuse data that do not tell each resistance of the circuit.

    One factor per group of resistances is asked for, beside a constant correction of the
    open-circuit voltage; its standard error follows from the data alone, without any prior.

    Raises:
        IdentificationError: naming what is missing.
    """
    groups = (CORRECTION, *_SHARES)
    scales = [1.0, *(typical_ohm for _ in _SHARES)]
    collect = np.zeros((structure.size, len(groups)))
    warmth = np.repeat(warmth_factor(structure.temperatures_c), len(structure.soc))
    for column, (group, scale) in enumerate(zip(groups, scales, strict=True)):
        part = slice(group * structure.points, (group + 1) * structure.points)
        collect[part, column] = scale * (1.0 if group == CORRECTION else warmth)
    information = prior.weight * collect.T @ equations.matrix @ collect
    errors = _standard_errors(information)[1:]
    for (group, share), error in zip(_SHARES.items(), errors, strict=True):
        if error > _LARGEST_DOUBT * share:
            raise IdentificationError(
                "the data do not tell "
                f"{_NAMES[group]} (standard error {1e3 * error * typical_ohm:.2g} mohm, typical "
                f"{1e3 * share * typical_ohm:.2g} mohm)"
            )


def _standard_errors(information: FloatArray) -> FloatArray:
    """Square roots of the diagonal of the inverse; infinite where nothing is known."""
    scale = np.sqrt(np.diag(information))
    if not (scale > 0.0).all():
        return np.where(scale > 0.0, 0.0, np.inf)
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    inverse = (vectors**2) @ (1.0 / np.maximum(values, 1e-12))
    errors: FloatArray = np.sqrt(inverse) / scale
    return errors
