# SPDX-License-Identifier: Apache-2.0
"""Tests of the live screen, rendered with recorded values to consoles of a fixed size."""

from array import array
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from ibms_battery.pack import Pack
from ibms_msgs.msg import CellStates, PackEstimate, PackState, ProtectionStatus
from ibms_tools.view.loads import Load
from ibms_tools.view.picture import Picture
from ibms_tools.view.screen import render


def drawn(picture: Picture, width: int, height: int) -> list[str]:
    stream = StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None)
    console.print(render(picture, console))
    return stream.getvalue().splitlines()


def text_of(picture: Picture, width: int = 80, height: int = 24) -> str:
    return "\n".join(drawn(picture, width, height))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 40), (200, 60)])
def test_fills_the_terminal_and_no_more(picture: Picture, width: int, height: int) -> None:
    lines = drawn(picture, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    "expected",
    [
        "DRIVE  for 1:23: drive as requested",
        "closed ●●○",
        "371.2 V",
        "-23.4 A   discharging",
        "-8.69 kW",
        "-151.6 to +50.2 kW",
        "5.03 MΩ",
        "79.9% ±2.1   cell 37 first",
        "41.2 kWh, SOH 97.5% ±1.2",
        "3.898 V   cell 41",
        "3.850 V   cell 0",
        "24.3 °C   cell 92",
        "412 A, 152.9 kW",
        "rating",
        "2 cells bleed",
        "cooling pump 40% fan 20%",
        "50/s, lost 0, late 2.1 ms",
        "26 of 26 diagnoses",
        "edge 21%, sim 31%, view 4%",
        "switch_control: switches: closed (request)",
        "log/demo_43200/nodes.log",
    ],
)
def test_everything_fits_the_smallest_terminal(picture: Picture, expected: str) -> None:
    assert expected in text_of(picture)


def test_nothing_is_cut_off_on_the_smallest_terminal(picture: Picture) -> None:
    assert "…" not in text_of(picture)


def test_a_large_terminal_shows_every_cell_and_the_processes(picture: Picture) -> None:
    small, large = text_of(picture), text_of(picture, 140, 40)
    assert "every cell" not in small
    assert "every cell" in large
    bars = [line for line in large.splitlines() if "▁" in line]
    assert len(bars) == 3
    assert all(sum(sign in "▁▂▃▄▅▆▇█" for sign in line) == 96 for line in bars)
    assert "afe_driver" not in small
    assert "12.0%" in large
    assert "1 restarts" in large


def test_without_messages_everything_is_unknown(pack: Pack) -> None:
    text = text_of(Picture(pack=pack, phase="starting"))
    assert "the pack's state is not known" in text
    assert "no feedback" in text
    assert "nan" not in text
    assert text.count("--") >= 12


def test_unmeasured_values_are_no_numbers(picture: Picture) -> None:
    nan = float("nan")
    cells = CellStates(current_a=nan)
    for name in ("soc", "soc_std", "voltage_v", "temperature_c"):
        setattr(cells, name, array("f", [nan] * 96))
    cells.bleed_active = array("B", [0] * 96)
    assert "nan" not in text_of(replace(picture, cells=cells), 140, 40)


def test_a_pack_without_estimate_or_capacity_shows_no_numbers(picture: Picture) -> None:
    nan = float("nan")
    unknown = PackEstimate(valid=False, soc=nan, soc_std=nan, energy_to_empty_wh=nan)
    text = text_of(replace(picture, estimate=unknown))
    assert "nan" not in text
    assert "first" not in text
    picture.estimate.soh_capacity = picture.estimate.soh_capacity_std = nan
    assert "41.2 kWh, SOH --" in text_of(picture)


def test_a_trip_shows_cause_and_state(picture: Picture) -> None:
    protection = ProtectionStatus(first_cause=101, diagnoses_total=26, diagnoses_evaluated=26)
    protection.active_diagnosis = array("H", [101, 104])
    protection.active_reaction = array("B", [4, 2])
    protection.active_element = array("i", [5, -1])
    protection.active_value = array("f", [4.5, 0.6])
    tripped = replace(
        picture,
        state=PackState(state=PackState.STATE_ERROR, text="protection demands opening"),
        protection=protection,
        diagnoses={101: "a cell voltage is too high"},
        notes=["cell_voltage cell 5 = 4.5 V injected"],
    )
    text = text_of(tripped)
    assert "ERROR  for 0:00: protection demands opening" in text
    assert "» cell_voltage cell 5 = 4.5 V injected" in text
    assert "! a cell voltage is too high: 4.5, element 5 ◄ cause" in text
    assert "! diagnosis 104: 0.6" in text


def test_a_process_that_ended_is_named(picture: Picture) -> None:
    dead = Load("protection", float("nan"), 0, is_running=False)
    assert "✗ protection does not run" in text_of(replace(picture, loads=[dead]))


def test_a_message_with_markup_is_shown_as_it_is(picture: Picture) -> None:
    state = PackState(state=PackState.STATE_ERROR, text="[bold]a[/bold] [/] b")
    assert "[bold]a[/bold] [/] b" in text_of(replace(picture, state=state))
