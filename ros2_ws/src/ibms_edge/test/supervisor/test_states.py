# SPDX-License-Identifier: Apache-2.0
"""Tables of the states against the interfaces and against the page that shows them."""

import re
from pathlib import Path
from typing import Any

import pytest

from ibms_edge.supervisor.states import (
    CONNECTED,
    REQUESTABLE,
    STAYS,
    Code,
    Limits,
    Place,
    State,
    Substate,
)
from ibms_msgs.msg import PackState
from ibms_msgs.srv import RequestPackState


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "pack_states.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str, columns: int) -> list[list[str]]:
    found = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found if len(row) == columns]


def test_states_and_codes_are_those_of_the_interfaces() -> None:
    for state in State:
        assert getattr(PackState, f"STATE_{state.name}") == state
    for code in Code:
        assert getattr(RequestPackState.Response, f"CODE_{code.name}") == code


def test_the_drawing_shows_the_states_and_their_ways(page: str) -> None:
    text = section(page, "States")
    drawn = set(re.findall(r"^ +([A-Z]+) --> ([A-Z]+): (request|auto)", text, re.MULTILINE))
    expected = set()
    for state, targets in REQUESTABLE.items():
        for wanted in targets - {state}:
            to = State.PRECHARGE if wanted in CONNECTED else wanted
            expected.add((state.name, to.name, "request"))
    for place, stay in STAYS.items():
        for way in stay.ways:
            # Where zero current leads to was asked for.
            was_asked_for = place.state in CONNECTED and way.state in REQUESTABLE[place.state]
            if way.state is not place.state and not was_asked_for:
                expected.add((place.state.name, way.state.name, "auto"))
    assert drawn == expected


def test_the_drawing_of_precharge_shows_its_substates(page: str) -> None:
    text = section(page, "Precharge")
    drawn = set(re.findall(r"^ +([a-z_]+) --> ([a-z_]+)", text, re.MULTILINE))
    expected = {
        (str(place.substate).replace(" ", "_"), str(way.substate).replace(" ", "_"))
        for place, stay in STAYS.items()
        for way in stay.ways
        if place.state is way.state is State.PRECHARGE
    }
    assert drawn == expected


def test_the_table_shows_every_substate_with_its_limit_and_its_ways(page: str) -> None:
    shown: dict[Place, Any] = {}
    for states, substate, limits, ways in rows(section(page, "Substates and their limits"), 4):
        if states == "State" or states.startswith("-"):
            continue
        for name in states.split(", "):
            state = State[name]
            shown[Place(state, Substate(substate))] = (
                tuple(filter(None, limits.split(" + "))),
                {_place(way, state) for way in ways.split(", ")},
            )
    assert shown == {place: (stay.limits, set(stay.ways)) for place, stay in STAYS.items()}


def _place(text: str, state: State) -> Place:
    first, _, rest = text.partition(" ")
    if first in State.__members__:
        return Place(State[first], Substate(rest))
    return Place(state, Substate(text))


def test_the_table_shows_every_limit_with_its_time(page: str) -> None:
    shown = {
        name: text
        for name, text, _ in rows(section(page, "Substates and their limits"), 3)
        if name.endswith("_s")
    }
    assert set(shown) == {name for stay in STAYS.values() for name in stay.limits}
    for name, text in shown.items():
        if name != "holding_s":
            assert text == f"{getattr(Limits(), name):g} s"
