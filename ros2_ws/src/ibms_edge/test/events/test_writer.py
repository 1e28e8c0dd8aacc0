# SPDX-License-Identifier: Apache-2.0
"""The writer's thread goes on whatever the disk does, and says what was lost."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ibms_edge.events.reader import EventReader
from ibms_edge.events.records import EventRecord
from ibms_edge.events.store import EventStore
from ibms_edge.events.writer import StoreWriter


def event(number: int) -> EventRecord:
    return EventRecord(number, number, "test", 1, 0, 1, -1, 0.0, "text")


class Recorder:
    def __init__(self, path: Path, threaded: bool = True) -> None:
        self.path = path
        self.opened: list[EventStore] = []
        self.is_broken = False
        self.writer = StoreWriter(path, self.open, self.opened.append, self.loss, threaded)

    def open(self) -> EventStore:
        if self.is_broken:
            raise sqlite3.OperationalError("unable to open database file")
        return EventStore(self.path, "boot", lockouts={5})

    def loss(self, store: EventStore, text: str) -> None:
        store.lock_all()
        store.add(EventRecord(0, 0, "recorder", 6, 2, 0, -1, 0.0, text))

    def add(self, number: int) -> None:
        self.writer.submit("events", lambda store: store.add(event(number)))

    def keep(self, number: int) -> None:
        self.writer.submit("events", lambda store: store.add(event(number)), keep=True)

    def fill_disk(self, full: bool) -> None:
        """SQLite's own limit: no further page can be had."""
        self.writer.submit("disk", lambda store: _limit(store, 1 if full else 1_000_000))

    def stand_still(self) -> threading.Event:
        """The disk takes nothing until the event is set, while more comes than has place."""
        moves = threading.Event()
        self.writer.start()
        self.writer.submit("slow", lambda store: moves.wait(10.0))
        for number in range(2500):
            self.add(number)  # returns at once
        return moves

    def stored(self) -> list[int]:
        with EventReader(self.path) as reader:
            return [each.boot_ns for each in reader.newest(10_000)]


@pytest.fixture(params=[True, False], ids=["thread", "at once"])
def recorder(tmp_path: Path, request: Any) -> Recorder:
    return Recorder(tmp_path / "e.sqlite", request.param)


def test_jobs_are_done_in_order_and_all_before_the_end(recorder: Recorder) -> None:
    recorder.writer.start()
    for number in range(200):
        recorder.add(number)
    recorder.writer.stop()
    assert recorder.stored() == list(range(200))
    assert recorder.writer.done["events"] == 200
    assert (recorder.writer.lost, recorder.writer.problem) == ({}, "")


def test_a_disk_that_fails_and_mends_costs_what_came_meanwhile(recorder: Recorder) -> None:
    recorder.is_broken = True
    recorder.writer.start()
    recorder.add(1)
    _settle(recorder, 2)  # the opening of the file and the event
    assert recorder.writer.problem == "unable to open database file"
    assert recorder.writer.lost["events"] == 1
    recorder.is_broken = False
    recorder.add(2)
    recorder.writer.stop()
    assert recorder.stored() == [2]
    assert recorder.writer.problem == ""  # it works again; what was lost stays counted
    assert recorder.writer.lost["events"] == 1


def test_a_job_that_cannot_be_stored_does_not_end_the_thread(recorder: Recorder) -> None:
    recorder.writer.start()

    def refuse(store: EventStore) -> None:
        raise OverflowError("too large")

    recorder.writer.submit("events", refuse)
    recorder.add(2)
    recorder.writer.stop()
    assert recorder.stored() == [2]
    assert recorder.writer.lost["events"] == 1


