# SPDX-License-Identifier: Apache-2.0
import math
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ibms_edge.events.store import EventRecord, EventStore

EVENT = EventRecord(
    wall_ns=1_700_000_000_000_000_000,
    boot_ns=5,
    source="protection",
    kind=1,
    severity=2,
    diagnosis=101,
    element=7,
    value=4.31,
    text="a cell voltage is too high: 4.31 (element 7)",
)


def test_events_come_back_as_they_were_and_in_order(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "deep" / "events.sqlite")
    for number in range(5):
        store.add(replace(EVENT, boot_ns=number))
    assert store.newest(3) == [replace(EVENT, boot_ns=number) for number in (2, 3, 4)]
    store.close()
    store = EventStore(tmp_path / "deep" / "events.sqlite")
    assert len(store.newest(100)) == 5
    store.close()


def test_a_value_that_does_not_exist_stays_nan(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite")
    store.add(replace(EVENT, value=math.nan))
    assert math.isnan(store.newest(1)[0].value)
    store.close()


def test_the_oldest_go_when_it_is_full_over_restarts_too(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    for start in (0, 10):
        store = EventStore(path, capacity=4)
        for number in range(start, start + 10):
            store.add(replace(EVENT, boot_ns=number))
        kept = [event.boot_ns for event in store.newest(100)]
        assert kept == list(range(start + 6, start + 10))
        store.close()


def test_what_was_added_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    script = """
import os, signal, sys
from pathlib import Path
from ibms_edge.events.store import EventRecord, EventStore
store = EventStore(Path(sys.argv[1]))
for number in range(20):
    store.add(EventRecord(1, number, "test", 1, 0, 0, -1, 0.0, "text"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(path)])
    assert ended.returncode == -signal.SIGKILL
    store = EventStore(path)
    assert [event.boot_ns for event in store.newest(100)] == list(range(20))
    store.add(EVENT)
    store.close()


def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(OSError, match=r"events\.sqlite: is no usable database"):
        EventStore(path)


def test_a_database_of_another_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE event (id INTEGER, other TEXT)")
    database.commit()
    database.close()
    with pytest.raises(OSError, match=r"events\.sqlite: is no usable database"):
        EventStore(path)


def test_a_full_database_says_so_and_can_be_written_later(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite")
    store.add(EVENT)
    store._database.execute("PRAGMA max_page_count=3")
    long = replace(EVENT, text="x" * 20_000)
    with pytest.raises(sqlite3.Error, match="full"):
        store.add(long)
    store._database.execute("PRAGMA max_page_count=100000")
    store.add(replace(EVENT, boot_ns=99))
    assert store.newest(1)[0].boot_ns == 99
    store.close()
