# SPDX-License-Identifier: Apache-2.0
"""A page with the table and a plot of each run: truth, estimate, twice sigma, error."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from ibms_tools.eval.soc_simulation import Trace
from ibms_tools.eval.soc_table import CONTEXT, Entry

_HEAD = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px sans-serif;max-width:70em;margin:2em auto}}table{{border-collapse:collapse}}
td,th{{padding:.2em .6em;border-bottom:1px solid #ccc;text-align:right}}img{{width:100%}}</style>
<h1>{title}</h1><p>{protocol}</p>
"""
_S_PER_H = 3600.0
_MOST_POINTS = 1500  # more cannot be seen


def write_report(path: Path, cell: str, entries: Sequence[Entry], traces: Sequence[Trace]) -> None:
    """Write one self-contained HTML file; ``traces`` are those behind ``entries``, in order."""
    title = f"State of charge of {html.escape(cell)}"
    parts = [_HEAD.format(title=title, protocol=html.escape(CONTEXT)), _table(entries)]
    mpl.use("agg")
    remaining = list(traces)
    for entry in entries:
        count = len(entry.figures)
        mine, remaining = remaining[:count], remaining[count:]
        heading = f"{entry.temperature_c:g} degC, {entry.test}, {entry.estimator}, {entry.group}"
        parts.append(f"<h2>{html.escape(heading)}: RMSE {100 * entry.rmse:.2f} %</h2>")
        parts.append(f'<img alt="{html.escape(heading)}" src="{_plot(mine)}">')
    path.write_text("\n".join(parts), encoding="utf-8")


def _table(entries: Sequence[Entry]) -> str:
    rows = [
        "<table><tr><th>T [degC]<th>run<th>estimator<th>scenario<th>MAE [%]<th>RMSE [%]"
        "<th>maximum [%]<th>in 2 sigma [%]<th>mean sigma [%]"
    ]
    for entry in entries:
        worst = max(entry.figures, key=lambda figures: figures.rmse)
        cells = (
            f"{entry.temperature_c:g}",
            html.escape(entry.test) + (" cv" if entry.is_cross_validated else ""),
            entry.estimator,
            entry.group,
            *(
                f"{100 * value:.2f}"
                for value in (worst.mae, worst.rmse, worst.largest, worst.coverage, worst.mean_std)
            ),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}" for cell in cells))
    return "".join(rows) + "</table>"


def _plot(traces: Sequence[Trace]) -> str:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for number, trace in enumerate(traces):
        thin = slice(None, None, max(1, len(trace.soc) // _MOST_POINTS))
        hours = trace.run.recording.time_s[trace.first :][thin] / _S_PER_H
        truth = 100 * trace.run.truth[trace.first :][thin]
        soc, std = 100 * trace.soc[thin], 100 * trace.std[thin]
        if not number:
            above.plot(hours, truth, "k", label="truth")
        (line,) = above.plot(hours, soc, lw=0.8, label="estimate" if not number else None)
        above.fill_between(hours, soc - 2 * std, soc + 2 * std, alpha=0.15, color=line.get_color())
        below.plot(hours, soc - truth, lw=0.8)
    above.set_ylabel("charge [%]")
    above.legend(loc="upper right")
    below.set_ylabel("error [%]")
    below.set_xlabel("time [h]")
    below.axhline(0.0, color="k", lw=0.5)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
