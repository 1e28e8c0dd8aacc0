# SPDX-License-Identifier: Apache-2.0
"""Events reach the disk, and a disk that fails is told."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ibms_edge.events.node import EventRecorder
from ibms_edge.events.store import EventStore
from ibms_msgs.msg import Event
from ibms_ros_common.diagnostics import ERROR, Status

Start = Callable[..., Any]


def test_an_event_is_stored_as_it_came(start: Start, tmp_path: Path) -> None:
    alone = start(EventRecorder, state_directory=str(tmp_path))
    event = Event(
        source="protection", kind=Event.KIND_FAULT_SET, diagnosis=101, element=3, text="x"
    )
    event.header.stamp.sec = 7
    alone.hear("events", event)
    with sqlite3.connect(tmp_path / f"{alone.node.pack_name}.events.sqlite") as database:
        rows = database.execute("select wall_ns, source, diagnosis, element, text from event")
        assert rows.fetchall() == [(7_000_000_000, "protection", 101, 3, "x")]


def test_no_folder_is_refused(start: Start) -> None:
    assert not start(EventRecorder, state_directory="").node.is_active


def test_a_disk_that_fails_is_told_and_ends_nothing(
    start: Start, tmp_path: Path, monkeypatch: Any
) -> None:
    alone = start(EventRecorder, state_directory=str(tmp_path))

    def fail(_store: EventStore, _event: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(EventStore, "add", fail)
    alone.hear("events", Event())
    status = Status()
    alone.node._report(status)
    assert status.level == ERROR
    assert "disk is full" in status.message
