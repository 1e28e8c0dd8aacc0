# SPDX-License-Identifier: Apache-2.0
"""Store of events in an embedded database of bounded size. No ROS."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    wall_ns INTEGER NOT NULL,
    boot_ns INTEGER NOT NULL,
    source TEXT NOT NULL,
    kind INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    diagnosis INTEGER NOT NULL,
    element INTEGER NOT NULL,
    value REAL,
    text TEXT NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event as stored."""

    wall_ns: int
    boot_ns: int
    source: str
    kind: int
    severity: int
    diagnosis: int
    element: int
    value: float
    text: str


class EventStore:
    """Events on disk; the oldest go when there are more than ``capacity``.

    Raises:
        OSError: if the folder cannot be made.
        sqlite3.Error: if the database cannot be opened.
    """

    def __init__(self, path: Path, capacity: int = 100_000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._capacity = capacity
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(_SCHEMA)
        self._database.commit()

    def add(self, event: EventRecord) -> None:
        """Store one event; it is on disk when this returns."""
        value = None if event.value != event.value else event.value
        with self._database:
            cursor = self._database.execute(
                "INSERT INTO event (wall_ns, boot_ns, source, kind, severity, diagnosis, element,"
                " value, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    event.wall_ns,
                    event.boot_ns,
                    event.source,
                    event.kind,
                    event.severity,
                    event.diagnosis,
                    event.element,
                    value,
                    event.text,
                ),
            )
            newest = cursor.lastrowid or 0
            self._database.execute("DELETE FROM event WHERE id <= ?", (newest - self._capacity,))

    def newest(self, count: int) -> list[EventRecord]:
        """The newest events, oldest of them first."""
        rows = self._database.execute(
            "SELECT wall_ns, boot_ns, source, kind, severity, diagnosis, element, value, text"
            " FROM event ORDER BY id DESC LIMIT ?",
            (count,),
        ).fetchall()
        return [
            EventRecord(*row[:7], float("nan") if row[7] is None else row[7], row[8])
            for row in reversed(rows)
        ]

    def close(self) -> None:
        """Close the database."""
        self._database.close()
