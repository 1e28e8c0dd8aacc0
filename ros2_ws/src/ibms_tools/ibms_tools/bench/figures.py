# SPDX-License-Identifier: Apache-2.0
"""Figures of the benchmarks: quantiles of times, and the table of all."""

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ibms_battery.results import Result


def prefix(composed: bool) -> str:
    """Part of a figure's name that tells the composed chain from the separate one."""
    return "composed." if composed else ""


def quantiles(
    name: str,
    values_ms: Sequence[float],
    context: str,
    median_target: str | None = None,
    p99_target: str | None = None,
) -> list[Result]:
    """Count, median, 99th percentile and maximum of times [ms]."""
    ordered = sorted(values_ms)
    p99 = ordered[min(len(ordered) - 1, -(-99 * len(ordered) // 100) - 1)]
    return [
        Result(f"{name}.count", len(ordered), "1", None, context),
        Result(
            f"{name}.median", round(statistics.median(ordered), 2), "ms", median_target, context
        ),
        Result(f"{name}.p99", round(p99, 2), "ms", p99_target, context),
        Result(f"{name}.max", round(ordered[-1], 2), "ms", None, context),
    ]


def show(results: Sequence[Result], console: Console) -> None:
    """Table of all figures."""
    table = Table("figure", "value", "unit", "target", "met")
    for result in results:
        met = {None: "", True: "yes", False: "[red]no[/red]"}[result.met]
        table.add_row(result.name, str(result.value), result.unit, result.target or "", met)
    console.print(table)
