# SPDX-License-Identifier: Apache-2.0
"""``./ibms identify``: build a cell file from slow tests, pulses and drive data."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ibms_battery.cell import load_cell
from ibms_battery.configuration import ConfigurationError
from ibms_battery.identification.cell_file import write_cell
from ibms_battery.identification.checks import IdentificationError
from ibms_battery.identification.identify import Identification, RunResidual, identify
from ibms_battery.identification.plan import load_plan
from ibms_battery.recordings import RecordingError
from ibms_battery.results import Result, measured, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Identify a cell; exit code 1 where plan or data do not allow it."""
    parser = argparse.ArgumentParser(prog="ibms identify", description=__doc__)
    parser.add_argument("plan", type=Path, help="what from what, as in config/identification")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the index.csv or with the files"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="cell file; if it exists its version rises and its uncertainty is kept",
    )
    parser.add_argument("--html", type=Path, help="write a report with plots to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    try:
        plan = load_plan(options.plan)
        previous = load_cell(options.out).model if options.out.exists() else None
        result = identify(plan, options.data, previous)
        write_cell(result.cell, options.out, "Identified by ./ibms identify, see source")
        if options.html:
            # Plotting takes a second to import, and only this needs it.
            from ibms_tools.identify.report import write_report

            write_report(result, options.html)
        if options.json:
            given = sys.argv[1:] if arguments is None else arguments
            write(
                measured(shlex.join(["./ibms", "identify", *given]), figures(result)), options.json
            )
    except (ConfigurationError, RecordingError, IdentificationError, OSError) as error:
        print(f"ibms identify: {error}", file=sys.stderr)
        return 1
    show(Console(), result)
    return 0


def by_temperature(residuals: Sequence[RunResidual]) -> dict[int, list[RunResidual]]:
    """Runs by their mean temperature, to 5 K."""
    groups: dict[int, list[RunResidual]] = {}
    for one in sorted(residuals, key=lambda one: one.temperature_c):
        groups.setdefault(5 * round(one.temperature_c / 5), []).append(one)
    return groups


def show(console: Console, result: Identification) -> None:
    """Print the figures that tell whether to trust the cell file."""
    cell = result.cell
    assert cell.model is not None
    console.print(
        f"{cell.name}: {cell.capacity_ah:g} A h, {1e3 * cell.resistance_ohm:.3g} mohm, "
        f"version {cell.model.version}, {len(result.runs)} runs"
    )
    for name, residual_v in result.candidates.items():
        console.print(f"  time constants {name}: {1e3 * residual_v:.2f} mV (weighted)")
    table = Table("temperature", "runs", "residual, mean", "worst", "worst run")
    for temperature_c, runs in by_temperature(result.residuals()).items():
        worst = max(runs, key=lambda one: one.rms_v)
        mean_v = float(np.mean([one.rms_v for one in runs]))
        table.add_row(
            f"{temperature_c} degC",
            str(len(runs)),
            f"{1e3 * mean_v:.1f} mV",
            f"{1e3 * worst.rms_v:.1f} mV",
            worst.path,
        )
    console.print(table)


def figures(result: Identification) -> list[Result]:
    """Figures of an identification."""
    name, cell = result.cell.name, result.cell
    charge, discharge = result.reference.charge, result.reference.discharge
    found = [
        Result(f"{name}.capacity", cell.capacity_ah, "A h", context="slow discharge"),
        Result(
            f"{name}.charge_balance",
            round(discharge.charge_ah / charge.charge_ah, 4),
            "1",
            context="discharge over charge of the slow test",
        ),
        Result(
            f"{name}.resistance", cell.resistance_ohm, "ohm", context="25 degC, half charge, small"
        ),
    ]
    for temperature_c, runs in by_temperature(result.residuals()).items():
        sign = f"minus_{-temperature_c}" if temperature_c < 0 else str(temperature_c)
        for what, value_v in (
            ("mean", float(np.mean([one.rms_v for one in runs]))),
            ("worst", max(one.rms_v for one in runs)),
        ):
            found.append(
                Result(
                    f"{name}.residual.{sign}_degc.{what}",
                    round(value_v, 5),
                    "V",
                    context=f"root mean square of a run, {len(runs)} runs, charge known",
                )
            )
    return found


if __name__ == "__main__":
    raise SystemExit(main())
