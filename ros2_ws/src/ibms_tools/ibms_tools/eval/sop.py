# SPDX-License-Identifier: Apache-2.0
"""``./ibms eval sop``: predicted power against measured pulses, and a plant driven at the limit.

Pulses: each is predicted from the rest before it, by the estimator that saw this rest. Plant: a
simulated cell is driven at the predicted limit for each horizon, followed by the estimator.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ament_index_python.packages import get_package_share_directory
from rich.console import Console
from rich.table import Table

from ibms_battery.cell import load_cell
from ibms_battery.configuration import ConfigurationError
from ibms_battery.recording_index import find_rows, load_row, read_index
from ibms_battery.recordings import RecordingError
from ibms_battery.results import Result, measured, write
from ibms_edge.limits.curves import load_curves
from ibms_tools.eval.sop_plant import PARAMETER_SET, LimitDrive, drives
from ibms_tools.eval.sop_pulses import PulseFigures, evaluate, find_pulses, nearest_set

_TEST = "HPPC"
_WARM_C = 0.0  # the target holds above
_POWER_TARGET = "<= 0.05"
_VIOLATION_TARGET = "<= 0.01"


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate; exit code 1 for files that cannot be used, whatever was found."""
    parser = argparse.ArgumentParser(
        prog="ibms eval sop", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="a pulse test, or the folder of an index.csv that lists some"
    )
    parser.add_argument("--cell", type=Path, required=True, help="cell file, as in config/cells")
    parser.add_argument(
        "--soc",
        type=float,
        default=0.5,
        help="the pulse set nearest to it is judged, as the shipped plans of identification leave "
        "it out (default 0.5)",
    )
    parser.add_argument("--all", action="store_true", help="judge all pulse sets")
    parser.add_argument("--plant", action="store_true", help="drive a simulated cell at the limit")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if options.data is None and not options.plant:
        parser.error("nothing to do: give --data, --plant or both")
    console = Console()
    results: list[Result] = []
    try:
        cell = load_cell(options.cell)
        if options.data is not None:
            figures = _pulses(options, cell.capacity_ah)
            _show_pulses(console, figures)
            results += pulse_results(figures)
        if options.plant:
            share = Path(get_package_share_directory("ibms_bringup")) / "config"
            curves = load_curves(share / "limits" / f"{cell.name}.yaml", cell)
            driven = list(drives(cell, curves))
            _show_drives(console, driven)
            results += drive_results(driven)
    except (ConfigurationError, RecordingError) as error:
        print(f"ibms eval sop: {error}", file=sys.stderr)
        return 1
    if options.json:
        command = " ".join(["./ibms eval sop", *(arguments or sys.argv[1:])])
        write(measured(command, results), options.json)
    return 0


def _pulses(options: argparse.Namespace, capacity_ah: float) -> dict[float, list[PulseFigures]]:
    """Figures of the pulses by the temperature of their test."""
    cell = load_cell(options.cell)
    rows = read_index(options.data) if options.data.is_dir() else find_rows(options.data)
    rows = [row for row in rows if row.test == _TEST and row.dataset.endswith(cell.name)]
    if not rows:
        raise RecordingError(f"{options.data}: holds no test {_TEST!r} of {cell.name}")
    found = {}
    for row in sorted(rows, key=lambda row: -row.temperature_c):
        recording = load_row(row)
        pulses = find_pulses(recording, capacity_ah)
        chosen = pulses if options.all else nearest_set(pulses, options.soc)
        found[row.temperature_c] = evaluate(recording, cell, chosen)
    return found


def pulse_results(figures: dict[float, list[PulseFigures]]) -> list[Result]:
    """Largest errors of each temperature."""
    results = []
    for temperature_c, pulses in figures.items():
        name = f"pulses.{temperature_c:g}_degC".replace("-", "minus_")
        socs = sorted(one.pulse.soc for one in pulses)
        context = (
            f"{len(pulses)} discharge pulses of 10 s and {_currents(pulses)} A at "
            f"{100 * socs[0]:.0f} to {100 * socs[-1]:.0f} % charge, from the rest before"
        )
        target = _POWER_TARGET if temperature_c > _WARM_C else None
        voltage_v = max(abs(one.predicted_v - one.measured_v) for one in pulses)
        relative = max(abs(one.predicted_v / one.measured_v - 1.0) for one in pulses)
        power = max(abs(one.power_error) for one in pulses)
        results += [
            Result(f"{name}.end_voltage_error", round(voltage_v, 4), "V", None, context),
            Result(
                f"{name}.end_power_error",
                round(relative, 4),
                "1",
                target,
                f"power at the measured current; {context}",
            ),
            Result(
                f"{name}.limit_power_error",
                round(power, 4),
                "1",
                target,
                f"power that ends at the measured voltage; {context}",
            ),
        ]
    return results


def drive_results(driven: Sequence[LimitDrive]) -> list[Result]:
    """Largest violation, and what is given away where the voltage is the limit."""
    results = []
    for charging, name in ((True, "charge"), (False, "discharge")):
        ours = [one for one in driven if one.charging is charging and one.current_a > 0.0]
        by_voltage = [one for one in ours if one.limited_by.name == "CELL_VOLTAGE"]
        context = (
            f"{len(ours)} drives of 2, 10 and 30 s at the predicted limit, simulated cell "
            f"({PARAMETER_SET}, SPMe), {len(by_voltage)} of them limited by the voltage"
        )
        worst = max((one.beyond_v for one in ours), default=None)
        room = float(np.mean([-one.beyond_v for one in by_voltage])) if by_voltage else None
        results += [
            Result(
                f"plant.{name}.violation",
                None if worst is None else round(max(worst, 0.0), 4),
                "V",
                _VIOLATION_TARGET,
                context,
            ),
            Result(
                f"plant.{name}.room_left",
                None if room is None else round(room, 4),
                "V",
                None,
                f"mean where the voltage limits: what the margin costs; {context}",
            ),
        ]
    return results


def _currents(pulses: Sequence[PulseFigures]) -> str:
    currents = sorted(abs(one.pulse.current_a) for one in pulses)
    return f"{currents[0]:.1f} to {currents[-1]:.1f}"


def _show_pulses(console: Console, figures: dict[float, list[PulseFigures]]) -> None:
    table = Table(title="Pulses of 10 s, predicted from the rest before")
    for column in ("T [degC]", "SOC [%]", "I [A]", "end [V]", "predicted [V]", "P error [%]"):
        table.add_column(column, justify="right")
    for temperature_c, pulses in figures.items():
        for one in pulses:
            table.add_row(
                f"{temperature_c:g}",
                f"{100 * one.pulse.soc:.1f}",
                f"{one.pulse.current_a:.2f}",
                f"{one.measured_v:.3f}",
                f"{one.predicted_v:.3f}",
                f"{100 * one.power_error:+.1f}",
            )
    console.print(table)


def _show_drives(console: Console, driven: Sequence[LimitDrive]) -> None:
    table = Table(title=f"Simulated cell ({PARAMETER_SET}) driven at the predicted limit")
    for column in ("T [degC]", "SOC [%]", "direction", "[s]", "I [A]", "ends by", "beyond [mV]"):
        table.add_column(column, justify="right")
    for one in driven:
        table.add_row(
            f"{one.temperature_c:g}",
            f"{100 * one.soc:.1f}",
            "charge" if one.charging else "discharge",
            f"{one.horizon_s:g}",
            f"{one.current_a:.2f}",
            one.limited_by.name.lower().replace("_", " "),
            f"{1000 * one.beyond_v:+.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
