# SPDX-License-Identifier: Apache-2.0
"""The memory survives a kill and a power loss at any instant.

After each kill the file is whole, and what was acknowledged is there exactly once. A power loss is
played by taking the files as they lay on the disk at some instant: what was synced is there, of
what was not, any part may be.
"""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ibms_edge.events.reader import EventReader
from ibms_edge.events.records import EventRecord, Piece, Recorded
from ibms_edge.events.store import EventStore

WRITER = Path(__file__).with_name("crash_writer.py")


@dataclass
class Acknowledged:
    """What the killed processes said to be on disk."""

    events: set[int] = field(default_factory=set)
    openings: set[int] = field(default_factory=set)
    pieces: set[int] = field(default_factory=set)


def record_until_killed(
    path: Path, said: Acknowledged, chance: random.Random, run: int, size_bytes: int
) -> None:
    """Run a recording process and kill it."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, (path, run * 100_000, run, size_bytes))],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    begun = b""
    if run % 3:  # the others are killed at any time since the start
        begun = b"".join(process.stdout.readline() for _ in range(chance.randrange(1, 40)))
    time.sleep(chance.uniform(0.0, (0.15, 0.0, 0.02)[run % 3]))
    process.send_signal(signal.SIGKILL)
    output = begun + process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    for line in output.decode().splitlines():
        what, _, number = line.partition(" ")
        if what == "event":
            said.events.add(int(number))
        elif what != "open":
            {"opening": said.openings, "piece": said.pieces}[what].add(int(number))


def check(path: Path, said: Acknowledged) -> None:
    with EventReader(path) as reader:
        assert reader.check() == "ok"
    with closing(sqlite3.connect(path)) as database:
        stored = [n for (n,) in database.execute("SELECT boot_ns FROM event ORDER BY id")]
        assert len(stored) == len(set(stored)), "an event stands twice"
        oldest = stored[0] if stored else 0
        kept = {number for number in said.events if number >= oldest}
        assert kept <= set(stored), "an acknowledged event is lost"
        openings = {n for (n,) in database.execute("SELECT boot_ns FROM opening")}
        assert said.openings <= openings, "an acknowledged opening is lost"
        frames = [n for (n,) in database.execute("SELECT trigger_ns FROM frame ORDER BY id")]
        assert {n for n in said.pieces if frames and n >= frames[0]} <= set(frames)
        locked: set[int] = set()
        for kind, element in database.execute(
            "SELECT kind, element FROM event WHERE diagnosis = 1 AND kind < 3 ORDER BY id"
        ):
            (locked.add if kind == 1 else locked.discard)(element)
        stand = {element for (element,) in database.execute("SELECT element FROM lockout")}
        assert stand == locked
        # Consequences are there exactly as often as their events.
        (openings_of_switch,) = database.execute(
            "SELECT coalesce(sum(operations), 0) FROM wear"
        ).fetchone()
        (switched,) = database.execute("SELECT count(*) FROM event WHERE kind = 5").fetchone()
        assert openings_of_switch == switched


def kill_many_times(path: Path, kills: int, seed: int, size_bytes: int) -> None:
    chance = random.Random(seed)
    said = Acknowledged()
    for number in range(kills):
        record_until_killed(path, said, chance, number, size_bytes)
        if path.exists():
            check(path, said)
    assert len(said.events) > 5 * kills, "too little was recorded for the test to mean anything"
    assert said.pieces


def test_thirty_kills_at_random_times_lose_nothing(tmp_path: Path) -> None:
    kill_many_times(tmp_path / "events.sqlite", 30, 1, 1_000_000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_four_hundred_kills_at_random_times_lose_nothing(tmp_path: Path) -> None:
    kill_many_times(tmp_path / "events.sqlite", 400, 2, 30_000_000)


# Power loss


def event(number: int) -> EventRecord:
    return EventRecord(number, number, "test", 3, 0, 0, -1, 0.5, f"event {number} " + "x" * 200)


class Disk:
    """A store and what of it is surely on the disk: the files after each acknowledgement."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "live" / "events.sqlite"
        self.path.parent.mkdir()
        self.store = EventStore(self.path, "boot", size_bytes=2_000_000)
        self.acknowledged = 0

    def add(self) -> None:
        self.store.add(event(self.acknowledged))
        self.acknowledged += 1

    def add_piece(self, size: int, seed: int) -> None:
        data = random.Random(seed).randbytes(size)
        self.store.add_piece(Piece(seed, seed, [Recorded("a", seed, data)], True, False))

    @property
    def log(self) -> bytes:
        return self.path.with_name(self.path.name + "-wal").read_bytes()

    @property
    def pages(self) -> bytes:
        return self.path.read_bytes()


def restart(folder: Path, pages: bytes, log: bytes) -> list[int]:
    """Begin again on these files; returns the events that are there."""
    folder.mkdir()
    path = folder / "events.sqlite"
    path.write_bytes(pages)
    path.with_name(path.name + "-wal").write_bytes(log)
    EventStore(path, "boot after").close()  # raises if the file is not whole
    with EventReader(path) as reader:
        assert reader.check() == "ok"
        return [each.boot_ns for each in reader.newest(100_000)]


def test_what_was_not_synced_may_be_lost_at_any_byte(tmp_path: Path) -> None:
    chance = random.Random(3)
    disk = Disk(tmp_path)
    for number in range(25):
        disk.add()
        if number % 6 == 0:
            disk.add_piece(chance.randrange(1, 30_000), number)
        acknowledged, synced, pages = disk.acknowledged, len(disk.log), disk.pages
        disk.store._database.execute("BEGIN IMMEDIATE")  # an event more, whose sync never ends
        disk.store._database.execute("UPDATE event SET text = text || 'y'")
        disk.store._database.execute("COMMIT")
        log = disk.log
        for case in range(3):
            cut = chance.randrange(synced, len(log) + 1)
            rest = log[synced:cut]
            if case == 1:  # blocks reach the disk in any order
                rest += bytes(len(log) - cut)
            if case == 2:
                rest += chance.randbytes(len(log) - cut)
            folder = tmp_path / f"{number}_{case}"
            assert restart(folder, pages, log[:synced] + rest) == list(range(acknowledged))


def test_a_disk_that_lies_about_syncing_costs_the_newest_events_only(tmp_path: Path) -> None:
    chance = random.Random(4)
    disk = Disk(tmp_path)
    pages = disk.pages
    for number in range(60):
        disk.add()
        if number % 20 == 0:
            disk.add_piece(20_000, number)
    log = disk.log
    lengths = set()
    for number in range(40):
        left = restart(tmp_path / str(number), pages, log[: chance.randrange(len(log))])
        assert left == list(range(len(left)))  # no gap, nothing twice
        lengths.add(len(left))
    assert len(lengths) > 10


def test_a_power_loss_while_the_log_is_taken_over_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)
    disk = Disk(tmp_path)
    for number in range(80):
        disk.add()
        if number % 20 == 0:
            disk.add_piece(20_000, number)
    before, log = disk.pages, disk.log
    disk.store._database.execute("PRAGMA wal_checkpoint(FULL)")
    after = disk.pages
    assert before != after
    for number in range(15):
        size = chance.choice((len(before), len(after)))
        pages = bytearray(before.ljust(size, b"\0"))
        for start in range(0, size, 4096):
            if chance.random() < 0.5:  # this page was written already
                pages[start : start + 4096] = after[start : start + 4096]
        assert restart(tmp_path / str(number), bytes(pages), log) == list(range(80))
