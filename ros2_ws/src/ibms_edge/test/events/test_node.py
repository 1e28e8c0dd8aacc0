# SPDX-License-Identifier: Apache-2.0
"""The recorder as a node: what it hears reaches the memory, what it remembers is published."""

import math
import sqlite3
from array import array
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ibms_edge.events.node import FRAME_TOPICS, EventRecorder
from ibms_edge.events.reader import EventReader, FrameInfo
from ibms_edge.events.records import Recorded
from ibms_edge.events.store import EventStore
from ibms_edge.protection.node import Protection
from ibms_msgs.msg import (
    CellMeasurement,
    Event,
    PackMeasurement,
    ProtectionStatus,
    SwitchCommand,
    SwitchState,
)
from ibms_msgs.srv import ExplainOpening
from ibms_ros_common.diagnostics import ERROR, OK, WARN, Status

Start = Callable[..., Any]

LOCKED, ALSO_LOCKED = 106, 118  # deep discharge, thermal runaway


def path_of(folder: Path) -> Path:
    return folder / "robot_12s.events.sqlite"


def freeze_frame(folder: Path) -> tuple[FrameInfo, list[Recorded]]:
    """Of the newest opening."""
    with EventReader(path_of(folder)) as reader:
        stored = reader.opening(0)
        assert stored is not None
        info = reader.frame_of(stored)
        assert info is not None
        return info, reader.messages(info)


def begin(start: Start, folder: Path) -> Any:
    return start(EventRecorder, state_directory=str(folder))


def fault(diagnosis: int, kind: int = Event.KIND_FAULT_SET, element: int = 3) -> Event:
    return Event(
        source="protection",
        kind=kind,
        severity=Event.SEVERITY_ERROR,
        diagnosis=diagnosis,
        element=element,
        value=1.75,
        text=f"{kind} {diagnosis}",
    )


def report(alone: Any) -> Status:
    status = Status()
    alone.node._report(status)
    return status


def switches(closed: bool) -> SwitchState:
    message = SwitchState(board_valid=True)
    message.closed = array("B", [closed, closed, 0])
    return message


def drive_and_open(alone: Any) -> None:
    """Half a minute closed, then protection opens because of cell 3."""
    scan = CellMeasurement()
    scan.voltage_v = array("f", [3.7] * 3 + [4.5] + [3.7] * 8)
    scan.temperature_c = array("f", [25.0] * 4)
    for _ in range(300):
        alone.hear("cells/measurement", scan)
        alone.hear("pack/measurement", PackMeasurement(current_a=-20.0, voltage_v=45.0))
        alone.hear("protection/status", ProtectionStatus())
        alone.hear("switch/state", switches(True))
        alone.advance(0.1)
    status = ProtectionStatus(first_cause=101, first_cause_element=3, first_cause_value=4.5)
    alone.hear("protection/status", status)
    alone.hear("events", fault(101))
    alone.advance(0.002)
    command = SwitchCommand(configuration="open", reason=SwitchCommand.REASON_PROTECTION)
    command.closed = array("B", [0, 0, 0])
    alone.hear("switch/command", command)
    alone.advance(0.018)
    alone.hear("switch/state", switches(False))
    for _ in range(80):
        alone.hear("cells/measurement", scan)
        alone.advance(0.1)


def test_an_event_is_stored_as_it_came(start: Start, tmp_path: Path) -> None:
    alone = begin(start, tmp_path)
    event = fault(101)
    event.header.stamp.sec = 7
    alone.hear("events", event)
    with closing(sqlite3.connect(path_of(tmp_path))) as database:
        rows = database.execute("select wall_ns, source, diagnosis, element, text from event")
        assert rows.fetchall() == [(7_000_000_000, "protection", 101, 3, "1 101")]
        boots = database.execute("select boot_id from boot where id > 0").fetchall()
        assert boots == [("replay",)]  # recorded times are not mixed with the computer's own


def test_no_folder_is_refused(start: Start) -> None:
    assert not start(EventRecorder, state_directory="").node.is_active


def test_a_folder_that_cannot_be_made_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not begin(start, tmp_path / "file" / "folder").node.is_active


def test_an_opening_is_explained(start: Start, tmp_path: Path) -> None:
    alone = begin(start, tmp_path)
    drive_and_open(alone)
    request, response = ExplainOpening.Request(index=0), ExplainOpening.Response()
    answer = alone.node._on_explain(request, response)
    assert (answer.success, answer.code, answer.openings) == (
        True,
        ExplainOpening.Response.CODE_OK,
        1,
    )
    assert (answer.reason, answer.cause) == (SwitchCommand.REASON_PROTECTION, 101)
    assert (answer.cause_element, answer.cause_value) == (3, pytest.approx(4.5))
    assert answer.freeze_frame_samples == 450 + 52 - 1 or answer.freeze_frame_samples > 400
    for part in ("cell_overvoltage", "cell 3, 4.5 V", "20 ms after the first demand", "-20.0 A"):
        assert part in answer.message


