# SPDX-License-Identifier: Apache-2.0
"""Page that shows whether an identified cell can be trusted: one file, with its plots inside."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ibms_battery.identification.circuit_fit import Parameters
from ibms_battery.identification.identify import Identification, RunResidual

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse}}td,th{{padding:.2em .8em;border-bottom:1px solid #ccc;
text-align:right}}td:first-child,th:first-child{{text-align:left}}img{{width:100%}}</style>
<h1>{title}</h1><p>{intro}</p>
"""
_MOST_POINTS = 4000  # more cannot be seen
_S_PER_H = 3600.0


def write_report(result: Identification, path: Path) -> None:
    """Write one self-contained HTML file; raises OSError."""
    cell = result.cell
    assert cell.model is not None
    residuals = result.residuals()
    title = f"Identification of {html.escape(cell.name)}"
    simulated = "Identified from a simulated cell. " if cell.model.simulated else ""
    ordered = sorted(residuals, key=lambda one: one.rms_v)
    worst, typical = ordered[-1], ordered[len(ordered) // 2]
    parts = [
        _HEAD.format(title=title, intro=html.escape(simulated + cell.source)),
        _heading("Summary"),
        _summary(result),
        _heading("Slow tests: capacity and balance of charge"),
        _balance(result),
        _image(_open_circuit(result), "open-circuit voltage"),
        _heading("Parameters over the state of charge"),
        _image(_parameters(result), "parameters of the circuit"),
        _heading("Residual of each run, the charge being known"),
        _image(_residuals(residuals), "residual by temperature"),
        _residual_table(residuals),
        _heading(f"Worst run: {worst.path}"),
        _image(_fit(result, worst), "worst run"),
        _heading(f"Typical run: {typical.path}"),
        _image(_fit(result, typical), "typical run"),
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(text)}" for text in head)]
    lines += ["<tr>" + "".join(f"<td>{html.escape(text)}" for text in row) for row in rows]
    return "\n".join(lines) + "</table>"


def _summary(result: Identification) -> str:
    cell = result.cell
    assert cell.model is not None
    model = cell.model
    rows = [
        ("version", str(model.version)),
        ("capacity", f"{cell.capacity_ah:g} A h"),
        ("series resistance, 25 degC, half charge", f"{1e3 * cell.resistance_ohm:.1f} mohm"),
        ("heat capacity", f"{model.thermal.heat_capacity_j_per_k:g} J/K"),
        ("thermal resistance", f"{model.thermal.thermal_resistance_k_per_w:g} K/W"),
        ("identified from", model.source),
    ]
    rows += [
        (f"residual (weighted) with {name}", f"{1e3 * residual_v:.2f} mV")
        for name, residual_v in result.candidates.items()
    ]
    return _table(("", ""), rows)


def _balance(result: Identification) -> str:
    return _table(
        ("temperature", "discharge", "charge", "discharge / charge", "charge ended full", "rate"),
        [
            (
                f"{one.temperature_c:.1f} degC",
                f"{one.discharge.charge_ah:.3f} A h",
                f"{one.charge.charge_ah:.3f} A h",
                f"{one.discharge.charge_ah / one.charge.charge_ah:.3f}",
                "yes" if one.ended_full else "no",
                f"C/{1.0 / one.discharge.rate_per_h:.0f}",
            )
            for one in result.circuits
        ],
    )


def _open_circuit(result: Identification) -> Figure:
    figure = Figure(figsize=(11, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    reference = result.reference
    soc = 100 * reference.soc
    above.plot(soc, reference.discharge_v, lw=1, label="discharge")
    above.plot(soc, reference.charge_v, lw=1, label="charge")
    above.plot(soc, reference.ocv_v, "k", lw=1.5, label="open-circuit voltage")
    above.set_ylabel(f"voltage at {reference.temperature_c:.0f} degC [V]")
    above.legend()
    for colour, one in zip(_colours(len(result.circuits)), result.circuits, strict=True):
        label = f"{one.temperature_c:.0f} degC"
        below.plot(soc, 1e3 * one.half_gap_v, lw=1, color=colour, label=label)
    below.set_ylabel("half the gap [mV]")
    below.set_xlabel("state of charge [%]")
    below.legend(ncols=4, fontsize="small")
    return figure


def _parameters(result: Identification) -> Figure:
    found = Parameters.from_vector(result.structure, result.parameters)
    fast_s, slow_s = result.structure.time_constants_s
    figure = Figure(figsize=(11, 10), layout="constrained")
    grid = figure.subplots(3, 2, sharex=True)
    tables = (
        ("series resistance [mohm]", found.ohmic_ohm),
        ("activation at small currents [mohm]", found.activation_ohm),
        (f"fast pair, {fast_s:g} s [mohm]", found.fast_ohm),
        (f"slow pair, {slow_s:g} s [mohm]", found.slow_ohm),
        ("correction of the open-circuit voltage [mV]", found.correction_v),
    )
    soc = 100 * result.structure.soc
    temperatures_c = result.structure.temperatures_c
    for place, (label, table) in zip(grid.flat, tables, strict=False):
        for colour, temperature_c, row in zip(
            _colours(len(table)), temperatures_c, table, strict=True
        ):
            place.plot(soc, 1e3 * row, lw=1, color=colour, label=f"{temperature_c:g} degC")
        place.set_ylabel(label)
        if "mohm" in label:
            place.set_yscale("log")
            place.set_ylim(bottom=0.1)
    grid.flat[0].legend(fontsize="small")
    last = grid.flat[-1]
    assert result.cell.model is not None
    entropic = 1e3 * np.array(result.cell.model.entropic_coefficient_v_per_k)
    last.plot(soc, entropic, lw=1, label="entropic coefficient [mV/K]")
    if result.structure.hysteresis_rate:
        last.plot(soc, 100 * found.hysteresis_v, lw=1, label="hysteresis [10 mV]")
    last.legend(fontsize="small")
    for place in grid[-1]:
        place.set_xlabel("state of charge [%]")
    return figure


def _residuals(residuals: Sequence[RunResidual]) -> Figure:
    figure = Figure(figsize=(11, 3.5), layout="constrained")
    place = figure.subplots()
    tests = sorted({one.test for one in residuals})
    for colour, test in zip(_colours(len(tests)), tests, strict=True):
        mine = [one for one in residuals if one.test == test]
        place.plot(
            [one.temperature_c for one in mine],
            [1e3 * one.rms_v for one in mine],
            "o",
            color=colour,
            label=test,
        )
    place.set_ylim(bottom=0)
    place.set_xlabel("mean temperature of the cell [degC]")
    place.set_ylabel("root mean square [mV]")
    place.legend(ncols=6, fontsize="small")
    return figure


def _residual_table(residuals: Sequence[RunResidual]) -> str:
    return _table(
        ("run", "test", "temperature", "root mean square", "mean"),
        [
            (
                one.path,
                one.test,
                f"{one.temperature_c:.1f} degC",
                f"{1e3 * one.rms_v:.1f} mV",
                f"{1e3 * one.bias_v:+.1f} mV",
            )
            for one in sorted(residuals, key=lambda one: (round(one.temperature_c), one.path))
        ],
    )


def _fit(result: Identification, shown: RunResidual) -> Figure:
    (run,) = [run for run in result.runs if run.path == shown.path]
    predicted_v = result.predicted_v(run)
    figure = Figure(figsize=(11, 6), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    thin = slice(None, None, max(1, len(run.time_s) // _MOST_POINTS))
    hours = run.time_s[thin] / _S_PER_H
    above.plot(hours, run.voltage_v[thin], "k", lw=0.8, label="measured")
    above.plot(hours, predicted_v[thin], lw=0.8, label="circuit")
    above.set_ylabel("voltage [V]")
    above.legend()
    middle.plot(hours, 1e3 * (run.voltage_v - predicted_v)[thin], lw=0.6)
    middle.axhline(0.0, color="k", lw=0.5)
    middle.set_ylabel("error [mV]")
    below.plot(hours, run.current_a[thin], lw=0.6)
    below.set_ylabel("current [A]")
    below.set_xlabel("time [h]")
    _shade_left_out(above, run.time_s / _S_PER_H, run.weight == 0.0)
    return figure


def _shade_left_out(place: Axes, hours: np.ndarray, left_out: np.ndarray) -> None:
    if left_out.any():
        place.fill_between(
            hours,
            0.0,
            1.0,
            where=left_out.tolist(),
            transform=place.get_xaxis_transform(),
            alpha=0.15,
            color="k",
            label="not in the fit",
        )
        place.legend()


def _colours(count: int) -> list[tuple[float, float, float, float]]:
    """From cold to warm."""
    return [colormaps["viridis"](share) for share in np.linspace(0.0, 0.9, count)]


def _image(figure: Figure, description: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/svg+xml;base64,{data}">'
