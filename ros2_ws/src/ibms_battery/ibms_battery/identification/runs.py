# SPDX-License-Identifier: Apache-2.0
"""Recordings that a plan names, as runs to fit: even steps and a known charge. No ROS."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow

from ibms_battery.identification.plan import HELD_BACK, Source
from ibms_battery.recording_index import IndexRow, find_rows, load_row, read_index
from ibms_battery.recordings import (
    FloatArray,
    Recording,
    RecordingError,
    load_recording,
    read_table,
)

STEP_S = 1.0
_LONG_STEP_S = 5.0  # beyond it the charge counter tells the current better than a sample does
_LARGEST_MISCOUNT = 0.2  # of the charge that moved
_FLOWING = 0.2  # of the median current in one direction; below is a pause
_MOVED_AH = 0.02  # of the capacity, below which a counter is not compared


@dataclass(frozen=True)
class Found:
    """A recording that a source names."""

    path: str  # in the index, or as the plan writes it
    test: str
    source: Source
    recording: Recording


@dataclass(frozen=True)
class Run:
    """A run to fit, all arrays (samples,); current positive when charging."""

    path: str
    test: str
    time_s: FloatArray
    voltage_v: FloatArray
    current_a: FloatArray
    held_a: FloatArray  # mean over the step before the sample
    temperature_c: FloatArray
    soc: FloatArray
    weight: FloatArray  # of the squared error
    voltage_offset: int | None = None  # number of the constant by which its voltmeter is off

    @property
    def step_s(self) -> FloatArray:
        """Time since the sample before; 0 for the first."""
        step: FloatArray = np.diff(self.time_s, prepend=self.time_s[0])
        return step

    @property
    def mean_temperature_c(self) -> float:
        """Mean of the samples."""
        return float(self.temperature_c.mean())


def find_recordings(sources: list[Source], data: Path) -> list[Found]:
    """All recordings that the sources name, in the folder ``data``.

    Raises:
        RecordingError: if a source finds nothing, a file is marked for evaluation, or one cannot be
            read or has no temperature.
    """
    found: list[Found] = []
    for source in sources:
        found += _from_files(source, data) if source.files else _from_index(source, data)
    for one in found:
        if not np.isfinite(one.recording.temperature_c).all():
            raise RecordingError(
                f"{one.path}: holds no temperature; name the column, or temperature_c in the plan"
            )
    return found


def make_runs(recordings: list[Found], capacity_ah: float) -> list[Run]:
    """Turn recordings into runs; those of another voltmeter share an offset per temperature.

    Raises:
        RecordingError: as ``make_run``.
    """
    runs: list[Run] = []
    numbers: dict[int, int] = {}
    for found in recordings:
        run = make_run(found, capacity_ah)
        if found.source.voltage_offset:
            temperature_c = round(run.mean_temperature_c)
            number = numbers.setdefault(temperature_c, len(numbers))
            run = replace(run, voltage_offset=number)
        runs.append(run)
    return runs


def make_run(found: Found, capacity_ah: float) -> Run:
    """Turn a recording into a run.

    Raises:
        RecordingError: if its charge counter contradicts its current.
    """
    whole = found.recording
    if found.source.part == "discharge":
        stretches = flowing_stretches(whole, -1.0)
        if not stretches:
            raise RecordingError(f"{found.path}: holds no discharge")
        whole = _picked(whole, max(stretches, key=lambda part: moved_ah(whole, part)))
    recording = resample(whole, STEP_S)
    counted_ah = charge_of(recording)
    _check_counter(found, recording, capacity_ah)
    step_s = np.diff(recording.time_s, prepend=recording.time_s[0])
    held_a = recording.current_a.copy()
    long = step_s > _LONG_STEP_S
    held_a[long] = 3600.0 * np.diff(counted_ah, prepend=counted_ah[0])[long] / step_s[long]
    soc = found.source.starting_soc + (counted_ah - counted_ah[0]) / capacity_ah
    weight = np.full(len(soc), found.source.weight)
    for low, high in found.source.leave_out_soc:
        nearest = np.clip(soc, 0.0, 1.0)  # a range to 0 or 1 holds what lies beyond, too
        weight[(nearest >= low) & (nearest <= high)] = 0.0
    return Run(
        path=found.path,
        test=found.test,
        time_s=recording.time_s,
        voltage_v=recording.voltage_v,
        current_a=recording.current_a,
        held_a=held_a,
        temperature_c=recording.temperature_c,
        soc=soc,
        weight=weight,
    )


def resample(recording: Recording, step_s: float) -> Recording:
    """Means over steps of a grid that have samples; the charge is the last of each step."""
    place = np.floor(recording.time_s / step_s + 1e-6).astype(np.int64)
    places, first = np.unique(place, return_index=True)
    counts = np.diff(np.append(first, len(place)))

    def mean(values: FloatArray) -> FloatArray:
        means: FloatArray = np.add.reduceat(values, first) / counts
        return means

    return Recording(
        time_s=places.astype(np.float64) * step_s,
        voltage_v=mean(recording.voltage_v),
        current_a=mean(recording.current_a),
        temperature_c=mean(recording.temperature_c),
        charge_ah=recording.charge_ah[np.append(first[1:], len(place)) - 1],
        repeated=recording.repeated,
    )


def charge_of(recording: Recording) -> FloatArray:
    """Charge counter [A h] (samples,): the tester's, else the sum of current and time."""
    if np.isfinite(recording.charge_ah).all():
        return recording.charge_ah
    return _counted(recording)