def test_an_unusable_file_is_kept_aside_and_a_new_one_begun(recorder: Recorder) -> None:
    recorder.path.write_bytes(b"no database" * 1000)
    recorder.writer.start()
    recorder.add(7)
    recorder.writer.stop()
    with EventReader(recorder.path) as reader:
        told, stored = reader.newest(10)
    assert "unusable" in told.text
    assert stored.boot_ns == 7
    assert recorder.writer.lost == {}
    (aside,) = recorder.path.parent.glob("e.sqlite.unusable-*")
    assert aside.name in recorder.writer.loss
    assert aside.read_bytes().startswith(b"no database")


def test_damage_while_it_runs_is_found_and_the_event_goes_to_the_new_file(
    recorder: Recorder,
) -> None:
    recorder.writer.start()
    for number in range(50):
        recorder.add(number)
    _settle(recorder, 51)
    store = recorder.opened[0]

    def damage(store: EventStore) -> None:
        store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(recorder.path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        recorder.path.write_bytes(content)
        store._database.execute("PRAGMA shrink_memory")

    recorder.writer.submit("damage", damage)
    recorder.add(100)
    recorder.add(101)
    recorder.writer.stop()
    assert recorder.stored() == [0, 100, 101]  # first the recorder's own word
    assert len(recorder.opened) == 2
    assert recorder.opened[1] is not store
    assert recorder.writer.lost == {}


def test_a_disk_that_stands_still_holds_up_nobody(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "e.sqlite")
    disk = recorder.stand_still()
    assert recorder.writer.lost["events"] > 400
    assert recorder.writer.problem == "the disk is too slow"
    disk.set()
    recorder.writer.stop()
    stored = recorder.stored()
    assert len(stored) + recorder.writer.lost["events"] == 2500


def test_what_is_kept_outlives_a_full_disk_in_its_order(recorder: Recorder) -> None:
    recorder.writer.start()
    recorder.fill_disk(True)
    for number in range(500):
        recorder.add(number)  # fills the last page
    _settle(recorder, 502)  # with the opening of the file and its limit
    for number in (1001, 1002, 1003):
        recorder.keep(number)
    recorder.add(1004)
    _settle(recorder, 503)
    writer = recorder.writer
    assert writer.lost["events"] > 1
    assert (writer.waiting, writer.problem) == (3, "database or disk is full")
    assert not set(recorder.stored()) & {1001, 1002, 1003, 1004}
    recorder.fill_disk(False)
    recorder.add(1005)
    recorder.writer.stop()
    assert recorder.stored()[-4:] == [1001, 1002, 1003, 1005]
    assert (writer.waiting, writer.problem) == (0, "")


def test_what_is_kept_is_tried_again_though_nothing_else_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibms_edge.events.writer._AGAIN_S", 0.01)
    recorder = Recorder(tmp_path / "e.sqlite")
    recorder.is_broken = True
    recorder.writer.start()
    recorder.keep(1)
    _settle(recorder, 1)  # the opening of the file
    recorder.is_broken = False
    _settle(recorder, 2)
    assert recorder.stored() == [1]
    recorder.writer.stop()


def test_what_is_kept_and_can_never_be_stored_holds_up_nothing(recorder: Recorder) -> None:
    recorder.writer.start()

    def refuse(store: EventStore) -> None:
        raise OverflowError("too large")

    recorder.writer.submit("events", refuse, keep=True)
    recorder.add(2)
    recorder.writer.stop()
    assert recorder.stored() == [2]
    assert recorder.writer.lost["events"] == 1


def test_what_is_kept_needs_no_place_in_a_full_queue(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "e.sqlite")
    disk = recorder.stand_still()
    recorder.keep(9000)
    disk.set()
    recorder.writer.stop()
    assert 9000 in recorder.stored()


def _limit(store: EventStore, pages: int) -> None:
    """SQLite takes the present size for a smaller number."""
    store._database.execute(f"PRAGMA max_page_count={pages}")


def _settle(recorder: Recorder, jobs: int) -> None:
    """Wait until so many jobs are done or lost."""
    deadline_s = time.monotonic() + 30.0
    while sum((recorder.writer.done + recorder.writer.lost).values()) < jobs:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
