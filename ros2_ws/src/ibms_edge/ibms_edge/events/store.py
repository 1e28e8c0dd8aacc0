# SPDX-License-Identifier: Apache-2.0
"""The event memory: an embedded database of bounded size that survives a kill at any time. No ROS.

One transaction per change, on disk when the call returns (write-ahead log, synced at each commit).
"""

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

import msgspec

from ibms_edge.events import frame
from ibms_edge.events.records import (
    DiagnosisText,
    EventRecord,
    LockOut,
    Opening,
    Piece,
    SwitchUse,
)
from ibms_edge.events.schema import migrate

EVENTS = 100_000
OPENINGS = 10_000
SIZE_BYTES = 64 * 1024 * 1024
_LOG_BYTES = 4 * 1024 * 1024  # of the write-ahead log between two checkpoints
_EVENTS_AT_ONCE = 1000  # go together when nothing but events is left to make room
_MOVED_ASIDE = 2  # unusable files that are kept
_LARGEST_INTEGER = 2**63 - 1
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# Kinds of ibms_msgs/msg/Event that have consequences here; a test holds them against the message.
FAULT_SET, FAULT_CLEARED, SWITCHED, DEVICE = 1, 2, 5, 6

Wear = Callable[[int, float], "tuple[str, SwitchUse] | None"]


class UnusableError(Exception):
    """The file is no event memory, of a newer release, or damaged."""


class Effect(NamedTuple):
    """What an event that was stored has changed."""

    is_new: bool = False  # False: it was there already, as it came twice
    lockouts: bool = False
    wear: bool = False


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged: nothing helps but a new one."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in _DAMAGED