def test_the_freeze_frame_holds_each_message_as_it_came(start: Start, tmp_path: Path) -> None:
    alone = begin(start, tmp_path)
    drive_and_open(alone)
    info, messages = freeze_frame(tmp_path)
    assert info.complete
    assert (info.first_ns - info.trigger_ns) / 1e9 == pytest.approx(-10.0)
    assert (info.last_ns - info.trigger_ns) / 1e9 == pytest.approx(5.0, abs=0.11)
    assert {message.topic for message in messages} <= set(FRAME_TOPICS)
    scans = [message for message in messages if message.topic == "cells/measurement"]
    assert len(scans) == pytest.approx(150, abs=2)
    scan = alone.node._decode(scans[0])
    assert scan.voltage_v[3] == pytest.approx(4.5)


def test_a_replay_of_a_freeze_frame_may_close(start: Start, tmp_path: Path) -> None:
    """What protection needs is in the frame, though the memory told it long before."""
    alone = begin(start, tmp_path)
    alone.hear("protection/lockouts", alone.newest("protection/lockouts"))
    scan = CellMeasurement()
    scan.voltage_v, scan.voltage_valid = array("f", [3.7] * 12), array("B", [1] * 12)
    scan.temperature_c, scan.temperature_valid = array("f", [25.0] * 4), array("B", [1] * 4)
    scan.open_wire, scan.afe_status = array("B", bytes(12)), array("B", bytes(1))
    scan.module_voltage_v = array("f", [44.4])
    for _ in range(600):
        alone.advance(0.05)
        alone.hear("cells/measurement", scan)
        alone.hear("pack/measurement", PackMeasurement(current_a=-1.0, voltage_v=44.4, valid=31))
        feedback = switches(True)
        feedback.mismatch, feedback.interlock_closed = array("B", [0, 0, 0]), True
        alone.hear("switch/state", feedback)
    command = SwitchCommand(configuration="open", reason=SwitchCommand.REASON_REQUEST)
    alone.hear("switch/command", command)
    alone.node.stop()
    _, messages = freeze_frame(tmp_path)
    protection = start(Protection)
    for message in messages:
        protection.node.advance(message.received_ns)
        if message.topic in protection.node.inputs:
            given = alone.node._decode(message)
            protection.node.receive(protection.node.inputs[message.topic], given)
    status = protection.newest("protection/status")
    assert (status.reaction, status.close_allowed) == (ProtectionStatus.REACTION_INFORM, True)


def test_without_an_opening_the_answer_says_so(start: Start, tmp_path: Path) -> None:
    alone = begin(start, tmp_path)
    answer = alone.node._on_explain(ExplainOpening.Request(), ExplainOpening.Response())
    assert not answer.success
    assert answer.code == ExplainOpening.Response.CODE_NO_SUCH_OPENING
    assert (answer.openings, answer.cause_element) == (0, -1)
    assert math.isnan(answer.cause_value)
    path_of(tmp_path).rename(tmp_path / "gone")
    answer = alone.node._on_explain(ExplainOpening.Request(index=1), ExplainOpening.Response())
    assert answer.code == ExplainOpening.Response.CODE_NOT_ACTIVE  # nobody knows
    assert "does not exist" in answer.message
    alone.node.trigger_deactivate()
    answer = alone.node._on_explain(ExplainOpening.Request(), ExplainOpening.Response())
    assert answer.code == ExplainOpening.Response.CODE_NOT_ACTIVE


def test_the_newest_opening_is_read_again_only_when_something_was_stored(
    start: Start, tmp_path: Path, monkeypatch: Any
) -> None:
    alone = begin(start, tmp_path)
    reads = 0

    def read(path: Path) -> EventReader:
        nonlocal reads
        reads += 1
        return EventReader(path)

    monkeypatch.setattr("ibms_edge.events.node.EventReader", read)

    def ask(index: int = 0) -> ExplainOpening.Response:
        request = ExplainOpening.Request(index=index)
        return alone.node._on_explain(request, ExplainOpening.Response())

    assert [ask().openings for _ in range(5)] == [0] * 5
    assert reads == 1
    drive_and_open(alone)
    assert [ask().cause for _ in range(5)] == [101] * 5
    assert reads == 2
    assert ask(1).code == ExplainOpening.Response.CODE_NO_SUCH_OPENING
    assert ask().cause == 101
    assert reads == 3
    drive_and_open(alone)
    assert [ask().openings for _ in range(5)] == [2] * 5
    assert reads == 4


def test_an_answer_that_failed_is_asked_for_again(start: Start, tmp_path: Path) -> None:
    alone = begin(start, tmp_path)
    path_of(tmp_path).rename(tmp_path / "gone")
    ask = alone.node._on_explain
    answer = ask(ExplainOpening.Request(), ExplainOpening.Response())
    assert answer.code == ExplainOpening.Response.CODE_NOT_ACTIVE
    (tmp_path / "gone").rename(path_of(tmp_path))
    answer = ask(ExplainOpening.Request(), ExplainOpening.Response())
    assert answer.code == ExplainOpening.Response.CODE_NO_SUCH_OPENING


