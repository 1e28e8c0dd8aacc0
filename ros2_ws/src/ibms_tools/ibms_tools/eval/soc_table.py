# SPDX-License-Identifier: Apache-2.0
"""The table of the state of charge: temperature by cycle by estimator, columns by scenario."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from ibms_battery.results import Result
from ibms_tools.eval.soc_simulation import SocFigures
from ibms_tools.eval.soc_targets import TARGETS

CONTEXT = (
    "errors after 600 s in % of 25 degC C/20 capacity, truth: counted charge from full; known: "
    "right start; full_minus_20: 80 % believed at full; mid_20: started at 75 %, 20 % wrong, "
    "polarisation unknown, worse of both; sensors: known start, +-110 mA, +-4 mV, +-5 K, worst of 8"
)


@dataclass(frozen=True)
class Entry:
    """Figures of one estimator in one run under the scenarios of one group."""

    estimator: str
    temperature_c: float
    test: str
    group: str
    is_cross_validated: bool
    figures: tuple[SocFigures, ...]

    @property
    def rmse(self) -> float:
        """Of the worst scenario."""
        return max(one.rmse for one in self.figures)


def results_of(cell: str, entries: Sequence[Entry], default: str) -> list[Result]:
    """Worst run and mean of each temperature first, then each run."""
    results = []
    by_temperature: dict[tuple[float, str, str], list[Entry]] = {}
    for entry in entries:
        key = (entry.temperature_c, entry.estimator, entry.group)
        by_temperature.setdefault(key, []).append(entry)
    for (temperature_c, estimator, group), inside in by_temperature.items():
        targets = TARGETS.get(cell, {}).get(temperature_c)
        target = targets.of(group) if targets and estimator == default else None
        prefix = f"{_degrees(temperature_c)}.{estimator}"
        count = f"{len(inside)} runs{', cv' if inside[0].is_cross_validated else ''}; {CONTEXT}"
        worst = max(entry.rmse for entry in inside)
        mean = float(np.mean([entry.rmse for entry in inside]))
        bound = None if target is None else f"<= {target:g}"
        results.append(_percent(f"{prefix}.worst.{group}", worst, bound, count))
        results.append(_percent(f"{prefix}.mean.{group}", mean, None, count))
    for entry in entries:
        name = (
            f"{_degrees(entry.temperature_c)}.{entry.estimator}.{_word(entry.test)}.{entry.group}"
        )
        context = ("cv; " if entry.is_cross_validated else "") + CONTEXT
        results.append(_percent(name, entry.rmse, None, context))
    return results


def sigma_results(entries: Sequence[Entry]) -> list[Result]:
    """How honest sigma is, pooled over all runs of each estimator and group."""
    results = []
    groups = dict.fromkeys((entry.estimator, entry.group) for entry in entries)
    for estimator, group in groups:
        figures = [
            one
            for entry in entries
            if (entry.estimator, entry.group) == (estimator, group)
            for one in entry.figures
        ]
        samples = np.array([one.samples for one in figures], np.float64)
        coverage = np.array([one.coverage for one in figures])
        rmse = float(np.sqrt(np.average([one.rmse**2 for one in figures], weights=samples)))
        std = float(np.average([one.mean_std for one in figures], weights=samples))
        context = f"pooled over {len(figures)} runs and draws"
        prefix = f"sigma.{estimator}.{group}"
        results += [
            Result(
                f"{prefix}.inside_2_sigma",
                round(float(np.average(coverage, weights=samples)), 4),
                "1",
                ">= 0.9",
                f"{context}; at most 0.99 is wanted as well",
            ),
            Result(f"{prefix}.lowest_of_a_run", round(float(coverage.min()), 4), "1", ">= 0.5"),
            Result(f"{prefix}.sigma_over_rmse", round(std / rmse, 3), "1", "<= 2", context),
        ]
    return results


def console_table(cell: str, entries: Sequence[Entry], groups: Sequence[str]) -> Table:
    """Worst run (mean) of each temperature and estimator."""
    table = Table(title=f"{cell}: RMSE of the worst run (mean) [%], target in brackets")
    table.add_column("T [degC]", justify="right")
    table.add_column("estimator")
    table.add_column("runs", justify="right")
    for group in groups:
        table.add_column(group, justify="right")
    keys = dict.fromkeys((entry.temperature_c, entry.estimator) for entry in entries)
    for temperature_c, estimator in keys:
        row = []
        count = ""
        for group in groups:
            inside = [
                entry
                for entry in entries
                if (entry.temperature_c, entry.estimator, entry.group)
                == (temperature_c, estimator, group)
            ]
            if not inside:
                row.append("-")
                continue
            count = f"{len(inside)}{' cv' if inside[0].is_cross_validated else ''}"
            targets = TARGETS.get(cell, {}).get(temperature_c)
            target = targets.of(group) if targets else None
            worst = 100 * max(entry.rmse for entry in inside)
            mean = 100 * float(np.mean([entry.rmse for entry in inside]))
            style = "" if target is None else ("green" if worst <= target else "red")
            text = f"{worst:.2f} ({mean:.2f})" + ("" if target is None else f" [[{target:g}]]")
            row.append(f"[{style}]{text}[/]" if style else text)
        table.add_row(f"{temperature_c:g}", estimator, count, *row)
    return table


def _percent(name: str, value: float, target: str | None, context: str) -> Result:
    return Result(name, round(100 * value, 3), "%", target, context)


def _degrees(temperature_c: float) -> str:
    return f"{temperature_c:g}_degC"


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)
