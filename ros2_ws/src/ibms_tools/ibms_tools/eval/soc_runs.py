# SPDX-License-Identifier: Apache-2.0
"""Recorded runs with their true state of charge, checked before anything is judged by them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ibms_battery.cell import Cell
from ibms_battery.recording_index import IndexRow, load_row, read_index
from ibms_battery.recordings import Columns, FloatArray, Recording, RecordingError, load_recording
from ibms_tools.eval.soc_simulation import Run

_WINDOW_V = 0.15  # beyond the cell's voltages: other cells show more, sensors less
_OUTSIDE_SHARE = 0.01
_REST_A = 0.02
_START_V = 0.12  # of a rested cell from its open-circuit voltage at the believed start
_TOO_FULL = 0.05
_OTHER_RATE_S = 0.5  # finer records are second ones of a run that is there at 1 s
_COUNT_SHARE = 0.02  # of the capacity must have flowed before the counter's direction is judged


@dataclass(frozen=True)
class EvaluationRun:
    """A run with what its place in the tables follows from."""

    run: Run
    path: str  # in the index, or of the file
    test: str
    temperature_c: float


def runs_of_folder(
    folder: Path, cell: Cell, roles: Sequence[str], temperatures_c: Sequence[float]
) -> list[EvaluationRun]:
    """Drives that an index lists for the cell's data set, with a charge counter, from full.

    A run that was recorded at two rates counts once, at the slower one.

    Raises:
        RecordingError: if there is none, or one cannot be used.
    """
    found: list[EvaluationRun] = []
    for row in read_index(folder):
        wanted = row.dataset == cell.name or row.dataset.startswith(cell.name)
        if not (wanted and row.role in roles and row.columns.charge):
            continue
        if row.sample_s < _OTHER_RATE_S:
            continue
        if temperatures_c and row.temperature_c not in temperatures_c:
            continue
        found.append(_run_of_row(row, cell))
    if not found:
        raise RecordingError(
            f"{folder}: lists no run of {cell.name} with role {' or '.join(roles)} and a charge "
            "counter" + (f" at {list(temperatures_c)} degC" if temperatures_c else "")
        )
    return sorted(_named_apart(found), key=lambda one: (-one.temperature_c, one.path))


def _named_apart(runs: Sequence[EvaluationRun]) -> list[EvaluationRun]:
    """Tests of one name at one temperature get the name of their folder as well."""
    count = Counter((one.temperature_c, one.test) for one in runs)
    return [
        replace(one, test=f"{Path(one.path).parent.name}_{one.test}")
        if count[one.temperature_c, one.test] > 1
        else one
        for one in runs
    ]


def halves(runs: Sequence[EvaluationRun]) -> tuple[list[EvaluationRun], list[EvaluationRun]]:
    """Runs to tune by and runs to judge by: every second one of each temperature."""
    tuned: list[EvaluationRun] = []
    judged: list[EvaluationRun] = []
    seen: Counter[float] = Counter()
    for one in runs:
        (judged if seen[one.temperature_c] % 2 else tuned).append(one)
        seen[one.temperature_c] += 1
    return tuned, judged


def run_of_file(file: Path, columns: Columns, cell: Cell, initial_soc: float) -> EvaluationRun:
    """A single file whose charge counter is 0 at ``initial_soc``; raises RecordingError."""
    recording = load_recording(file, columns, gaps_allowed=True)
    mean_c = float(np.nanmean(recording.temperature_c)) if columns.temperature else math.nan
    run = _checked(file.stem, str(file), recording, cell, initial_soc)
    return EvaluationRun(run, str(file), file.stem, mean_c)


def _run_of_row(row: IndexRow, cell: Cell) -> EvaluationRun:
    recording = load_row(row, gaps_allowed=True)
    run = _checked(row.test, str(row.file), recording, cell, 1.0)
    return EvaluationRun(run, row.path, row.test, row.temperature_c)


def _checked(name: str, place: str, recording: Recording, cell: Cell, initial_soc: float) -> Run:
    if not np.isfinite(recording.charge_ah).any():
        raise RecordingError(
            f"{place}: has no charge counter (Ah), so there is no true state of charge to compare "
            "with; name its column"
        )
    _check_sign(place, recording, cell.capacity_ah)
    _check_chemistry(place, recording, cell)
    truth = initial_soc + recording.charge_ah / cell.capacity_ah
    if np.nanmax(truth) > 1.0 + _TOO_FULL:
        raise RecordingError(
            f"{place}: the counter says {100 * np.nanmax(truth):.0f} % of {cell.capacity_ah:g} Ah; "
            f"it does not begin at {100 * initial_soc:.0f} %: give --initial-soc"
        )
    _check_start(place, recording, truth, cell)
    return Run(name, recording, truth)


def _check_sign(place: str, recording: Recording, capacity_ah: float) -> None:
    """The counter must follow the current."""
    step_h = np.diff(recording.time_s, prepend=recording.time_s[0]) / 3600.0
    counted_ah = np.nancumsum(recording.current_a * step_h)
    known = np.isfinite(recording.charge_ah)
    counter_ah = recording.charge_ah[known] - recording.charge_ah[known][0]
    counted_ah = counted_ah[known] - counted_ah[known][0]
    if np.abs(counter_ah).max() < _COUNT_SHARE * capacity_ah:
        return
    if float(counted_ah @ counter_ah) < 0.0:
        raise RecordingError(
            f"{place}: current in the wrong sign: the charge counter falls while the current says "
            "that charge comes in; discharge must be negative (or give --discharge-positive)"
        )


def _check_chemistry(place: str, recording: Recording, cell: Cell) -> None:
    voltage_v = recording.voltage_v[np.isfinite(recording.voltage_v)]
    low, high = cell.minimum_voltage_v - 2.0 * _WINDOW_V, cell.maximum_voltage_v + _WINDOW_V
    outside = np.mean((voltage_v < low) | (voltage_v > high)) if len(voltage_v) else 1.0
    if outside > _OUTSIDE_SHARE:
        raise RecordingError(
            f"{place}: {100 * outside:.0f} % of the voltages lie outside of {low:.2f} to "
            f"{high:.2f} V: this is no {cell.chemistry} cell like {cell.name}; "
            "take the cell file of the cell that was measured"
        )


def _check_start(place: str, recording: Recording, truth: FloatArray, cell: Cell) -> None:
    """A rested first sample must lie near the open-circuit voltage of its charge."""
    if not abs(recording.current_a[0]) < _REST_A or not np.isfinite(truth[0]):
        return
    ocv_v = float(np.interp(truth[0], cell.soc_points, cell.ocv_points_v))
    off_v = float(recording.voltage_v[0]) - ocv_v
    if abs(off_v) > _START_V:
        raise RecordingError(
            f"{place}: starts at rest with {recording.voltage_v[0]:.3f} V, but {cell.name} at "
            f"{100 * truth[0]:.0f} % has {ocv_v:.3f} V: it does not begin there (give "
            "--initial-soc), or the cell file is of another cell"
        )
