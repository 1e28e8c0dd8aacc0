# SPDX-License-Identifier: Apache-2.0
"""Open-circuit voltage and capacity from slow discharges and charges. No ROS.

Open-circuit voltage is the mean of the discharge and the charge branch, half their gap is
hysteresis and polarisation at that small current (Plett, Battery Management Systems vol. 1,
ch. 2.10). The state of charge counts from full on discharge; the capacity is that of the discharge
at the reference temperature. The tester's charge and discharge rarely balance: a charge that ended
full (with falling current) is laid between where it began and full; one that ended before is
stretched, at most to full, so that the gap is as smooth as it can be, as then the steps of the two
branches lie above each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ibms_battery.identification.runs import Found, charge_of, flowing_stretches, moved_ah
from ibms_battery.recordings import FloatArray, Recording, RecordingError

REFERENCE_C = 25.0

_HIGHEST_RATE = 0.2  # of the charge of the branch per hour; faster is no open-circuit test
_HELD_V = 0.004  # nearer to the highest voltage the charger holds it: no constant current any more
_TAPERED = 0.7  # of the branch's current: below, the charge went on at held voltage until full
_SHORTEST = 20  # samples of a branch
_SAME_K = 3.0  # tests whose temperatures differ less belong together
_SMALLEST_SPAN = 0.8  # of the charge that both branches must share

SOC_POINTS: FloatArray = np.unique(
    np.round(
        np.concatenate(
            [np.linspace(0.0, 0.1, 11), np.linspace(0.0, 1.0, 41), np.linspace(0.95, 1.0, 6)]
        ),
        4,
    )
)


@dataclass(frozen=True)
class Branch:
    """A slow charge or discharge, arrays (samples,); ``soc`` rises or falls."""

    path: str
    soc: FloatArray
    voltage_v: FloatArray
    charge_ah: float  # that moved
    rate_per_h: float  # current over the charge moved


@dataclass(frozen=True)
class OpenCircuit:
    """Open-circuit voltage at one temperature over ``soc`` (points,); NaN where not measured."""

    temperature_c: float
    soc: FloatArray
    discharge_v: FloatArray
    charge_v: FloatArray
    ocv_v: FloatArray
    half_gap_v: FloatArray
    discharge: Branch
    charge: Branch
    ended_full: bool  # the charge went on at held voltage


def open_circuits(tests: Sequence[Found]) -> tuple[OpenCircuit, list[OpenCircuit]]:
    """Open-circuit voltage at the temperature nearest to 25 degC, and at all temperatures.

    Raises:
        RecordingError: if a branch is missing, too short or too fast, covers too little charge, or
            if the voltage rises on discharge: then the current's sign is wrong.
    """
    groups: list[list[Found]] = []
    for test in sorted(tests, key=_temperature_c):
        if groups and _temperature_c(test) - _temperature_c(groups[-1][0]) < _SAME_K:
            groups[-1].append(test)
        else:
            groups.append([test])
    reference = min(groups, key=lambda group: abs(_temperature_c(group[0]) - REFERENCE_C))
    test, part = _strongest(reference, -1.0)
    capacity_ah = moved_ah(test.recording, part)
    circuits = [_open_circuit(group, capacity_ah) for group in groups]
    return circuits[groups.index(reference)], circuits


def _temperature_c(test: Found) -> float:
    return float(np.median(test.recording.temperature_c))


def _open_circuit(group: Sequence[Found], capacity_ah: float) -> OpenCircuit:
    discharge = _discharge(*_strongest(group, -1.0), capacity_ah)
    charge, held = _charge(*_strongest(group, 1.0), discharge, capacity_ah)
    soc = SOC_POINTS
    discharge_v = _over(soc, discharge.soc[::-1], discharge.voltage_v[::-1])
    charge_v = _over(soc, charge.soc, charge.voltage_v)
    gap_v = charge_v - discharge_v
    # Where the charger held the voltage or the charge ended early, the last gap goes on.
    last_soc = float(charge.soc[~held][-1])
    known = np.isfinite(gap_v) & (soc <= last_soc)
    if not known.any() or soc[known][-1] - soc[known][0] < _SMALLEST_SPAN:
        raise RecordingError(
            f"{discharge.path}, {charge.path}: discharge and charge share too little charge for an "
            f"open-circuit voltage; both must cover at least {_SMALLEST_SPAN:.0%} of the capacity"
        )
    gap_v[soc > last_soc] = gap_v[known][-1]
    half_gap_v = np.maximum(0.5 * gap_v, 0.0)
    return OpenCircuit(
        temperature_c=_temperature_c(group[0]),
        soc=soc,
        discharge_v=discharge_v,
        charge_v=charge_v,
        ocv_v=discharge_v + half_gap_v,
        half_gap_v=half_gap_v,
        discharge=discharge,
        charge=charge,
        ended_full=bool(held.any()),
    )


def _discharge(test: Found, part: slice, capacity_ah: float) -> Branch:
    charge_ah = charge_of(test.recording)[part]
    through_ah = moved_ah(test.recording, part)
    voltage_v = test.recording.voltage_v[part]
    if voltage_v[-1] >= voltage_v[0]:
        raise RecordingError(
            f"{test.path}: the voltage rises from {voltage_v[0]:.3f} to {voltage_v[-1]:.3f} V in "
            "what the current says is a discharge; its sign is wrong, set discharge_positive"
        )
    counted_ah = charge_of(test.recording)[max(part.start - 1, 0)]  # before the first flowed
    soc = 1.0 - (counted_ah - charge_ah) / capacity_ah
    return Branch(test.path, soc, voltage_v, through_ah, _rate(test.recording, part))


def _charge(
    test: Found, part: slice, discharge: Branch, capacity_ah: float
) -> tuple[Branch, np.ndarray]:
    """The branch, and which samples were taken at held voltage."""
    current_a = test.recording.current_a[part]
    charge_ah = charge_of(test.recording)[part]
    through_ah = moved_ah(test.recording, part)
    voltage_v = test.recording.voltage_v[part]
    began = float(discharge.soc[-1]) if test.path == discharge.path else test.source.starting_soc
    if current_a[-1] < _TAPERED * float(np.median(current_a)):
        soc = began + (1.0 - began) * (charge_ah - charge_ah[0]) / through_ah
        held = voltage_v > voltage_v.max() - _HELD_V
    else:
        soc = _stretched(began, (charge_ah - charge_ah[0]) / capacity_ah, voltage_v, discharge)
        held = np.zeros(len(soc), np.bool_)
    return Branch(test.path, soc, voltage_v, through_ah, _rate(test.recording, part)), held


def _stretched(
    began: float, moved: FloatArray, voltage_v: FloatArray, discharge: Branch
) -> FloatArray:
    """State of charge of a charge that moved ``moved`` of the capacity, steps over steps."""
    soc = np.linspace(0.1, 0.95, 171)
    discharge_v = np.interp(soc, discharge.soc[::-1], discharge.voltage_v[::-1])
    longest = max(1.0, (1.0 - began) / float(moved[-1]))

    def roughness(stretch: float) -> float:
        reached = began + stretch * moved
        common = (soc > reached[0]) & (soc < reached[-1] - 0.02)
        gap_v = (np.interp(soc, reached, voltage_v) - discharge_v)[common]
        return float(np.mean(np.diff(gap_v) ** 2)) if common.sum() > 2 else np.inf

    best = min(np.linspace(1.0, longest, 31), key=roughness)
    found: FloatArray = began + best * moved
    return found


def _strongest(group: Sequence[Found], sign: float) -> tuple[Found, slice]:
    """The uninterrupted stretch in one direction that moves most charge."""
    name = "charge" if sign > 0 else "discharge"
    best: tuple[Found, slice] | None = None
    best_ah = 0.0
    for test in group:
        for stretch in flowing_stretches(test.recording, sign):
            charge_ah = moved_ah(test.recording, stretch)
            if charge_ah > best_ah:
                best, best_ah = (test, stretch), charge_ah
    places = ", ".join(test.path for test in group)
    if best is None:
        raise RecordingError(
            f"{places}: hold no {name}; the open-circuit voltage needs a slow discharge and a slow "
            "charge at one temperature"
        )
    test, stretch = best
    samples = stretch.stop - stretch.start
    if samples < _SHORTEST:
        raise RecordingError(f"{test.path}: its longest {name} has only {samples} samples")
    rate = _rate(test.recording, stretch)
    if rate > _HIGHEST_RATE:
        raise RecordingError(
            f"{test.path}: its {name} is too fast for an open-circuit voltage: {rate:.2f} of its "
            f"charge per hour, at most {_HIGHEST_RATE:g}"
        )
    return best


def _rate(recording: Recording, part: slice) -> float:
    """Current over the charge that moves [1/h]."""
    current_a = float(np.median(np.abs(recording.current_a[part])))
    return current_a / max(moved_ah(recording, part), 1e-9)


def _over(soc: FloatArray, measured_soc: FloatArray, voltage_v: FloatArray) -> FloatArray:
    """Voltage at ``soc``; beyond what was measured NaN, but for a margin of half a percent."""
    rising = np.maximum.accumulate(measured_soc)
    new = np.diff(rising, prepend=-np.inf) > 0
    values: FloatArray = np.interp(soc, rising[new], voltage_v[new])
    values[(soc < rising[0] - 0.005) | (soc > rising[-1] + 0.005)] = np.nan
    return values