class EventStore:
    """The only writer of the database; the oldest freeze frames, then events, make room.

    Args:
        path: file of the database; its folder exists.
        boot_id: names the boot of the computer that all times belong to.
        lockouts: diagnoses that are kept as lock-outs when they come and removed when they go.
        wear: what an opening of a switch with a current [A] adds to which switch; None: nothing.
            The current is NaN where it was not measured.
        diagnoses: the table of diagnoses in words.
        events: number of events to keep.
        size_bytes: size of the database; the write-ahead log beside it adds some megabytes.

    Raises:
        UnusableError: if the file is no event memory or damaged.
        sqlite3.Error: if it cannot be opened now, for instance because the disk is full.
    """

    def __init__(
        self,
        path: Path,
        boot_id: str = "",
        *,
        lockouts: Collection[int] = (),
        wear: Wear | None = None,
        diagnoses: Sequence[DiagnosisText] = (),
        events: int = EVENTS,
        size_bytes: int = SIZE_BYTES,
    ) -> None:
        self.path = path
        self._lockouts = frozenset(lockouts)
        self._wear = wear
        self._events = events
        self._size_bytes = size_bytes
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._prepare(boot_id, diagnoses)
        except sqlite3.Error as error:
            self._database.close()
            # An SQL error on these statements means tables of another layout.
            if is_damage(error) or error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                raise UnusableError(str(error)) from error
            raise
        except ValueError as error:
            self._database.close()
            raise UnusableError(str(error)) from error

    def _prepare(self, boot_id: str, diagnoses: Sequence[DiagnosisText]) -> None:
        database = self._database
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
        database.execute("PRAGMA foreign_keys=ON")
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise ValueError(f"damaged: {verdict}")
        (self._page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        with self._transaction():
            migrate(database)
            database.execute(
                "DELETE FROM boot WHERE id > 0 AND boot_id != ? AND id NOT IN (SELECT boot FROM"
                " event UNION SELECT boot FROM opening UNION SELECT boot FROM frame)",
                (boot_id,),
            )
            database.execute("INSERT OR IGNORE INTO boot (boot_id) VALUES (?)", (boot_id,))
            (self._boot,) = database.execute(
                "SELECT id FROM boot WHERE boot_id = ?", (boot_id,)
            ).fetchone()
            database.execute("DELETE FROM diagnosis")
            database.executemany(
                "INSERT INTO diagnosis VALUES (?, ?, ?, ?, ?, ?, ?)",
                [astuple(row) for row in diagnoses],
            )

    # Writing. All raise sqlite3.Error where it could not be done, for instance on a full disk;
    # then nothing has changed.

    def add(self, event: EventRecord) -> Effect:
        """Store one event with its consequences, once however often it comes."""
        once = (
            self._boot,
            min(event.boot_ns, _LARGEST_INTEGER),
            event.source,
            event.kind,
            event.diagnosis,
            event.element,
            event.text,
        )
        with self._transaction():
            known = self._database.execute(
                "SELECT 1 FROM event WHERE boot = ? AND boot_ns = ? AND source = ? AND kind = ?"
                " AND diagnosis = ? AND element = ? AND text = ?",
                once,
            ).fetchone()
            if known is not None:
                return Effect()
            self._make_room(len(event.text))
            cursor = self._database.execute(
                "INSERT INTO event (boot, boot_ns, source, kind, diagnosis, element, text,"
                " wall_ns, severity, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*once, event.wall_ns, event.severity, _or_null(event.value)),
            )
            newest = cursor.lastrowid or 0
            self._database.execute("DELETE FROM event WHERE id <= ?", (newest - self._events,))
            return Effect(True, self._keep_lockout(event), self._keep_wear(event))

    def put(self, opening: Opening) -> None:
        """Store an opening, or what became known of it since."""
        with self._transaction():
            cursor = self._database.execute(
                "INSERT INTO opening (boot, boot_ns, wall_ns, reason, commanded_ns, opened_ns,"
                " cause, cause_element, cause_value, closed_until_wall_ns, moment)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (boot, boot_ns) DO UPDATE SET reason = excluded.reason,"
                " commanded_ns = excluded.commanded_ns, opened_ns = excluded.opened_ns,"
                " cause = excluded.cause, cause_element = excluded.cause_element,"
                " cause_value = excluded.cause_value, moment = excluded.moment",
                (
                    self._boot,
                    opening.boot_ns,
                    opening.wall_ns,
                    opening.reason,
                    opening.commanded_ns,
                    opening.opened_ns,
                    opening.cause,
                    opening.cause_element,
                    _or_null(opening.cause_value),
                    opening.closed_until_wall_ns,
                    msgspec.json.encode(opening.moment).decode(),
                ),
            )
            newest = cursor.lastrowid or 0
            self._database.execute("DELETE FROM opening WHERE id <= ?", (newest - OPENINGS,))

    def put_closed(self, wall_ns: int) -> None:
        """The switches are closed since ``wall_ns``; the next opening ends that."""
        with self._transaction():
            self._database.execute("DELETE FROM closed")
            self._database.execute(
                "INSERT INTO closed SELECT ?, coalesce(max(id), 0) FROM opening", (wall_ns,)
            )

    def add_piece(self, piece: Piece) -> None:
        """Store a piece of a freeze frame."""
        data = frame.pack(piece.messages)
        with self._transaction():
            self._make_room(len(data))
            key = (self._boot, piece.trigger_ns)
            self._database.execute(
                "INSERT INTO frame (boot, trigger_ns, wall_ns, by_fault, complete)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (boot, trigger_ns) DO UPDATE SET"
                " by_fault = excluded.by_fault, complete = excluded.complete",
                (*key, piece.trigger_wall_ns, piece.by_fault, piece.is_last),
            )
            if piece.messages:
                self._database.execute(
                    "INSERT INTO piece (frame, messages, first_ns, last_ns, data) VALUES"
                    " ((SELECT id FROM frame WHERE boot = ? AND trigger_ns = ?), ?, ?, ?, ?)",
                    (
                        *key,
                        len(piece.messages),
                        piece.messages[0].received_ns,
                        piece.messages[-1].received_ns,
                        data,
                    ),
                )

    def lock_all(self) -> None:
        """Set every lock-out: nobody knows any more which of them stood."""
        with self._transaction():
            self._database.executemany(
                "INSERT OR IGNORE INTO lockout VALUES (?, -1, NULL)",
                [(diagnosis,) for diagnosis in sorted(self._lockouts)],
            )

    # What the writer itself needs to know

    def lockouts(self) -> list[LockOut]:
        """Lock-outs that stand."""
        rows = self._database.execute(
            "SELECT diagnosis, element, value FROM lockout ORDER BY diagnosis, element"
        )
        return [LockOut(diagnosis, element, _or_nan(value)) for diagnosis, element, value in rows]

    def wear(self) -> dict[str, SwitchUse]:
        """Use of each switch that was ever opened."""
        rows = self._database.execute("SELECT * FROM wear")
        return {
            name: SwitchUse(operations, loaded, above, _or_nan(life))
            for name, operations, loaded, above, life in rows
        }

    def closed_since(self) -> int | None:
        """Wall time [ns] since which the switches are closed as far as known; None: open."""
        row = self._database.execute(
            "SELECT since_wall_ns FROM closed"
            " WHERE after_opening = (SELECT coalesce(max(id), 0) FROM opening)"
        ).fetchone()
        return None if row is None else int(row[0])

    def newest_wall_ns(self) -> int | None:
        """Wall time of the newest event, None if there is none."""
        (newest,) = self._database.execute("SELECT max(wall_ns) FROM event").fetchone()
        return None if newest is None else int(newest)

    def used_bytes(self) -> int:
        """Size of what is stored; the file is never much larger than ``size_bytes``."""
        (pages,) = self._database.execute("PRAGMA page_count").fetchone()
        (free,) = self._database.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * int(self._page_bytes)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # Parts of a transaction

    def _keep_lockout(self, event: EventRecord) -> bool:
        if event.diagnosis not in self._lockouts:
            return False
        if event.kind == FAULT_SET:
            cursor = self._database.execute(
                "INSERT OR IGNORE INTO lockout VALUES (?, ?, ?)",
                (event.diagnosis, event.element, _or_null(event.value)),
            )
        elif event.kind == FAULT_CLEARED and event.element < 0:
            cursor = self._database.execute(
                "DELETE FROM lockout WHERE diagnosis = ?", (event.diagnosis,)
            )
        elif event.kind == FAULT_CLEARED:
            cursor = self._database.execute(
                "DELETE FROM lockout WHERE diagnosis = ? AND element IN (?, -1)",
                (event.diagnosis, event.element),
            )
        else:
            return False
        return cursor.rowcount > 0

    def _keep_wear(self, event: EventRecord) -> bool:
        if event.kind != SWITCHED or event.element < 0:
            return False
        added = self._wear(event.element, event.value) if self._wear is not None else None
        if added is None:
            return False
        name, use = added
        self._database.execute(
            "INSERT INTO wear VALUES (?, ?, ?, ?, ?) ON CONFLICT (switch) DO UPDATE SET"
            " operations = operations + excluded.operations,"
            " under_load = under_load + excluded.under_load,"
            " above_break = above_break + excluded.above_break,"
            " life_used = life_used + excluded.life_used",
            (name, use.operations, use.under_load, use.above_break, _or_null(use.life_used)),
        )
        return True

    def _make_room(self, added_bytes: int) -> None:
        added_bytes += 2 * self._page_bytes
        while self.used_bytes() + added_bytes > self._size_bytes:
            # Frames of openings that somebody asked for tell least.
            removed = self._database.execute(
                "DELETE FROM frame WHERE id = (SELECT id FROM frame ORDER BY by_fault, id LIMIT 1)"
            )
            if removed.rowcount == 0:
                removed = self._database.execute(
                    "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)",
                    (_EVENTS_AT_ONCE,),
                )
            if removed.rowcount == 0:
                return

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                with suppress(sqlite3.Error):  # the first error is the one to tell
                    self._database.execute("ROLLBACK")
            raise


def move_aside(path: Path) -> Path:
    """Rename an unusable database with its log; only the newest few are kept.

    Raises:
        OSError: if it cannot be renamed.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    target = path.with_name(f"{path.name}.unusable-{stamp}-{os.getpid()}")
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    path.rename(target)
    aside = [
        file
        for file in path.parent.glob(f"{path.name}.unusable-*")
        if not file.name.endswith(("-wal", "-shm"))
    ]
    for old in sorted(aside, key=lambda file: file.stat().st_mtime)[:-_MOVED_ASIDE]:
        for file in (old, *(old.with_name(old.name + suffix) for suffix in ("-wal", "-shm"))):
            file.unlink(missing_ok=True)
    return target


def _or_null(value: float) -> float | None:
    return None if value != value else value


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
