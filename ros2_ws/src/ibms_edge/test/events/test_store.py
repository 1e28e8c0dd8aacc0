# SPDX-License-Identifier: Apache-2.0
"""The store alone: contents, bounds, older layouts, lock-outs, wear, a full disk."""

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ibms_edge.events import store as module
from ibms_edge.events.reader import EventReader, MemoryReadError
from ibms_edge.events.records import (
    DiagnosisText,
    EventRecord,
    LockOut,
    Moment,
    Opening,
    Piece,
    Recorded,
    SwitchUse,
)
from ibms_edge.events.schema import _EVENT_0
from ibms_edge.events.store import EventStore, UnusableError, move_aside
from ibms_msgs.msg import Event

EVENT = EventRecord(
    wall_ns=1_700_000_000_000_000_000,
    boot_ns=5,
    source="protection",
    kind=Event.KIND_FAULT_SET,
    severity=2,
    diagnosis=101,
    element=7,
    value=4.31,
    text="a cell voltage is too high: 4.31 (element 7)",
)
CLEARED = replace(EVENT, kind=Event.KIND_FAULT_CLEARED, element=-1, boot_ns=9)
OPENING = Opening(
    boot_ns=100,
    wall_ns=1_700_000_000_000_000_000,
    reason=1,
    commanded_ns=100,
    moment=Moment(current_a=-33.5, lowest_voltage_v=3.1, lowest_voltage_cell=4),
)

