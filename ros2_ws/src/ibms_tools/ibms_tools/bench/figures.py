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


def quantile(values: Sequence[float], share: float) -> float:
    """Smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered), -(-int(share * 1000) * len(ordered) // 1000)) - 1)]


def quantiles(
    name: str,
    values_ms: Sequence[float],
    context: str,
    median_target: str | None = None,
    p99_target: str | None = None,
) -> list[Result]:
    """Count, median, 99th percentile and maximum of times [ms]."""
    median, p99 = statistics.median(values_ms), quantile(values_ms, 0.99)
    return [
        Result(f"{name}.count", len(values_ms), "1", None, context),
        Result(f"{name}.median", round(median, 2), "ms", median_target, context),
        Result(f"{name}.p99", round(p99, 2), "ms", p99_target, context),
        Result(f"{name}.max", round(max(values_ms), 2), "ms", None, context),
    ]


def show(results: Sequence[Result], console: Console) -> None:
    """Table of all figures."""
    table = Table("figure", "value", "unit", "target", "met")
    for result in results:
        met = {None: "", True: "yes", False: "[red]no[/red]"}[result.met]
        table.add_row(result.name, str(result.value), result.unit, result.target or "", met)
    console.print(table)
