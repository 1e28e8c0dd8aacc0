# SPDX-License-Identifier: Apache-2.0
"""``./ibms eval protection``: what protection would have said of recordings of packs and cells.

It runs the core of ``protection`` over every row: which diagnosis names which cell, when first, how
often the pack would have opened, how fast that is. What a recording cannot answer is named so.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ament_index_python.packages import get_package_share_directory
from rich.console import Console
from rich.table import Table

from ibms_battery.configuration import ConfigurationError
from ibms_battery.fleet_recordings import (
    Description,
    FleetRecording,
    load_description,
    load_descriptions,
    load_fleet_recording,
    read_fleet_recording,
)
from ibms_battery.recordings import RecordingError
from ibms_battery.results import Result, measured, write
from ibms_edge.protection.table import load_table
from ibms_tools.eval.recorded_protection import Event, Outcome, judge_recording

_SPEED_TARGET = ">= 5000"
_SPEED_CELLS = 88  # the target holds for recordings of whole cars


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge recordings; exit code 1 for files that cannot be read, whatever was found."""
    share = Path(get_package_share_directory("ibms_bringup")) / "config"
    parser = argparse.ArgumentParser(prog="ibms eval protection", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        nargs="+",
        help="recordings (parquet, CSV) or folders of them; files in folders below are summed up",
    )
    parser.add_argument(
        "--limits", type=Path, required=True, help="table of diagnoses, as in config/diagnoses"
    )
    parser.add_argument(
        "--columns",
        type=Path,
        help="description of the files, as in config/recordings; by default the one that fits, "
        "or the index.csv above a file",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        table = load_table(options.limits)
        own = load_description(options.columns) if options.columns else None
        known = load_descriptions(share / "recordings")
        given = [data.resolve() for data in options.data]
        files = list(dict.fromkeys(file for data in given for file in find_files(data)))
    except (ConfigurationError, RecordingError) as error:
        print(f"ibms eval protection: {error}", file=sys.stderr)
        return 1
    base = Path(os.path.commonpath([d if d.is_dir() else d.parent for d in given]))
    outcomes: dict[Path, Outcome] = {}  # by the path from there
    for file in files:
        try:
            recording = _load(file, own, known)
        except RecordingError as error:
            print(f"ibms eval protection: left out: {error}", file=sys.stderr)
            continue
        outcome = outcomes[file.relative_to(base)] = judge_recording(recording, table)
        show(console, file, outcome)
    if options.json:
        command = " ".join(["./ibms eval protection", *(arguments or sys.argv[1:])])
        write(measured(command, all_figures(outcomes)), options.json)
    console.print(f"{len(outcomes)} recordings judged, {len(files) - len(outcomes)} left out")
    return 0 if outcomes else 1


def find_files(data: Path) -> list[Path]:
    """The file itself, or all parquet and CSV files below a folder.

    Raises:
        RecordingError: if there are none.
    """
    if data.is_dir():
        files = sorted(p for p in data.rglob("*") if p.suffix in (".parquet", ".csv"))
    else:
        files = [data] if data.is_file() else []
    if not files:
        raise RecordingError(f"{data}: there is no recording (a parquet or CSV file)")
    return files


def name_of(path: Path | str) -> str:
    """What a recording, folder or cell is called among the figures."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", str(path))


def all_figures(outcomes: Mapping[Path, Outcome]) -> list[Result]:
    """Figures of recordings by their paths: those in one folder below are summed up."""
    results: list[Result] = []
    folders: dict[Path, dict[str, Outcome]] = {}
    for path, outcome in outcomes.items():
        if path.parent == Path():
            results += figures(name_of(path.stem), outcome)
        else:
            folders.setdefault(path.parent, {})[path.stem] = outcome
    for folder, inside in folders.items():
        results += folder_figures(name_of(folder), inside)
    return results + totals(list(outcomes.values()))


def figures(name: str, outcome: Outcome) -> list[Result]:
    """Figures of one recording."""
    recording = outcome.recording
    rows, cells = recording.voltage_v.shape
    size = f"{rows} scans of {cells} cells, {outcome.evaluated} diagnoses"
    results = [
        Result(f"{name}.openings", outcome.openings, "1", None, size),
        Result(
            f"{name}.openings.by_missing_values",
            outcome.openings_by_missing,
            "1",
            None,
            "of these, because values were missing or invalid for as long as the debounce",
        ),
        Result(f"{name}.alarms", outcome.alarms, "1", None, "faults that open nothing, set newly"),
        Result(
            f"{name}.speed",
            round(outcome.scans_per_second),
            "scans/s",
            _SPEED_TARGET if cells >= _SPEED_CELLS else None,
            f"of processor time on one core; {size}",
        ),
        Result(
            f"{name}.invalid_values",
            recording.invalid,
            "1",
            None,
            f"codes in the file; {recording.repeated} repeated rows",
        ),
    ]
    for event in outcome.events:
        key = f"{name}.first.{event.diagnosis.name}.{event.level.name.lower()}"
        element = name_of(event.element)
        warned = _warning_near(outcome, event)
        results.append(
            Result(
                f"{key}.{element}" if element else key,
                round(float(recording.time_s[event.first_row]), 3),
                "s",
                None,
                f"{'opens' if event.opens else 'alarm'}, {event.element or 'pack'} at "
                f"{outcome.when(event.first_row)}: {event.first_value:.4g}, "
                f"{event.count} times; {event.diagnosis.text}"
                + (f"; the vehicle's own warning: {warned}" if warned else ""),
            )
        )
    return results


def folder_figures(name: str, outcomes: Mapping[str, Outcome]) -> list[Result]:
    """Sums over the recordings of a folder, and what tripped in how many of them."""
    results = sums(name, list(outcomes.values()))
    found: dict[str, list[tuple[str, Event]]] = {}
    for recording, outcome in outcomes.items():
        for event in outcome.events:
            key = f"{event.diagnosis.name}.{event.level.name.lower()}"
            found.setdefault(key, []).append((recording, event))
    for key, events in found.items():
        recording, first = events[0]
        results.append(
            Result(
                f"{name}.{key}",
                sum(event.count for _, event in events),
                "1",
                None,
                f"{'opens' if first.opens else 'alarm'}, first in {recording} at "
                f"{outcomes[recording].when(first.first_row)}: {first.first_value:.4g}; "
                f"{first.diagnosis.text}",
            )
        )
    return results


def sums(name: str, outcomes: Sequence[Outcome]) -> list[Result]:
    """How many recordings, openings and alarms, and how fast they were judged."""
    rows = sum(len(outcome.recording.time_s) for outcome in outcomes)
    evaluated = sorted({outcome.evaluated for outcome in outcomes})
    size = f"{rows} scans; {' to '.join(map(str, evaluated[:1] + evaluated[1:][-1:]))} diagnoses"
    openings = sum(outcome.openings for outcome in outcomes)
    by_missing = sum(outcome.openings_by_missing for outcome in outcomes)
    speed = rows / sum(outcome.judging_s for outcome in outcomes) if outcomes else None
    return [
        Result(f"{name}.recordings", len(outcomes), "1", None, size),
        Result(f"{name}.openings", openings, "1"),
        Result(f"{name}.openings.by_missing_values", by_missing, "1"),
        Result(f"{name}.alarms", sum(outcome.alarms for outcome in outcomes), "1"),
        Result(
            f"{name}.speed",
            None if speed is None else round(speed),
            "scans/s",
            None,
            "of processor time on one core",
        ),
    ]


def totals(outcomes: Sequence[Outcome]) -> list[Result]:
    """Sums over all recordings, and what none or not all of them can answer."""
    results = sums("all", outcomes)
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        for diagnosis, reason in outcome.not_evaluable.items():
            reasons.setdefault(diagnosis, []).append(reason)
    results += [
        Result(
            f"not_evaluable.{diagnosis}",
            len(found),
            "recordings",
            None,
            f"not evaluable: {'; '.join(dict.fromkeys(found))}",
        )
        for diagnosis, found in reasons.items()
    ]
    return results


def show(console: Console, file: Path, outcome: Outcome) -> None:
    """Print one recording."""
    recording = outcome.recording
    rows, cells = recording.voltage_v.shape
    console.print(
        f"[bold]{file.name}[/bold]: {rows} scans of {cells} cells, "
        f"{outcome.scans_per_second:.0f} scans/s; {outcome.openings} openings "
        f"({outcome.openings_by_missing} by missing values), {outcome.alarms} alarms; "
        f"{outcome.evaluated} diagnoses evaluated, "
        f"{len(outcome.not_evaluable)} not evaluable"
    )
    if not outcome.events:
        return
    table = Table("first time", "cell", "diagnosis", "level", "value", "times", "the car warned")
    for event in outcome.events:
        table.add_row(
            outcome.when(event.first_row),
            event.element,
            f"[red]{event.diagnosis.name}[/red]" if event.opens else event.diagnosis.name,
            event.level.name.lower(),
            f"{event.first_value:.4g}",
            str(event.count),
            _warning_near(outcome, event),
        )
    console.print(table)


def _warning_near(outcome: Outcome, event: Event) -> str:
    """When the vehicle's own BMS first warned most severely, beside ours; empty if never."""
    levels = outcome.recording.warning_level
    if not (levels > 0).any():
        return ""
    first = int(np.nanargmax(levels))
    order = "before" if first < event.first_row else "after"
    return f"{outcome.when(first)} ({order} this)"


def _load(file: Path, own: Description | None, known: dict[str, Description]) -> FleetRecording:
    return read_fleet_recording(file, own) if own else load_fleet_recording(file, known)


if __name__ == "__main__":
    raise SystemExit(main())