def test_lockouts_are_published_at_once_and_on_change_and_stand_over_restarts(
    start: Start, tmp_path: Path
) -> None:
    alone = begin(start, tmp_path)
    assert list(alone.newest("protection/lockouts").diagnosis) == []
    alone.hear("events", fault(LOCKED))
    alone.hear("events", fault(101))
    assert list(alone.newest("protection/lockouts").diagnosis) == [LOCKED]
    alone.node.stop()
    again = begin(start, tmp_path)
    message = again.newest("protection/lockouts")
    assert (list(message.diagnosis), list(message.element)) == ([LOCKED], [3])
    assert message.value[0] == pytest.approx(1.75)
    again.advance(1.0)
    again.hear("events", fault(LOCKED, Event.KIND_FAULT_CLEARED, element=-1))
    assert list(again.newest("protection/lockouts").diagnosis) == []
    count = sum(topic == "protection/lockouts" for topic, _ in again.sent)
    assert count == 2  # only on change


def test_what_is_published_is_on_disk(start: Start, tmp_path: Path, monkeypatch: Any) -> None:
    alone = begin(start, tmp_path)
    on_disk: list[int] = []

    def publish(topic: str, _message: Any) -> None:
        if topic == "protection/lockouts":
            with closing(sqlite3.connect(path_of(tmp_path))) as database:
                on_disk.append(database.execute("select count(*) from lockout").fetchone()[0])

    monkeypatch.setattr(alone.node, "publish", publish)
    alone.hear("events", fault(LOCKED))
    assert on_disk == [1]


def test_after_the_loss_of_the_memory_every_lockout_stands(start: Start, tmp_path: Path) -> None:
    path_of(tmp_path).write_bytes(b"no database" * 999)
    alone = begin(start, tmp_path)
    message = alone.newest("protection/lockouts")
    assert list(message.diagnosis) == [LOCKED, ALSO_LOCKED]
    assert list(message.element) == [-1, -1]
    status = report(alone)
    assert status.level == WARN
    assert "unusable" in status.message
    with EventReader(path_of(tmp_path)) as reader:
        assert "all lock-outs stand" in reader.newest(1)[0].text


def test_wear_is_summed_per_switch_and_published(start: Start, tmp_path: Path) -> None:
    alone = begin(start, tmp_path)
    assert list(alone.newest("switch/wear").operations) == [0, 0, 0]
    for current_a in (-40.0, 0.2):
        alone.advance(1.0)
        alone.hear(
            "events",
            Event(source="switch_control", kind=Event.KIND_SWITCHED, element=1, value=current_a),
        )
    wear = alone.newest("switch/wear")
    assert list(wear.operations) == [0, 2, 0]
    assert list(wear.operations_under_load) == [0, 1, 0]
    alone.hear("events", Event(kind=Event.KIND_SWITCHED, element=99, value=1.0))
    alone.node.stop()
    assert list(begin(start, tmp_path).newest("switch/wear").operations) == [0, 2, 0]


def test_a_disk_that_fails_is_told_and_ends_nothing(
    start: Start, tmp_path: Path, monkeypatch: Any
) -> None:
    alone = begin(start, tmp_path)
    assert report(alone).level == OK

    def fail(_store: EventStore, _event: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(EventStore, "add", fail)
        alone.hear("events", Event())
        status = report(alone)
        assert status.level == ERROR
        assert "disk is full" in status.message
    alone.hear("events", fault(101))
    status = report(alone)
    assert status.level == WARN  # it works again, but one is lost
    assert status.values["lost events"] == "1"
    assert status.values["stored events"] == "1"


def test_a_lock_out_that_a_full_disk_refused_stands_after_a_restart(
    start: Start, tmp_path: Path, monkeypatch: Any
) -> None:
    alone = begin(start, tmp_path)

    def fail(_store: EventStore, _event: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(EventStore, "add", fail)
        alone.hear("events", fault(LOCKED))
        alone.hear("events", fault(101))
    status = report(alone)
    assert status.level == ERROR
    assert (status.values["waiting"], status.values["lost events"]) == ("1", "1")
    alone.hear("events", fault(101))
    assert list(alone.newest("protection/lockouts").diagnosis) == [LOCKED]
    alone.node.stop()
    assert list(begin(start, tmp_path).newest("protection/lockouts").diagnosis) == [LOCKED]


def test_an_opening_while_it_did_not_run_is_told_by_the_next_run(
    start: Start, tmp_path: Path
) -> None:
    alone = begin(start, tmp_path)
    alone.hear("switch/state", switches(True))
    alone.node.stop()
    again = begin(start, tmp_path)
    again.advance(5.0)
    again.hear("switch/state", switches(False))
    answer = again.node._on_explain(ExplainOpening.Request(), ExplainOpening.Response())
    assert answer.success
    assert "Nobody recorded it" in answer.message
