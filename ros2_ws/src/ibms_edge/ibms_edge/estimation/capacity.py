# SPDX-License-Identifier: Apache-2.0
"""Capacity of a cell from a piece of a discharge at constant current. No ROS.

The piece is laid onto the discharge of the new cell: unknown are where it begins, the capacity, and
how far ageing has pulled the voltage down. At an SOC ``s`` of the capacity of today the voltage is

    V(s) = V_new(s) + sum over k of z_k * shape_k(s),    ln(C / C_new) = sum over k of z_k * b_k + w

with ``z_k`` and ``w`` normally distributed around zero: a least-squares problem with priors. The
shapes are the principal components of measured ageing where another cell of the type was aged
(``learn_ageing``); else a resistance that grows, and more so towards empty (``UNTAUGHT``), about
which the capacity is told nothing. The covariance at the solution gives the standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

FloatArray = npt.NDArray[np.float64]

SOC_POINTS = 201
SOC = np.linspace(0.0, 1.0, SOC_POINTS)

_LEAST_SAMPLES = 10
_LEAST_SHARE = 0.1  # of the new capacity that a window must move
_CURRENT_TOLERANCE = 0.05  # the drop over the resistance is part of the reference
_TEMPERATURE_TOLERANCE_K = 10.0
# What shapes do not describe is alike in neighbouring samples, so more of them tell no more.
_INDEPENDENT_SAMPLES = 15
_TAUGHT_VOLTAGE_STD_V = 0.004
_UNTAUGHT_VOLTAGE_STD_V = 0.008
_LARGEST_RESIDUAL_V = 0.015
_COMPONENTS = 2
_PATTERN_SPREAD = 1.5  # cells may age further than the teacher did on average
# One teacher shows how closely its own capacity follows, not how cells differ.
_CAPACITY_SPREAD = 3.0
_LEAST_CAPACITY_STD = 0.02
_SHAPED_SOC = 0.12  # below, the knee moves so far that it would rule all components
_NEW_RANGE = 3.0  # standard deviations by which ageing parameters may leave zero
_STARTS_SOC = (0.95, 0.8, 0.65)
_START_LOSS = 0.25


class CapacityError(ValueError):
    """A window or discharge from which no capacity can be told; the text says why."""


@dataclass(frozen=True)
class Window:
    """A piece of a discharge, or a whole one; all arrays (samples,).

    ``charge_ah`` is what was taken out since any moment, rising; ``temperature_c`` may be NaN.
    """

    charge_ah: FloatArray
    voltage_v: FloatArray
    current_a: FloatArray
    temperature_c: FloatArray


@dataclass(frozen=True)
class AgeingPattern:
    """What ageing may do to a discharge; each component has a standard deviation of one."""

    shapes_v: FloatArray  # (components, SOC_POINTS)
    capacity_logarithms: FloatArray  # (components,), change of ln(capacity) that comes with each
    capacity_logarithm_std: float  # of what the components do not tell
    voltage_std_v: float  # of the voltage that the components do not describe


@dataclass(frozen=True)
class ReferenceDischarge:
    """Discharge of the new cell."""

    capacity_ah: float
    voltage_v: FloatArray  # (SOC_POINTS,) over ``SOC``, under load
    current_a: float
    temperature_c: tuple[float, float]  # lowest and highest; NaN if not measured
    ageing: AgeingPattern


@dataclass(frozen=True)
class CapacityEstimate:
    """Capacity down to the end voltage of the reference, at its current."""

    capacity_ah: float
    std_ah: float
    resistance_change_ohm: float  # mean over the window
    soc_begin: float
    soc_end: float


UNTAUGHT = AgeingPattern(
    shapes_v=0.1 * np.array([np.ones(SOC_POINTS), 1.0 - SOC]),
    capacity_logarithms=np.zeros(2),
    capacity_logarithm_std=0.5,
    voltage_std_v=_UNTAUGHT_VOLTAGE_STD_V,
)


def build_reference(
    discharges: Sequence[Window], ageing: AgeingPattern = UNTAUGHT
) -> ReferenceDischarge:
    """The median of complete discharges, from full to the end voltage.

    Raises:
        CapacityError: if there is none, or one is no discharge at constant current.
    """
    if not discharges:
        raise CapacityError("no discharge of the new cell: its model needs at least one")
    for discharge in discharges:
        _check(discharge)
    temperatures = np.concatenate([discharge.temperature_c for discharge in discharges])
    measured = temperatures[np.isfinite(temperatures)]
    return ReferenceDischarge(
        capacity_ah=float(np.median([_capacity_ah(one) for one in discharges])),
        voltage_v=np.median([_voltage_over_soc(one) for one in discharges], axis=0),
        current_a=float(np.median([np.median(one.current_a) for one in discharges])),
        temperature_c=(float(measured.min()), float(measured.max()))
        if len(measured)
        else (np.nan, np.nan),
        ageing=ageing,
    )


def learn_ageing(new: ReferenceDischarge, later: Sequence[Window]) -> AgeingPattern:
    """Principal components of what ageing did to another cell of the type, and its capacity.

    Args:
        new: its discharge when it was new.
        later: its complete discharges, down to the same end voltage.

    Raises:
        CapacityError: if there are fewer than ten.
    """
    if len(later) < _LEAST_SAMPLES:
        raise CapacityError(f"{len(later)} discharges teach no ageing: give {_LEAST_SAMPLES}")
    change_v = np.array([_voltage_over_soc(one) for one in later]) - new.voltage_v
    logarithm = np.log([_capacity_ah(one) / new.capacity_ah for one in later])
    left, singular, _ = np.linalg.svd(change_v[:, SOC > _SHAPED_SOC], full_matrices=False)
    scores = left[:, :_COMPONENTS] * singular[:_COMPONENTS]
    scores /= _PATTERN_SPREAD * np.sqrt(np.mean(scores**2, axis=0))
    shapes_v = np.linalg.lstsq(scores, change_v, rcond=None)[0]
    slopes = np.linalg.lstsq(scores, logarithm, rcond=None)[0]
    rest = float(np.std(logarithm - scores @ slopes))
    spread = max(_CAPACITY_SPREAD * rest, _LEAST_CAPACITY_STD)
    return AgeingPattern(shapes_v, slopes, spread, _TAUGHT_VOLTAGE_STD_V)


def estimate_capacity(window: Window, reference: ReferenceDischarge) -> CapacityEstimate:
    """Lay a window onto the reference.

    Raises:
        CapacityError: if the window is too short, is no discharge at the current and about the
            temperature of the reference, or resembles no part of it.
    """
    _check(window)
    _check_conditions(window, reference)
    ageing = reference.ageing
    charge_ah = window.charge_ah - window.charge_ah[0]
    if charge_ah[-1] < _LEAST_SHARE * reference.capacity_ah:
        raise CapacityError(
            f"window moves {charge_ah[-1]:.3f} Ah, less than {100 * _LEAST_SHARE:.0f} % of the "
            f"capacity when new ({reference.capacity_ah:.3f} Ah): too short to tell"
        )
    # Change of ln(capacity) with each ageing parameter: w first, then the components.
    slopes = np.array([ageing.capacity_logarithm_std, *ageing.capacity_logarithms])
    weight = min(1.0, np.sqrt(_INDEPENDENT_SAMPLES / len(charge_ah))) / ageing.voltage_std_v

    def soc_of(parameters: FloatArray) -> FloatArray:
        capacity_ah = reference.capacity_ah * np.exp(slopes @ parameters[1:])
        soc: FloatArray = parameters[0] - charge_ah / capacity_ah
        return soc

    def ageing_v(parameters: FloatArray) -> FloatArray:
        return np.interp(soc_of(parameters), SOC, parameters[2:] @ ageing.shapes_v)

    def residuals_v(parameters: FloatArray) -> FloatArray:
        new_v = np.interp(soc_of(parameters), SOC, reference.voltage_v)
        return new_v + ageing_v(parameters) - window.voltage_v

    def cost(parameters: FloatArray) -> FloatArray:
        return np.concatenate([weight * residuals_v(parameters), parameters[1:]])

    lower = np.array([0.0, *[-_NEW_RANGE] * len(slopes)])
    upper = np.array([1.0, *[_NEW_RANGE] * len(slopes)])
    aged = np.clip(-_START_LOSS * slopes / (slopes @ slopes), lower[1:], upper[1:])
    # The cost has several minima: start from several places, as new and as aged.
    solutions = [
        least_squares(cost, np.array([soc, *start]), bounds=(lower, upper), x_scale="jac")
        for soc in _STARTS_SOC
        for start in (np.zeros(len(slopes)), aged)
    ]
    best = min(solutions, key=lambda solution: float(solution.cost))
    residual_v = float(np.sqrt(np.mean(residuals_v(best.x) ** 2)))
    soc = soc_of(best.x)
    if residual_v > _LARGEST_RESIDUAL_V or soc[-1] < -_LEAST_SHARE:
        raise CapacityError(
            f"window from {window.voltage_v[0]:.3f} to {window.voltage_v[-1]:.3f} V resembles no "
            f"part of the reference (residual {1000 * residual_v:.0f} mV, SOC {soc[0]:.2f} to "
            f"{soc[-1]:.2f}): is it this cell, this current and this temperature?"
        )
    covariance = np.linalg.pinv(best.jac.T @ best.jac)
    gradient = np.array([0.0, *slopes])
    capacity_ah = float(reference.capacity_ah * np.exp(slopes @ best.x[1:]))
    return CapacityEstimate(
        capacity_ah=capacity_ah,
        std_ah=capacity_ah * float(np.sqrt(gradient @ covariance @ gradient)),
        resistance_change_ohm=float(np.mean(ageing_v(best.x))) / reference.current_a,
        soc_begin=float(soc[0]),
        soc_end=float(soc[-1]),
    )


def _check(window: Window) -> None:
    if len(window.charge_ah) < _LEAST_SAMPLES:
        raise CapacityError(
            f"window has {len(window.charge_ah)} samples, expected {_LEAST_SAMPLES} or more"
        )
    for name in ("charge_ah", "voltage_v", "current_a"):
        if not np.isfinite(getattr(window, name)).all():
            raise CapacityError(f"window has a value of {name} that is not measured: leave it out")
    if np.any(np.diff(window.charge_ah) <= 0.0) or np.any(window.current_a >= 0.0):
        raise CapacityError("window is no discharge: current must be negative, charge_ah rising")
    if window.voltage_v[-1] >= window.voltage_v[0]:
        raise CapacityError("voltage rises over the window: this tells no capacity")
    typical_a = float(np.median(window.current_a))
    if np.max(np.abs(window.current_a / typical_a - 1.0)) > _CURRENT_TOLERANCE:
        raise CapacityError(
            f"current varies around {typical_a:.3g} A by more than {100 * _CURRENT_TOLERANCE:.0f} "
            "%: a discharge at constant current is needed"
        )


def _check_conditions(window: Window, reference: ReferenceDischarge) -> None:
    current_a = float(np.median(window.current_a))
    if abs(current_a / reference.current_a - 1.0) > _CURRENT_TOLERANCE:
        raise CapacityError(
            f"window at {current_a:.3g} A, reference at {reference.current_a:.3g} A: "
            "discharges at one current can be compared"
        )
    measured = window.temperature_c[np.isfinite(window.temperature_c)]
    low_c, high_c = reference.temperature_c
    if len(measured) and not np.isnan(low_c):
        mean_c = float(np.mean(measured))
        if not low_c - _TEMPERATURE_TOLERANCE_K <= mean_c <= high_c + _TEMPERATURE_TOLERANCE_K:
            raise CapacityError(
                f"window at {mean_c:.1f} degC, reference at {low_c:.1f} to {high_c:.1f} degC: "
                f"more than {_TEMPERATURE_TOLERANCE_K:g} K away, resistance is not comparable"
            )


def _capacity_ah(discharge: Window) -> float:
    return float(discharge.charge_ah[-1])


def _voltage_over_soc(discharge: Window) -> FloatArray:
    """Voltage over ``SOC`` of a complete discharge, whose charge counts from full."""
    soc = 1.0 - discharge.charge_ah / discharge.charge_ah[-1]
    return np.interp(SOC, soc[::-1], discharge.voltage_v[::-1])