def flowing_stretches(recording: Recording, sign: float) -> list[slice]:
    """Stretches in which current flows in one direction (1 charges) without a pause."""
    current_a = sign * recording.current_a
    if not (current_a > 0.0).any():
        return []
    flows = current_a > _FLOWING * float(np.median(current_a[current_a > 0.0]))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flows.astype(np.int8), [0]])))
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [slice(int(begin), int(end)) for begin, end in pairs]


def moved_ah(recording: Recording, part: slice) -> float:
    """Charge that moved in a part, from the sample before it to its last [A h]."""
    charge_ah = charge_of(recording)
    return abs(float(charge_ah[part.stop - 1] - charge_ah[max(part.start - 1, 0)]))


def _counted(recording: Recording) -> FloatArray:
    mean_a = 0.5 * (recording.current_a[1:] + recording.current_a[:-1])
    moved_ah = np.cumsum(mean_a * np.diff(recording.time_s)) / 3600.0
    return np.concatenate([[0.0], moved_ah])


def _check_counter(found: Found, recording: Recording, capacity_ah: float) -> None:
    if not np.isfinite(recording.charge_ah).all():
        return
    known = np.diff(recording.time_s) <= _LONG_STEP_S  # what flows in a gap only the tester knows
    told_ah = float(np.diff(recording.charge_ah)[known].sum())
    counted_ah = float(np.diff(_counted(recording))[known].sum())
    if max(abs(told_ah), abs(counted_ah)) < _MOVED_AH * capacity_ah:
        return
    if abs(told_ah - counted_ah) > _LARGEST_MISCOUNT * abs(told_ah):
        raise RecordingError(
            f"{found.path}: the charge counter moves by {told_ah:+.3f} A h, the current by "
            f"{counted_ah:+.3f} A h; check the columns and discharge_positive"
        )


def _from_files(source: Source, data: Path) -> Iterator[Found]:
    for name in source.files:
        file = data / name
        try:
            rows = find_rows(file)
        except RecordingError:  # no index, or none that knows it: a user's own file
            rows = []
        for row in rows:
            _refuse_held_back(row)
        recording = load_recording(file, source.columns)
        if not source.columns.temperature:
            recording = _at_temperature(recording, source)
        yield Found(name, Path(name).stem, source, recording)


def _at_temperature(recording: Recording, source: Source) -> Recording:
    if source.temperature_c is None:
        return recording
    warm = np.full(len(recording.time_s), source.temperature_c)
    return replace(recording, temperature_c=warm)


def _from_index(source: Source, data: Path) -> Iterator[Found]:
    rows = [row for row in read_index(data) if row.dataset == source.dataset]
    chosen = [
        row
        for row in rows
        if any(fnmatchcase(row.test, test) for test in source.tests)
        and row.role in source.roles
        and (not source.temperatures_c or row.temperature_c in source.temperatures_c)
    ]
    if not chosen:
        raise RecordingError(
            f"{data}: the index has no row of dataset {source.dataset!r} with test "
            f"{', '.join(source.tests)} and role {' or '.join(source.roles)}"
            + (f" at {source.temperatures_c} degC" if source.temperatures_c else "")
        )
    for row in chosen:
        _refuse_held_back(row)
        recording = _with_gaps_filled(row, rows, source) if source.gaps else load_row(row)
        yield Found(row.path, row.test, source, _at_temperature(recording, source))


def _refuse_held_back(row: IndexRow) -> None:
    if row.role == HELD_BACK:
        raise RecordingError(
            f"{row.path}: has role {HELD_BACK} in the index; nothing may learn from it"
        )


def _with_gaps_filled(row: IndexRow, rows: list[IndexRow], source: Source) -> Recording:
    assert source.gaps is not None
    whole = load_row(row)
    start_s = _clock_s(row, source.gaps.clock)
    parts = [whole]
    for other in rows:
        same = other.test == source.gaps.test and other.temperature_c == row.temperature_c
        if same and other.role in source.roles:
            part = load_row(other)
            time_s = part.time_s + _clock_s(other, source.gaps.clock) - start_s
            # Only what lies in a gap: elsewhere the row itself knows better.
            after = np.searchsorted(whole.time_s, time_s)
            inside = (after > 0) & (after < len(whole.time_s))
            after = np.clip(after, 1, len(whole.time_s) - 1)
            gap_s = whole.time_s[after] - whole.time_s[after - 1]
            inside &= gap_s > 2.0 * _LONG_STEP_S
            parts.append(_picked(replace(part, time_s=time_s), inside))
    time_s = np.concatenate([part.time_s for part in parts])
    order = np.argsort(time_s, kind="stable")
    order = order[np.diff(time_s[order], prepend=-np.inf) > 0]
    return Recording(
        time_s=time_s[order],
        voltage_v=np.concatenate([part.voltage_v for part in parts])[order],
        current_a=np.concatenate([part.current_a for part in parts])[order],
        temperature_c=np.concatenate([part.temperature_c for part in parts])[order],
        charge_ah=np.concatenate([part.charge_ah for part in parts])[order],
        repeated=whole.repeated,
    )


def _picked(part: Recording, which: slice | npt.NDArray[np.bool_]) -> Recording:
    return Recording(
        time_s=part.time_s[which],
        voltage_v=part.voltage_v[which],
        current_a=part.current_a[which],
        temperature_c=part.temperature_c[which],
        charge_ah=part.charge_ah[which],
        repeated=part.repeated,
    )


def _clock_s(row: IndexRow, clock: str) -> float:
    """Wall clock of the first sample [s]."""
    table = read_table(row.file)
    if clock not in table.column_names:
        raise RecordingError(f"{row.path}: has no column {clock!r} with date and time")
    first = table.column(clock).slice(0, 1).cast(pyarrow.timestamp("us"))
    return float(first.cast(pyarrow.int64()).to_numpy()[0]) * 1e-6
