# SPDX-License-Identifier: Apache-2.0
"""The story of an opening, out of a memory filled by hand."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ibms_edge.events.explanation import REASONS, Explanation, explain, story
from ibms_edge.events.reader import EventReader
from ibms_edge.events.records import (
    DiagnosisText,
    EventRecord,
    Moment,
    Opening,
    Piece,
    Recorded,
)
from ibms_edge.events.store import EventStore
from ibms_msgs.msg import Event, SwitchCommand

MS = 1_000_000
TRIP_NS = 100_000 * MS
OPENING = Opening(
    boot_ns=TRIP_NS + 2 * MS,
    wall_ns=1_700_000_000_123_000_000,
    reason=SwitchCommand.REASON_PROTECTION,
    commanded_ns=TRIP_NS + 2 * MS,
    opened_ns=TRIP_NS + 21 * MS,
    cause=101,
    cause_element=37,
    cause_value=4.6,
    moment=Moment(
        current_a=-52.5,
        voltage_v=351.2,
        lowest_voltage_v=3.61,
        lowest_voltage_cell=12,
        highest_voltage_v=4.6,
        highest_voltage_cell=37,
        lowest_temperature_c=24.0,
        lowest_temperature_sensor=3,
        highest_temperature_c=27.5,
        highest_temperature_sensor=9,
    ),
)
TABLE = [
    DiagnosisText(
        101,
        "cell_overvoltage",
        "a cell voltage is too high",
        "open_now",
        "above 4.25 V",
        "V",
        "cell",
    ),
    DiagnosisText(171, "interlock_open", "the interlock is open", "open_now", "", "", "element"),
]


def event(
    offset_ms: float, source: str, kind: int, text: str, diagnosis: int = 0, element: int = -1
) -> EventRecord:
    boot_ns = TRIP_NS + round(offset_ms * MS)
    return EventRecord(boot_ns, boot_ns, source, kind, 2, diagnosis, element, 4.6, text)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "e.sqlite", "boot 1", diagnoses=TABLE)
    yield store
    store.close()


def ask(store: EventStore, index: int = 0) -> Explanation:
    with EventReader(store.path) as reader:
        explanation = explain(reader, index)
    assert explanation is not None
    return explanation


def fill(store: EventStore) -> None:
    fault, switched = Event.KIND_FAULT_SET, Event.KIND_SWITCHED
    store.add(event(-60_000, "protection", fault, "an old one", 101, 37))
    store.add(event(-800, "protection", fault, "too high: 4.23, recommended limit", 101, 37))
    store.add(event(0, "protection", fault, "too high: 4.6 (element 37)", 101, 37))
    store.add(event(20, "switch_control", switched, "switches: open (protection)"))
    store.add(event(26, "pack_supervisor", Event.KIND_STATE_CHANGED, "drive -> error: x", 101))
    store.add(event(60_000, "pack_supervisor", Event.KIND_REQUEST, "somebody asks"))
    store.put(OPENING)
    store.add_piece(Piece(TRIP_NS, 1, [Recorded("a", TRIP_NS + i * MS, b"x") for i in range(9)],
                          True, True))  # fmt: skip


def test_every_reason_has_words() -> None:
    names = [name for name in dir(SwitchCommand) if name.startswith("REASON_")]
    assert {getattr(SwitchCommand, name) for name in names} == set(REASONS)


def test_what_stood_first_what_followed_and_how_long_it_took(store: EventStore) -> None:
    fill(store)
    explanation = ask(store)
    assert explanation.demand is not None
    assert explanation.demand.text == "too high: 4.6 (element 37)"
    assert explanation.opened_after_ms == pytest.approx(21.0)
    assert [(round(s.offset_ms), s.event.source) for s in explanation.steps] == [
        (-800, "protection"),
        (0, "protection"),
        (20, "switch_control"),
        (26, "pack_supervisor"),
    ]
    assert explanation.frame is not None
    assert explanation.frame.messages == 9
    assert explanation.boot_id == "boot 1"


def test_the_story_names_cause_cell_value_limit_times_and_moment(store: EventStore) -> None:
    fill(store)
    text = story(ask(store))
    for part in (
        "2023-11-14 22:13:20.123 UTC: the pack opened, protection demanded it.",
        "diagnosis 101 (cell_overvoltage): a cell voltage is too high, cell 37, 4.6 V "
        "(limit: above 4.25 V)",
        "Open was verified 21 ms after the first demand, 19 ms after the command.",
        "-52.5 A (discharging), 351.2 V",
        "3.610 V (cell 12) to 4.600 V (cell 37)",
        "24.0 degC (sensor 3) to 27.5 degC (sensor 9)",
        "+20  switch_control: switches: open (protection)",
        "Freeze frame: 9 messages",
    ):
        assert part in text
    assert "an old one" not in text


def test_openings_are_counted_from_the_last_one(store: EventStore) -> None:
    store.put(OPENING)
    store.put(replace(OPENING, boot_ns=OPENING.boot_ns + 10**12, cause=0, reason=0))
    assert (ask(store, 0).opening.cause, ask(store, 1).opening.cause) == (0, 101)
    assert ask(store, 1).openings == 2
    with EventReader(store.path) as reader:
        assert explain(reader, 2) is None


def test_an_opening_on_request(store: EventStore) -> None:
    store.put(replace(OPENING, cause=0, cause_element=-1, cause_value=math.nan, reason=0))
    text = story(ask(store))
    assert "somebody asked for it" in text
    assert "No diagnosis stood behind it." in text
    assert "no freeze frame" in text


def test_a_flag_is_told_without_its_value(store: EventStore) -> None:
    store.put(replace(OPENING, cause=171, cause_element=-1, cause_value=1.0))
    assert "diagnosis 171 (interlock_open): the interlock is open.\n" in story(ask(store))


def test_a_diagnosis_that_left_the_table_keeps_its_number_and_value(store: EventStore) -> None:
    store.put(replace(OPENING, cause=999))
    assert "First demand: diagnosis 999, element 37, 4.6." in story(ask(store))


def test_a_board_that_opened_by_itself(store: EventStore) -> None:
    store.put(replace(OPENING, commanded_ns=None, reason=SwitchCommand.REASON_NOT_ARMED))
    assert "without a command: the switch board opened by itself" in story(ask(store))


def test_an_opening_that_was_never_verified(store: EventStore) -> None:
    store.put(replace(OPENING, opened_ns=None))
    explanation = ask(store)
    assert math.isnan(explanation.opened_after_ms)
    assert "Feedback never showed all switches open." in story(explanation)


def test_an_opening_that_nobody_recorded(store: EventStore) -> None:
    store.put(
        Opening(OPENING.boot_ns, OPENING.wall_ns, 7, closed_until_wall_ns=1_699_999_999_000_000_000)
    )
    text = story(ask(store))
    assert "Nobody recorded it" in text
    assert "2023-11-14 22:13:19.000 UTC" in text
    assert "never showed" not in text


def test_the_cause_may_be_told_after_the_board_has_opened(store: EventStore) -> None:
    store.put(replace(OPENING, commanded_ns=None, boot_ns=TRIP_NS, opened_ns=TRIP_NS, cause=171,
                      cause_element=-1))  # fmt: skip
    store.add(event(15, "protection", Event.KIND_FAULT_SET, "the interlock is open", 171))
    explanation = ask(store)
    assert explanation.demand is not None
    assert explanation.first_ns == TRIP_NS  # offsets count from the opening
    assert explanation.opened_after_ms == 0.0
