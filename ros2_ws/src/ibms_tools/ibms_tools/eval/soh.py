# SPDX-License-Identifier: Apache-2.0
"""``./ibms eval soh``: capacity from a part of a discharge, against the whole discharge.

The first discharges of a cell make its model. From each later one a window is cut out, and the
capacity is estimated from the voltage, current and temperature inside the window alone.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ibms_battery.recording_index import read_index
from ibms_battery.recordings import FloatArray, RecordingError
from ibms_battery.results import Result, measured, write
from ibms_edge.estimation.capacity import (
    UNTAUGHT,
    AgeingPattern,
    CapacityError,
    Window,
    build_reference,
    estimate_capacity,
    learn_ageing,
)
from ibms_tools.eval.soh_discharges import cut, read_discharges

_TEST = "cycle_ageing"
_WINDOWS = ((0.8, 0.4), (0.6, 0.2))
_DRAWN = "drawn"
_UNTAUGHT = "untaught"
_TARGET = "<= 0.02"
_WITHIN = 0.02
_COLUMNS = ("rmse", "mean", "maximum", "within_2_percent", "within_2_sigma", "mean_sigma")


@dataclass(frozen=True)
class SohFigures:
    """Errors of one cell, kind of window and teacher; relative to the measured capacity."""

    cell_id: str
    window: str
    teacher: str  # cell whose ageing was learned, or ``untaught``
    faded_to: float  # smallest capacity judged, over that when new
    errors: FloatArray  # (windows,)
    sigmas: FloatArray  # (windows,)
    refused: int

    @property
    def values(self) -> tuple[float, ...]:
        """In the order of the columns; NaN if all windows were refused."""
        if not len(self.errors):
            return (np.nan,) * len(_COLUMNS)
        size = np.abs(self.errors)
        return (
            float(np.sqrt(np.mean(size**2))),
            float(np.mean(self.errors)),
            float(np.max(size)),
            float(np.mean(size <= _WITHIN)),
            float(np.mean(size <= 2.0 * self.sigmas)),
            float(np.mean(self.sigmas)),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate; exit code 1 for files that cannot be used, whatever was found."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="ibms eval soh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of an index.csv that lists ageing tests"
    )
    parser.add_argument(
        "--cell-id", nargs="+", required=True, help="cells, as the index names them"
    )
    parser.add_argument(
        "--teacher",
        nargs="*",
        default=[],
        help="aged cells of the same type; each teaches all other cells what ageing looks like",
    )
    parser.add_argument(
        "--initial", type=int, default=10, help="discharges that make the model (default 10)"
    )
    parser.add_argument(
        "--end-voltage", type=float, default=2.7, help="a discharge ends here [V] (default 2.7)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the windows drawn (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(given)
    if options.initial < 1:
        parser.error("--initial: at least one discharge makes a model")
    try:
        discharges = _read(options)
        teachers = {_UNTAUGHT: UNTAUGHT} | {
            name: _learn(name, discharges[name], options.initial) for name in options.teacher
        }
        figures = []
        for cell_id in options.cell_id:
            print(f"{cell_id}: {len(discharges[cell_id])} discharges", file=sys.stderr)
            for teacher, pattern in teachers.items():
                if teacher != cell_id:
                    figures += evaluate(
                        cell_id,
                        discharges[cell_id],
                        options.initial,
                        teacher,
                        pattern,
                        options.seed,
                    )
    except (RecordingError, CapacityError) as error:
        print(f"ibms eval soh: {error}", file=sys.stderr)
        return 1
    _show(Console(), figures)
    if options.json:
        report = measured(
            shlex.join(["./ibms", "eval", "soh", *given]),
            soh_results(figures, options.initial),
            _COLUMNS,
        )
        write(report, options.json)
    return 0


def _read(options: argparse.Namespace) -> dict[str, list[Window]]:
    rows = [row for row in read_index(options.data) if row.test == _TEST]
    found = {}
    for cell_id in dict.fromkeys([*options.cell_id, *options.teacher]):
        ours = [row for row in rows if row.cell_id == cell_id]
        if not ours:
            listed = ", ".join(sorted({row.cell_id for row in rows})) or "none"
            raise RecordingError(
                f"{options.data}: lists no test {_TEST!r} of cell {cell_id!r}; those it lists: "
                f"{listed}"
            )
        found[cell_id] = read_discharges(ours, options.end_voltage)
        if len(found[cell_id]) <= options.initial:
            raise RecordingError(
                f"{ours[0].file}: {len(found[cell_id])} complete discharges of {cell_id}, expected "
                f"more than the {options.initial} that make the model"
            )
    return found


def _learn(name: str, discharges: Sequence[Window], initial: int) -> AgeingPattern:
    try:
        return learn_ageing(build_reference(discharges[:initial]), discharges[initial:])
    except CapacityError as error:
        raise CapacityError(f"teacher {name}: {error}") from error


def evaluate(
    cell_id: str,
    discharges: Sequence[Window],
    initial: int,
    teacher: str,
    pattern: AgeingPattern,
    seed: int,
) -> list[SohFigures]:
    """Figures for each kind of window.

    A window of 80 to 40 % of the cell's own SOC moves 40 % of the capacity sought: who knew this
    length would know the capacity. Windows of drawn begin and length show that it is not used.
    """
    reference = build_reference(discharges[:initial], pattern)
    later = discharges[initial:]
    random = np.random.default_rng(seed)
    begins = random.uniform(0.65, 0.9, len(later))
    kinds = {
        f"{100 * begin:.0f}_to_{100 * end:.0f}": [(begin, end)] * len(later)
        for begin, end in _WINDOWS
    }
    lengths = random.uniform(0.3, 0.5, len(later))
    kinds[_DRAWN] = list(zip(begins, begins - lengths, strict=True))
    found = []
    for window, bounds in kinds.items():
        errors, sigmas = [], []
        for discharge, (begin, end) in zip(later, bounds, strict=True):
            try:
                estimate = estimate_capacity(cut(discharge, begin, end), reference)
            except CapacityError:
                continue
            capacity_ah = discharge.charge_ah[-1]
            errors.append(estimate.capacity_ah / capacity_ah - 1.0)
            sigmas.append(estimate.std_ah / capacity_ah)
        found.append(
            SohFigures(
                cell_id=cell_id,
                window=window,
                teacher=teacher,
                faded_to=min(one.charge_ah[-1] for one in later) / reference.capacity_ah,
                errors=np.array(errors),
                sigmas=np.array(sigmas),
                refused=len(later) - len(errors),
            )
        )
    return found


def soh_results(figures: Sequence[SohFigures], initial: int) -> list[Result]:
    """All figures; the target is on the root-mean-square error of the fixed windows."""
    results = []
    for one in figures:
        taught = one.teacher != _UNTAUGHT
        context = "; ".join(
            [
                f"ageing learned on the other cell {one.teacher}"
                if taught
                else "initial model alone",
                f"{len(one.errors)} windows, {one.refused} refused, capacity fades to "
                f"{100 * one.faded_to:.0f} % of that when new",
                f"relative to the capacity of the whole discharge; model of the cell from its "
                f"first {initial} discharges; each window judged by itself, its place unknown",
            ]
        )
        name = f"{one.cell_id}.{one.window}.{f'taught_by_{one.teacher}' if taught else _UNTAUGHT}"
        for column, value in zip(_COLUMNS, one.values, strict=True):
            bounded = column == "rmse" and one.window != _DRAWN
            results.append(
                Result(
                    f"{name}.{column}",
                    None if np.isnan(value) else round(value, 5),
                    "1",
                    _TARGET if bounded else None,
                    context,
                )
            )
    return results


def _show(console: Console, figures: Sequence[SohFigures]) -> None:
    table = Table(
        title="Capacity from a window of a discharge, error in % of the capacity", padding=(0, 0)
    )
    for column in ("cell", "window", "taught by"):
        table.add_column(column)
    for column in ("n", "refused", "RMSE", "mean", "max", "in 2", "in 2 s", "sigma"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in figures:
        rmse, mean, largest, within, covered, sigma = one.values
        table.add_row(
            one.cell_id,
            one.window.replace("_to_", "-"),
            "-" if one.teacher == _UNTAUGHT else one.teacher,
            f"{len(one.errors)}",
            f"{one.refused}",
            f"{100 * rmse:.2f}",
            f"{100 * mean:+.2f}",
            f"{100 * largest:.2f}",
            f"{100 * within:.0f}",
            f"{100 * covered:.0f}",
            f"{100 * sigma:.2f}",
        )
    console.print(table)
    console.print("in 2: share within 2 %; in 2 s: share within twice the stated sigma, both in %")


if __name__ == "__main__":
    sys.exit(main())
