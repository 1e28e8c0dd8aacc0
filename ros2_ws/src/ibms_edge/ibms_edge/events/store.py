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
        OSError: if the folder cannot be made, or the file is not a database of events.
    """

    def __init__(self, path: Path, capacity: int = 100_000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._capacity = capacity
        self._database = sqlite3.connect(path, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_SCHEMA)
            self._database.commit()
            self.newest(1)  # a table of another layout shows here
        except sqlite3.Error as error:
            self._database.close()
            raise OSError(
                f"{path}: is no usable database of events ({error}); move it away to begin anew"
            ) from error

    def add(self, event: EventRecord) -> None:
        """Store one event; it is on disk when this returns.

        Raises:
            sqlite3.Error: if it could not be stored, for instance on a full disk.
        """
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
        names = EventRecord.__slots__
        records = (dict(zip(names, row, strict=True)) for row in reversed(rows))
        return [EventRecord(**{**r, "value": _or_nan(r["value"])}) for r in records]

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
