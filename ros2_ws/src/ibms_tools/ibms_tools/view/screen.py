# SPDX-License-Identifier: Apache-2.0
"""The live screen: a whole pack in 80 columns and 24 lines, and more where there is room."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ibms_msgs.msg import Event, PackState, ProtectionStatus
from ibms_tools.view import words
from ibms_tools.view.line import event_line
from ibms_tools.view.picture import Flow, Picture

_TOP_LINES, _MIDDLE_LINES = 7, 5
_FRAME = 2
_EVERY_CELL_FROM_HEIGHT = 32
_PROCESSES_FROM_WIDTH = 110
_BLOCKS = "▁▂▃▄▅▆▇█"
_STATE_STYLES = {
    PackState.STATE_DRIVE: "bold green",
    PackState.STATE_CHARGE: "bold green",
    PackState.STATE_PRECHARGE: "bold yellow",
    PackState.STATE_ERROR: "bold white on red",
}
_SEVERITY_STYLES = {Event.SEVERITY_WARNING: "yellow", Event.SEVERITY_ERROR: "red"}
_REACTION_STYLES = {
    ProtectionStatus.REACTION_DERATE: "yellow",
    ProtectionStatus.REACTION_OPEN_AFTER_ZERO_CURRENT: "red",
    ProtectionStatus.REACTION_OPEN_NOW: "red",
}

Row = tuple[str, RenderableType]


def render(picture: Picture, console: Console) -> RenderableType:
    """The whole screen for the size of ``console``."""
    width, height = console.size
    layout = Layout()
    rows = [
        Layout(_header(picture), size=1),
        Layout(_state_line(picture), size=1),
        _side_by_side(_TOP_LINES, ("pack", _pack_rows(picture)), ("cells", _cell_rows(picture))),
        _side_by_side(
            _MIDDLE_LINES,
            ("limits, balancing, thermal", _limit_rows(picture)),
            ("chain", _chain_rows(picture)),
        ),
    ]
    if height >= _EVERY_CELL_FROM_HEIGHT and picture.cells is not None:
        lines = _every_cell(picture, width - 4)
        rows.append(Layout(_panel("every cell", Text("\n").join(lines)), size=len(lines) + _FRAME))
    used = sum(row.size or 0 for row in rows)
    events = _panel("faults and events", _happenings(picture, height - used - 1 - _FRAME))
    if width >= _PROCESSES_FROM_WIDTH:
        bottom = Layout()
        bottom.split_row(Layout(events), Layout(_panel("processes", _processes(picture)), size=38))
    else:
        bottom = Layout(events)
    layout.split_column(*rows, bottom, Layout(_footer(picture), size=1))
    return layout


def _header(picture: Picture) -> RenderableType:
    line = Table.grid(expand=True)
    right = f"{picture.phase}  {words.elapsed(picture.elapsed_s)} "
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True, min_width=len(right))
    titles = Text(" · ").join([Text(title, "bold") for title in picture.titles])
    line.add_row(Text(" ") + titles, right)
    return line


def _footer(picture: Picture) -> RenderableType:
    text = f" Ctrl-C ends.  Output of the nodes: {picture.log}" if picture.log else " Ctrl-C ends."
    return Text(text, "dim", no_wrap=True, overflow="ellipsis")


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim")


def _side_by_side(lines: int, *parts: tuple[str, Sequence[Row]]) -> Layout:
    layout = Layout(size=lines + _FRAME)
    layout.split_row(*(Layout(_panel(title, _grid(rows))) for title, rows in parts))
    return layout


def _grid(rows: Sequence[Row]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True, min_width=max(len(name) for name, _ in rows))
    table.add_column(no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return table


def _state_line(picture: Picture) -> Text:
    state = picture.state
    line = Text(" ", no_wrap=True, overflow="ellipsis")
    if state is None:
        return line.append("the pack's state is not known", "dim")
    name = words.STATES.get(state.state, f"state {state.state}").upper()
    line.append(f" {name} ", _STATE_STYLES.get(state.state, "bold reverse"))
    return line.append(f" for {words.elapsed(state.time_in_state_s)}: {state.text}")


def _pack_rows(picture: Picture) -> list[Row]:
    sample, insulation = picture.sample, picture.insulation
    current_a = sample.current_a if sample else math.nan
    voltage_v, link_v = (
        (sample.voltage_v, sample.link_voltage_v) if sample else (math.nan, math.nan)
    )
    resistance_ohm = insulation.resistance_ohm if insulation else math.nan
    return [
        ("contactors", words.contactors(picture)),
        ("voltage", words.number(voltage_v, "V")),
        ("link", words.number(link_v, "V")),
        ("current", f"{words.number(current_a, 'A')}   {words.direction(current_a)}"),
        ("power", words.number(words.power_w(picture) / 1e3, "kW", 2)),
        ("for 10 s", _for_seconds(picture.prediction, 10.0)),
        ("insulation", words.scaled(resistance_ohm, "Ω")),
    ]


def _for_seconds(prediction: Any, horizon_s: float) -> str:
    if prediction is None:
        return words.UNKNOWN
    at = list(prediction.horizon_s).index(horizon_s)
    discharge_w, charge_w = prediction.discharge_power_w[at], prediction.charge_power_w[at]
    return f"{-discharge_w / 1e3:.1f} to {charge_w / 1e3:+.1f} kW"


def _cell_rows(picture: Picture) -> list[Row]:
    cells, estimate = picture.cells, picture.estimate
    voltage_v = words.values(cells, "voltage_v")
    shown, held = Text(words.soc(picture), "bold"), words.UNKNOWN
    if estimate is not None and estimate.valid:
        shown.append(f"   cell {estimate.empties_first} first", "not bold")
        held = f"{words.scaled(estimate.energy_to_empty_wh, 'Wh')}, {_health(estimate)}"
    spread_v = float(np.ptp(voltage_v)) if voltage_v.size else math.nan
    return [
        ("SOC", shown),
        ("holds", held),
        *_ends(voltage_v, "V", 3, "highest", "lowest"),
        ("spread", words.number(spread_v * 1e3, "mV", 0)),
        *_ends(words.values(cells, "temperature_c"), "°C", 1, "hottest", "coldest"),
    ]


def _health(estimate: Any) -> str:
    health, deviation = estimate.soh_capacity, estimate.soh_capacity_std
    return f"SOH {words.percent(health, 1)} ±{100.0 * deviation:.1f}".replace(" ±nan", "")


def _ends(
    array: npt.NDArray[np.float64], unit: str, digits: int, high_name: str, low_name: str
) -> list[Row]:
    ends = words.extremes(array)
    if ends is None:
        return [(high_name, words.UNKNOWN), (low_name, words.UNKNOWN)]
    low, high = ends
    return [
        (high_name, f"{words.number(array[high], unit, digits)}   cell {high}"),
        (low_name, f"{words.number(array[low], unit, digits)}   cell {low}"),
    ]


def _limit_rows(picture: Picture) -> list[Row]:
    limits, balancing, thermal = picture.limits, picture.balancing, picture.thermal
    rows: list[Row] = [(name, words.UNKNOWN) for name in ("discharge", "charge", "limited by")]
    if limits is not None:
        cause = words.LIMITED_BY.get(limits.limited_by, str(limits.limited_by))
        rows = [
            (
                "discharge",
                f"{limits.discharge_current_a:.0f} A, {limits.discharge_power_w / 1e3:.1f} kW",
            ),
            (
                "charge",
                f"{limits.charge_current_a:.0f} A, {limits.charge_power_w / 1e3:.1f} kW",
            ),
            ("limited by", cause),
        ]
    text = words.UNKNOWN
    if balancing is not None:
        count = sum(balancing.fed_back)
        cause = words.INHIBITED_BY.get(balancing.inhibited_by, str(balancing.inhibited_by))
        text = f"{count} cells bleed" if count else "off"
        text += f": {cause}" if balancing.inhibited_by else ""
    rows.append(("balancing", text))
    text = words.UNKNOWN
    if thermal is not None:
        text = words.THERMAL_MODES.get(thermal.mode, str(thermal.mode))
        running = [
            f"{name} {words.percent(ratio)}"
            for name, ratio in (
                ("pump", thermal.pump_ratio),
                ("fan", thermal.fan_ratio),
                ("chiller", thermal.chiller_ratio),
                ("heater", thermal.heater_ratio),
            )
            if ratio > 0
        ]
        text = " ".join([text, *running])
    rows.append(("thermal", text))
    return rows


def _chain_rows(picture: Picture) -> list[Row]:
    return [
        ("scans", _flow(picture.scans)),
        ("samples", _flow(picture.samples)),
        ("verdicts", _verdicts(picture)),
        ("reaction", _reaction(picture)),
        (
            "CPU",
            f"edge {words.percent(words.cores(picture, False))}, "
            f"sim {words.percent(words.cores(picture, True))}, "
            f"view {words.percent(picture.view_cpu_cores)}",
        ),
    ]


def _flow(flow: Flow) -> Text:
    text = Text(f"{words.rate(flow.rate_hz)}, ")
    text.append(f"lost {flow.lost}", "red" if flow.lost else "")
    return text.append(f", late {words.number(flow.lateness_s * 1e3, 'ms')}")


def _reaction(picture: Picture) -> RenderableType:
    status = picture.protection
    if status is None:
        return words.UNKNOWN
    name = words.REACTIONS.get(status.reaction, str(status.reaction))
    return Text(name, _REACTION_STYLES.get(status.reaction, ""))


def _verdicts(picture: Picture) -> str:
    rate = words.rate(picture.verdicts.rate_hz)
    status = picture.protection
    if status is None:
        return rate
    return f"{rate}, {status.diagnoses_evaluated} of {status.diagnoses_total} diagnoses"


def _every_cell(picture: Picture, width: int) -> list[Text]:
    lines = []
    for name, attribute, unit, factor, digits in (
        ("voltage", "voltage_v", "V", 1.0, 3),
        ("SOC", "soc", "%", 100.0, 1),
        ("temperature", "temperature_c", "°C", 1.0, 1),
    ):
        array = words.values(picture.cells, attribute) * factor
        ends = words.extremes(array)
        if ends is None:
            continue
        low, high = float(array[ends[0]]), float(array[ends[1]])
        lines.append(Text(f"{name}  {low:.{digits}f} to {high:.{digits}f} {unit}", "dim"))
        bars = Text("".join(_block(value, low, high) for value in array), "cyan")
        for cell in np.flatnonzero(picture.cells.bleed_active).tolist():
            bars.stylize("magenta", cell, cell + 1)
        lines += [bars[start : start + width] for start in range(0, len(bars), width)]
    return lines


def _block(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "?"
    ratio = (value - low) / (high - low) if high > low else 0.5
    return _BLOCKS[min(int(ratio * len(_BLOCKS)), len(_BLOCKS) - 1)]


def _happenings(picture: Picture, lines: int) -> Text:
    """Notes and standing faults first, then events, the newest on top."""
    rows = [Text(f"» {note}", "bold cyan") for note in picture.notes]
    rows += [
        Text(f"✗ {load.name} does not run", "bold red")
        for load in picture.loads
        if not load.is_running
    ]
    rows += _standing(picture)
    for event in reversed(picture.events):
        row = Text(event_line(event))
        row.stylize(_SEVERITY_STYLES.get(event.severity, ""))
        rows.append(row)
    if not rows:
        rows = [Text("none so far", "dim")]
    text = Text("\n", no_wrap=True, overflow="ellipsis").join(rows[: max(lines, 1)])
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _standing(picture: Picture) -> list[Text]:
    status: Any = picture.protection
    if status is None:
        return []
    rows = []
    for identifier, reaction, element, value in zip(
        status.active_diagnosis,
        status.active_reaction,
        status.active_element,
        status.active_value,
        strict=True,
    ):
        name = picture.diagnoses.get(identifier, f"diagnosis {identifier}")
        place = f", element {element}" if element >= 0 else ""
        first = " ◄ cause" if identifier == status.first_cause else ""
        rows.append(
            Text(f"! {name}: {value:.4g}{place}{first}", _REACTION_STYLES.get(reaction, ""))
        )
    return rows


def _processes(picture: Picture) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for load in picture.loads:
        restarts = f"{load.restarts} restarts" if load.restarts else ""
        style = "" if load.is_running else "red"
        table.add_row(load.name, words.percent(load.cpu_cores, 1), restarts, style=style)
    return table