Open = Callable[..., EventStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pack.events.sqlite"


@pytest.fixture
def open_store(path: Path) -> Iterator[Open]:
    opened = []

    def open_store(boot_id: str = "boot 1", **options: Any) -> EventStore:
        opened.append(EventStore(path, boot_id, **options))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


def newest(path: Path, count: int = 1000) -> list[EventRecord]:
    with EventReader(path) as reader:
        return reader.newest(count)


def piece(trigger_ns: int, size: int = 10_000, by_fault: bool = True) -> Piece:
    data = bytes(i * 7919 % 251 for i in range(size))
    messages = [Recorded("cells/measurement", trigger_ns + i, data) for i in range(3)]
    return Piece(trigger_ns, 50, messages, by_fault, False)


def test_the_kinds_are_those_of_the_message() -> None:
    assert (module.FAULT_SET, module.FAULT_CLEARED) == (
        Event.KIND_FAULT_SET,
        Event.KIND_FAULT_CLEARED,
    )
    assert (module.SWITCHED, module.DEVICE) == (Event.KIND_SWITCHED, Event.KIND_DEVICE)


def test_events_come_back_as_they_were_and_in_order(open_store: Open, path: Path) -> None:
    store = open_store()
    events = [replace(EVENT, boot_ns=number) for number in range(5)]
    assert all(store.add(event).is_new for event in events)
    assert newest(path, 3) == events[2:]
    store.close()
    open_store()
    assert newest(path) == events


def test_each_commit_is_synced_to_the_disk(open_store: Open) -> None:
    database = open_store()._database
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_value_that_does_not_exist_stays_nan(open_store: Open, path: Path) -> None:
    open_store().add(replace(EVENT, value=math.nan))
    assert math.isnan(newest(path)[0].value)


def test_an_event_that_comes_twice_is_stored_once(open_store: Open, path: Path) -> None:
    store = open_store()
    assert store.add(EVENT).is_new
    store.close()
    store = open_store()  # publishers say again what they keep for latecomers
    assert not store.add(EVENT).is_new
    assert store.add(replace(EVENT, text="another")).is_new
    assert len(newest(path)) == 2


def test_times_of_different_boots_are_not_mixed(open_store: Open, path: Path) -> None:
    for boot in ("boot 1", "boot 2"):
        store = open_store(boot)
        assert store.add(EVENT).is_new  # the same boot time, another boot
        store.put(replace(OPENING, cause=int(boot[-1])))
        store.close()
    with EventReader(path) as reader:
        last, before = reader.opening(0), reader.opening(1)
        assert last is not None
        assert before is not None
        assert (last.boot_id, before.boot_id) == ("boot 2", "boot 1")
        assert len(reader.events(last.boot, 0, 100)) == 1


def test_boots_without_any_entry_are_forgotten(open_store: Open, path: Path) -> None:
    for number in range(5):
        open_store(f"boot {number}").close()
    with closing(sqlite3.connect(path)) as database:
        boots = [boot for (boot,) in database.execute("SELECT boot_id FROM boot ORDER BY id")]
    assert boots == ["", "boot 4"]


def test_a_time_that_the_database_cannot_hold_is_stored_as_the_largest(
    open_store: Open, path: Path
) -> None:
    open_store().add(replace(EVENT, boot_ns=2**64 - 1))
    assert newest(path)[0].boot_ns == 2**63 - 1


# Bounds


def test_the_oldest_events_go_by_count_over_restarts_too(open_store: Open, path: Path) -> None:
    for start in (0, 10):
        store = open_store(events=4)
        for number in range(start, start + 10):
            store.add(replace(EVENT, boot_ns=number))
        assert [event.boot_ns for event in newest(path)] == list(range(start + 6, start + 10))
        store.close()


def test_freeze_frames_make_room_first_the_oldest_and_those_without_a_fault_before_them(
    open_store: Open, path: Path
) -> None:
    size_bytes = 400_000
    store = open_store(size_bytes=size_bytes)
    for number in range(50):
        store.add(replace(EVENT, boot_ns=number))
    noise = 0
    for number in range(60):
        data = _noise(20_000, noise := noise + 1)
        messages = [Recorded("pack/measurement", number, data)]
        store.add_piece(Piece(1000 + number, 50, messages, number != 59, True))
        assert store.used_bytes() <= size_bytes
    with closing(sqlite3.connect(path)) as database:
        frames = [row for (row,) in database.execute("SELECT trigger_ns FROM frame ORDER BY id")]
        assert database.execute("SELECT count(*) FROM piece").fetchone()[0] == len(frames)
    assert 5 < len(frames) < 20
    assert frames[-1] == 1059  # nothing needed its room yet
    assert frames == list(range(1060 - len(frames), 1060))
    store.add_piece(Piece(2000, 50, [Recorded("a", 1, _noise(20_000, 99))], True, True))
    with closing(sqlite3.connect(path)) as database:
        left = [row for (row,) in database.execute("SELECT trigger_ns FROM frame ORDER BY id")]
    assert 1059 not in left
    assert left == [*frames[:-1], 2000]
    assert len(newest(path)) == 50


def test_with_nothing_but_events_left_the_oldest_go_and_the_file_stays_small(
    open_store: Open, path: Path
) -> None:
    store = open_store(size_bytes=300_000)
    for number in range(3000):
        store.add(replace(EVENT, boot_ns=number, text="x" * 200))
    kept = [event.boot_ns for event in newest(path, 5000)]
    assert kept == list(range(kept[0], 3000))
    assert 100 < len(kept) < 3000
    store.close()
    assert path.stat().st_size < 310_000


def _noise(size: int, seed: int) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


# Openings and freeze frames


def test_an_opening_is_completed_later_and_stays_one(open_store: Open, path: Path) -> None:
    store = open_store()
    store.put(OPENING)
    complete = replace(OPENING, opened_ns=115, cause=101, cause_element=7, cause_value=4.5)
    store.put(complete)
    store.put(replace(OPENING, boot_ns=900))
    with EventReader(path) as reader:
        assert reader.openings() == 2
        stored = reader.opening(1)
        assert stored is not None
        assert repr(stored.opening) == repr(complete)  # repr: NaN equals NaN
        assert reader.opening(2) is None


def test_a_freeze_frame_is_readable_piece_by_piece(open_store: Open, path: Path) -> None:
    store = open_store()
    store.put(OPENING)
    store.add_piece(piece(98))
    with EventReader(path) as reader:
        stored = reader.opening(0)
        assert stored is not None
        info = reader.frame_of(stored)
        assert info is not None
        assert (info.messages, info.complete) == (3, False)
        store.add_piece(piece(98)._replace(is_last=True))
        info = reader.frame_of(stored)
        assert info is not None
        assert (info.messages, info.complete) == (6, True)
        assert reader.messages(info) == piece(98).messages * 2


def test_a_damaged_opening_is_said_to_be(open_store: Open, path: Path) -> None:
    store = open_store()
    store.put(OPENING)
    for damage in ("{", "[1]", '{"current_a": "much"}'):
        store._database.execute("UPDATE opening SET moment = ?", (damage,))
        with EventReader(path) as reader, pytest.raises(MemoryReadError, match="is damaged"):
            reader.opening(0)


def test_a_frame_that_ended_before_an_opening_does_not_belong_to_it(
    open_store: Open, path: Path
) -> None:
    store = open_store()
    store.put(replace(OPENING, boot_ns=100_000_000_000))
    store.add_piece(piece(97_000_000_000))
    with EventReader(path) as reader:
        stored = reader.opening(0)
        assert stored is not None
        assert reader.frame_of(stored) is None


def test_of_several_frames_the_one_that_was_recorded_then_belongs_to_an_opening(
    open_store: Open, path: Path
) -> None:
    store = open_store()
    store.put(replace(OPENING, boot_ns=100_000_000_000))
    for trigger_ns in (70_000_000_000, 100_050_000_000, 106_000_000_000):
        store.add_piece(piece(trigger_ns))
    with EventReader(path) as reader:
        stored = reader.opening(0)
        assert stored is not None
        info = reader.frame_of(stored)
        assert info is not None
        assert info.trigger_ns == 100_050_000_000
    # A frame that was begun by a fault long before and extended by the opening.
    store.put(replace(OPENING, boot_ns=300_000_000_000))
    store.add_piece(piece(260_000_000_000))
    late = [Recorded("cells/measurement", 300_000_000_000, b"x")]
    store.add_piece(Piece(260_000_000_000, 50, late, True, False))
    with EventReader(path) as reader:
        stored = reader.opening(0)
        assert stored is not None
        info = reader.frame_of(stored)
        assert info is not None
        assert (info.trigger_ns, info.messages) == (260_000_000_000, 4)


def test_closed_switches_are_remembered_until_an_opening(open_store: Open) -> None:
    store = open_store()
    assert store.closed_since() is None
    store.put_closed(70)
    assert store.closed_since() == 70
    store.close()
    store = open_store("boot 2")
    assert store.closed_since() == 70
    store.put(OPENING)
    assert store.closed_since() is None
    store.put(replace(OPENING, opened_ns=300))
    store.put_closed(80)
    store.put(replace(OPENING, cause=5))  # what becomes known late takes nothing back
    assert store.closed_since() == 80


def test_the_table_of_diagnoses_is_kept_in_words(open_store: Open, path: Path) -> None:
    row = DiagnosisText(101, "over", "too high", "open_now", "above 4 V", "V", "cell")
    open_store(diagnoses=[row]).close()
    open_store(diagnoses=[row])
    with EventReader(path) as reader:
        assert reader.diagnosis(101) == row
        assert reader.diagnosis(102) is None


# Lock-outs and wear


def test_a_lockout_stands_over_restarts_until_it_is_cleared(open_store: Open) -> None:
    store = open_store(lockouts={101})
    assert store.add(EVENT).lockouts
    assert not store.add(replace(EVENT, boot_ns=6)).lockouts  # it stands already
    assert not store.add(replace(EVENT, diagnosis=102)).lockouts
    store.close()
    store = open_store("boot 2", lockouts={101})
    assert store.lockouts() == [LockOut(101, 7, 4.31)]
    assert not store.add(replace(CLEARED, diagnosis=102)).lockouts
    assert store.add(CLEARED).lockouts
    assert store.lockouts() == []


def test_what_was_said_before_the_clearing_does_not_set_a_lockout_again(open_store: Open) -> None:
    store = open_store(lockouts={101})
    store.add(EVENT)
    store.add(CLEARED)
    store.close()
    store = open_store(lockouts={101})
    assert not store.add(EVENT).lockouts
    assert store.lockouts() == []


def test_clearing_one_cell_leaves_the_others_locked(open_store: Open) -> None:
    store = open_store(lockouts={101})
    store.lock_all()
    store.add(EVENT)
    store.add(replace(EVENT, element=8))
    store.add(replace(CLEARED, element=7))
    assert [(each.diagnosis, each.element) for each in store.lockouts()] == [(101, 8)]


def test_wear_adds_up_once_per_opening(open_store: Open) -> None:
    def wear(element: int, current_a: float) -> tuple[str, SwitchUse] | None:
        return (f"switch {element}", SwitchUse(1, 1, 0, current_a / 1000)) if element < 2 else None

    store = open_store(wear=wear)
    switched = replace(EVENT, kind=Event.KIND_SWITCHED, element=1, value=100.0)
    assert store.add(switched).wear
    assert not store.add(switched).wear
    assert store.add(replace(switched, boot_ns=6)).wear
    assert not store.add(replace(switched, boot_ns=7, element=-1)).wear
    assert not store.add(replace(switched, boot_ns=9, element=2)).wear
    assert list(store.wear()) == ["switch 1"]
    use = store.wear()["switch 1"]
    assert (use.operations, use.under_load, use.above_break) == (2, 2, 0)
    assert use.life_used == pytest.approx(0.2)


def test_an_unknown_life_stays_unknown(open_store: Open) -> None:
    store = open_store(wear=lambda element, current_a: ("s", SwitchUse(1, 1, 0, math.nan)))
    for number in range(2):
        store.add(replace(EVENT, kind=Event.KIND_SWITCHED, boot_ns=number))
    use = store.wear()["s"]
    assert use.operations == 2
    assert math.isnan(use.life_used)


# Older and unusable files


def test_a_database_of_the_first_layout_is_taken_over(open_store: Open, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(_EVENT_0)
        database.execute(
            "INSERT INTO event (wall_ns, boot_ns, source, kind, severity, diagnosis, element,"
            " value, text) VALUES (1, 2, 'protection', 1, 2, 101, 3, NULL, 'old')"
        )
        database.commit()
    with pytest.raises(MemoryReadError, match="layout 0"):
        EventReader(path)
    store = open_store()
    store.add(replace(EVENT, boot_ns=2))
    old, new = newest(path)
    assert (old.text, old.diagnosis, new) == ("old", 101, replace(EVENT, boot_ns=2))
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT boot_id FROM event JOIN boot ON boot.id = boot")
        assert rows.fetchall() == [("",), ("boot 1",)]
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.parametrize(
    "content", [b"this is no database at all" * 100, b"SQLite format 3\0" * 99]
)
def test_a_file_that_is_no_database_is_unusable(
    open_store: Open, path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(UnusableError):
        open_store()


def test_a_database_of_something_else_is_unusable(open_store: Open, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE event (id INTEGER, other TEXT)")
        database.commit()
    with pytest.raises(UnusableError):
        open_store()


def test_a_database_of_a_newer_release_is_unusable(open_store: Open, path: Path) -> None:
    open_store().close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
        database.commit()
    with pytest.raises(UnusableError, match="layout 99 is of a newer release"):
        open_store()


def test_a_damaged_page_is_found_when_it_is_opened(open_store: Open, path: Path) -> None:
    store = open_store()
    for number in range(500):
        store.add(replace(EVENT, boot_ns=number))
    store.close()
    content = bytearray(path.read_bytes())
    pages = len(content) // 4096
    for page in range(2, pages):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(UnusableError):
        open_store()


def test_unusable_files_are_kept_aside_but_not_all_of_them(path: Path) -> None:
    kept = []
    for number in range(4):
        path.write_text(f"broken {number}")
        path.with_name(path.name + "-wal").write_text("log")
        target = move_aside(path)
        kept.append(target.rename(target.with_name(f"{path.name}.unusable-{number}")))
        log = target.with_name(target.name + "-wal")
        log.rename(kept[-1].with_name(kept[-1].name + "-wal"))
    assert not path.exists()
    assert [file.exists() for file in kept] == [False, False, True, True]
    assert len(list(path.parent.iterdir())) == 4  # two files, two logs


def test_a_full_disk_says_so_changes_nothing_and_can_be_written_later(
    open_store: Open, path: Path
) -> None:
    store = open_store(lockouts={101})
    store.add(replace(EVENT, diagnosis=1))
    store._database.execute("PRAGMA max_page_count=3")  # SQLite reports it as a full disk
    with pytest.raises(sqlite3.Error, match="full"):
        store.add(replace(EVENT, text="x" * 200_000))
    assert store.lockouts() == []
    store._database.execute("PRAGMA max_page_count=100000")
    store.add(replace(EVENT, boot_ns=99))
    assert [event.boot_ns for event in newest(path)] == [5, 99]


# Reading


def test_reading_beside_the_writer_and_in_a_folder_that_cannot_be_written(
    open_store: Open, path: Path
) -> None:
    store = open_store()
    store.add(EVENT)
    assert newest(path) == [EVENT]
    store.close()
    path.parent.chmod(0o555)
    try:
        assert newest(path) == [EVENT]
    finally:
        path.parent.chmod(0o755)


def test_no_memory_is_said_with_its_path(path: Path) -> None:
    with pytest.raises(MemoryReadError, match=r"pack\.events\.sqlite: does not exist"):
        EventReader(path)
    path.write_text("nonsense" * 1000)
    with pytest.raises(MemoryReadError, match="cannot be read as an event memory"):
        EventReader(path)
