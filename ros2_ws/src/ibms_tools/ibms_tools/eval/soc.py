# SPDX-License-Identifier: Apache-2.0
"""``./ibms eval soc``: estimators of the state of charge on measured runs.

One scenario by the options, or with --protocol all of them: right and wrong starts, wrong sensors.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ibms_battery.cell import Cell, load_cell
from ibms_battery.configuration import ConfigurationError
from ibms_battery.identification.checks import IdentificationError
from ibms_battery.identification.identify import identify
from ibms_battery.identification.plan import load_plan
from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import Columns, RecordingError
from ibms_battery.results import Result, measured, write
from ibms_edge.estimation.registry import DEFAULT, ESTIMATORS, LEARNED, build_estimator
from ibms_tools.eval.soc_joined import DRIFT_TARGET, SENSORS, joined_run, plant_run
from ibms_tools.eval.soc_runs import EvaluationRun, halves, run_of_file, runs_of_folder
from ibms_tools.eval.soc_scenarios import GROUPS, PROTOCOL, Scenario, draws
from ibms_tools.eval.soc_simulation import SocFigures, Trace, judge, simulate
from ibms_tools.eval.soc_table import Entry, console_table, results_of, sigma_results
from ibms_tools.eval.soc_targets import truth_uncertainty

_START_STD = 0.2
_SEED = 20260401


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate; exit code 1 for files that cannot be used."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        cell = load_cell(options.cell)
        if options.joined or options.plant:
            return _day(options, cell, console, arguments)
        runs = _runs(options, cell)
        cell_of = _cells(options, cell)
        scenarios = _scenarios(options)
        uncertainty = truth_uncertainty(cell.name)
        entries, traces = [], []
        for estimator in options.estimator:
            for one in runs:
                found = _evaluate(one, cell_of(one), estimator, scenarios, options)
                judged = [judge(trace, uncertainty) for trace in found]
                entries += _entries(one, estimator, found, judged, bool(options.cross_validate))
                traces += found if options.html else []
            print(f"{estimator}: {len(runs)} runs", file=sys.stderr)
    except (ConfigurationError, RecordingError, IdentificationError, ValueError) as error:
        print(f"ibms eval soc: {error}", file=sys.stderr)
        return 1
    if options.protocol:
        console.print(console_table(cell.name, entries, GROUPS))
    else:
        console.print(_figures_table(entries))
    results = _results(options, cell, entries)
    if options.json:
        given = sys.argv[1:] if arguments is None else arguments
        columns = GROUPS if options.protocol else ()
        report = measured(shlex.join(["./ibms", "eval", "soc", *given]), results, columns)
        write(report, options.json)
    if options.html:
        # Plotting takes seconds to import, and only this needs it.
        from ibms_tools.eval.soc_report import write_report

        write_report(options.html, cell.name, entries, traces)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ibms eval soc", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="a recording, or the folder of an index.csv"
    )
    parser.add_argument("--cell", type=Path, required=True, help="cell file, as in config/cells")
    parser.add_argument(
        "--estimator",
        nargs="+",
        default=[DEFAULT],
        choices=[*ESTIMATORS, *LEARNED],
        help=f"one or several (default {DEFAULT})",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--html", type=Path, help="write a page with plots to this file")
    which = parser.add_argument_group("which runs of a folder")
    which.add_argument("--role", nargs="+", default=["test"], help="roles of rows (default test)")
    which.add_argument("--temperature", type=float, nargs="+", default=[], help="[degC]")
    which.add_argument(
        "--cross-validate",
        type=Path,
        metavar="PLAN",
        help="identify the cell by this plan anew for each run, without it",
    )
    which.add_argument(
        "--not-tuned-by",
        action="store_true",
        help="of train runs only those by which ./ibms tune does not tune",
    )
    file = parser.add_argument_group("how to read a file that no index lists")
    file.add_argument("--time-column", default="time_s")
    file.add_argument("--voltage-column", default="voltage_V")
    file.add_argument("--current-column", default="current_A")
    file.add_argument("--temperature-column", default="")
    file.add_argument("--charge-column", default="", help="counted charge [Ah], the reference")
    file.add_argument("--discharge-positive", action="store_true")
    file.add_argument("--initial-soc", type=float, default=1.0, help="where the counter is 0")
    day = parser.add_argument_group("a long run with sensors that are off all the time")
    day.add_argument(
        "--joined", type=float, metavar="HOURS", help="drives and charges at 25 degC joined"
    )
    day.add_argument("--plant", type=float, metavar="HOURS", help="a simulated cell")
    wrong = parser.add_argument_group("what the estimator is told wrongly")
    wrong.add_argument("--protocol", action="store_true", help="all starts and sensor errors")
    wrong.add_argument("--draws", type=int, default=0, help="random combinations for each run")
    wrong.add_argument("--seed", type=int, default=_SEED)
    wrong.add_argument("--initial-error", type=float, default=0.0, help="of the start [1]")
    wrong.add_argument("--start-soc", type=float, help="true charge at which it starts [1]")
    wrong.add_argument(
        "--start-sigma",
        type=float,
        default=_START_STD,
        help=f"that it is told of any start [1] (default {_START_STD})",
    )
    wrong.add_argument("--current-bias", type=float, default=0.0, help="[A]")
    wrong.add_argument("--current-gain", type=float, default=1.0, help="[1]")
    wrong.add_argument("--voltage-offset", type=float, default=0.0, help="[V]")
    wrong.add_argument("--temperature-offset", type=float, default=0.0, help="[K]")
    wrong.add_argument("--voltage-noise", type=float, default=0.0, help="one sigma [V]")
    return parser


def _runs(options: argparse.Namespace, cell: Cell) -> list[EvaluationRun]:
    if options.data.is_dir():
        runs = runs_of_folder(options.data, cell, options.role, options.temperature)
        return halves(runs)[1] if options.not_tuned_by else runs
    if options.charge_column:
        columns = Columns(
            time=options.time_column,
            voltage=options.voltage_column,
            current=options.current_column,
            temperature=options.temperature_column,
            charge=options.charge_column,
            discharge_positive=options.discharge_positive,
        )
    else:
        columns = find_columns(options.data)
    return [run_of_file(options.data, columns, cell, options.initial_soc)]


def _day(
    options: argparse.Namespace, cell: Cell, console: Console, arguments: Sequence[str] | None
) -> int:
    """Long runs with wrong sensors: what is left of the error at their end."""
    runs = []
    if options.joined:
        runs.append(("measured", joined_run(options.data, cell, options.joined)))
    if options.plant:
        runs.append(("simulated", plant_run(cell, options.plant)))
    results = []
    for source, run in runs:
        for estimator in options.estimator:
            (trace,) = simulate(
                partial(build_estimator, estimator, cell), run, [SENSORS], options.start_sigma
            )
            figures = judge(trace, truth_uncertainty(cell.name))
            drift = abs(float(trace.soc[-1] - run.truth[-1]))
            context = f"{run.name}, current +0.5 % and +100 mA, known start"
            prefix = f"{source}.{estimator}"
            target = DRIFT_TARGET if estimator == DEFAULT else None
            results += [
                Result(f"{prefix}.drift", round(100 * drift, 3), "%", target, f"end; {context}"),
                Result(f"{prefix}.rmse", round(100 * figures.rmse, 3), "%", None, context),
                Result(f"{prefix}.largest", round(100 * figures.largest, 3), "%", None, context),
            ]
            console.print(
                f"{run.name}, {estimator}: {100 * drift:.2f} % off at the end, RMSE "
                f"{100 * figures.rmse:.2f} %, at most {100 * figures.largest:.2f} %"
            )
    if options.json:
        given = sys.argv[1:] if arguments is None else arguments
        write(measured(shlex.join(["./ibms", "eval", "soc", *given]), results), options.json)
    return 0


def _cells(options: argparse.Namespace, cell: Cell) -> Callable[[EvaluationRun], Cell]:
    """The cell file for a run: as given, or identified without it, with the given uncertainty."""
    if not options.cross_validate:
        return lambda _: cell
    learned = [name for name in options.estimator if name in LEARNED]
    if learned:
        raise ValueError(
            f"--cross-validate leaves a run out of the circuit, but the network of "
            f"{', '.join(learned)} was trained with it; evaluate runs with role test"
        )
    identified = identify(load_plan(options.cross_validate), options.data, cell.model)
    return lambda one: identified.without(one.path)


def _scenarios(options: argparse.Namespace) -> tuple[Scenario, ...]:
    drawn = draws(options.draws, options.seed)
    if options.protocol:
        return PROTOCOL + drawn
    given = Scenario(
        "given",
        start_error=options.initial_error,
        start_soc=options.start_soc,
        current_bias_a=options.current_bias,
        current_gain=options.current_gain,
        voltage_offset_v=options.voltage_offset,
        temperature_offset_k=options.temperature_offset,
        voltage_noise_v=options.voltage_noise,
    )
    return (given, *drawn)


def _evaluate(
    one: EvaluationRun,
    cell: Cell,
    estimator: str,
    scenarios: Sequence[Scenario],
    options: argparse.Namespace,
) -> list[Trace]:
    return simulate(
        lambda count: build_estimator(estimator, cell, count),
        one.run,
        scenarios,
        options.start_sigma,
        options.seed,
    )


def _entries(
    one: EvaluationRun,
    estimator: str,
    traces: Sequence[Trace],
    judged: Sequence[SocFigures],
    is_cross_validated: bool,
) -> list[Entry]:
    groups: dict[str, list[SocFigures]] = {}
    for trace, figures in zip(traces, judged, strict=True):
        groups.setdefault(trace.scenario.group, []).append(figures)
    return [
        Entry(estimator, one.temperature_c, one.test, group, is_cross_validated, tuple(figures))
        for group, figures in groups.items()
    ]


def _results(options: argparse.Namespace, cell: Cell, entries: Sequence[Entry]) -> list[Result]:
    if options.protocol:
        table = [entry for entry in entries if entry.group in GROUPS]
        return results_of(cell.name, table, DEFAULT) + sigma_results(entries)
    results = []
    for entry in entries:
        for figures in entry.figures[:1]:
            prefix = f"{entry.estimator}.{entry.test}.{entry.group}"
            results += [
                Result(f"{prefix}.mae", round(100 * figures.mae, 3), "%"),
                Result(f"{prefix}.rmse", round(100 * figures.rmse, 3), "%"),
                Result(f"{prefix}.largest_error", round(100 * figures.largest, 3), "%"),
                Result(f"{prefix}.convergence", figures.convergence_s, "s", None, "within 5 %"),
                Result(f"{prefix}.inside_2_sigma", round(figures.coverage, 4), "1"),
                Result(f"{prefix}.mean_sigma", round(100 * figures.mean_std, 3), "%"),
            ]
    return results + (sigma_results(entries) if options.draws else [])


def _figures_table(entries: Sequence[Entry]) -> Table:
    table = Table(title="Errors after 600 s [%]")
    for column in ("run", "estimator", "MAE", "RMSE", "maximum", "within 5 % after", "in 2 sigma"):
        table.add_column(column, justify="left" if column in ("run", "estimator") else "right")
    table.add_column("mean sigma", justify="right")
    for entry in entries:
        for figures in entry.figures:
            converged = figures.convergence_s
            table.add_row(
                f"{entry.temperature_c:.0f} degC {entry.test} {entry.group}",
                entry.estimator,
                f"{100 * figures.mae:.2f}",
                f"{100 * figures.rmse:.2f}",
                f"{100 * figures.largest:.2f}",
                "never" if converged is None else f"{converged:.0f} s",
                f"{100 * figures.coverage:.0f} %",
                f"{100 * figures.mean_std:.2f}",
            )
    return table


if __name__ == "__main__":
    sys.exit(main())
