# SPDX-License-Identifier: Apache-2.0
"""Reading of the event memory, beside its writer or without it. No ROS."""

import sqlite3
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import msgspec

from ibms_battery.clock import NS_PER_S
from ibms_edge.events import frame
from ibms_edge.events.records import (
    DiagnosisText,
    EventRecord,
    Moment,
    Opening,
    Recorded,
)
from ibms_edge.events.schema import VERSION

_BARELY_NS = NS_PER_S  # the newest messages are fetched a little later

_EVENT_COLUMNS = ", ".join(field.name for field in fields(EventRecord))
_OPENING_COLUMNS = ", ".join(field.name for field in fields(Opening))


class MemoryReadError(ValueError):
    """The event memory cannot be read; the text says which file and why."""


@dataclass(frozen=True, slots=True)
class StoredOpening:
    """An opening with the boot that its times belong to."""

    opening: Opening
    boot: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """A freeze frame without its messages."""

    id: int
    trigger_ns: int
    trigger_wall_ns: int
    complete: bool
    messages: int
    first_ns: int
    last_ns: int


class EventReader:
    """Read-only access to the database of one pack.

    Raises:
        MemoryReadError: if there is none, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise MemoryReadError(f"{path}: does not exist, so nothing was recorded there")
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        # Without a log beside it the file is complete; a log needs its index, which a folder that
        # is not writable cannot get.
        problem: object = None
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            if "immutable" in mode and self.path.with_name(f"{self.path.name}-wal").exists():
                break
            database = sqlite3.connect(f"file:{quote(str(self.path))}?{mode}", uri=True)
            try:
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version == VERSION:
                    return database
                problem = (
                    f"its layout {version} is not the one of this release ({VERSION}); "
                    "start event_recorder once, which converts older ones"
                )
            except sqlite3.Error as error:
                problem = error
            database.close()
        raise MemoryReadError(f"{self.path}: cannot be read as an event memory: {problem}")

    def newest(self, count: int) -> list[EventRecord]:
        """The newest events, oldest of them first."""
        rows = self._rows(f"SELECT {_EVENT_COLUMNS} FROM event ORDER BY id DESC LIMIT ?", count)
        return [_event(row) for row in reversed(rows)]

    def events(self, boot: int, from_ns: int, until_ns: int) -> list[EventRecord]:
        """Events of one boot between two boot times, both included, in the order of time."""
        rows = self._rows(
            f"SELECT {_EVENT_COLUMNS} FROM event WHERE boot = ? AND boot_ns BETWEEN ? AND ?"
            " ORDER BY boot_ns, id",
            boot,
            from_ns,
            until_ns,
        )
        return [_event(row) for row in rows]

    def last_fault(
        self, boot: int, diagnosis: int, element: int, until_ns: int
    ) -> EventRecord | None:
        """The newest event with which ``diagnosis`` was set for ``element`` up to ``until_ns``."""
        rows = self._rows(
            f"SELECT {_EVENT_COLUMNS} FROM event WHERE boot = ? AND boot_ns <= ? AND kind = 1"
            " AND diagnosis = ? AND element = ? ORDER BY boot_ns DESC, id DESC LIMIT 1",
            boot,
            until_ns,
            diagnosis,
            element,
        )
        return _event(rows[0]) if rows else None

    def openings(self) -> int:
        """Number of openings that are remembered."""
        return int(self._rows("SELECT count(*) FROM opening")[0][0])

    def opening(self, index: int) -> StoredOpening | None:
        """Opening ``index``, 0 being the last one; None if there are not so many."""
        rows = self._rows(
            f"SELECT {_OPENING_COLUMNS}, boot, (SELECT boot_id FROM boot WHERE id = opening.boot)"
            " FROM opening ORDER BY id DESC LIMIT 1 OFFSET ?",
            index,
        )
        if not rows:
            return None
        *values, boot, boot_id = rows[0]
        known: dict[str, Any] = dict(
            zip((field.name for field in fields(Opening)), values, strict=True)
        )
        known["cause_value"] = _or_nan(known["cause_value"])
        known["moment"] = self._moment(known["moment"])
        return StoredOpening(Opening(**known), boot, boot_id or "")

    def diagnosis(self, identifier: int) -> DiagnosisText | None:
        """A row of the table of diagnoses as it was when the recorder last started."""
        rows = self._rows("SELECT * FROM diagnosis WHERE id = ?", identifier)
        return DiagnosisText(*rows[0]) if rows else None

    def frame_of(self, stored: StoredOpening) -> FrameInfo | None:
        """The freeze frame around an opening; None if there is none (any more)."""
        rows = self._rows(
            "SELECT frame.id, trigger_ns, wall_ns, complete, sum(messages), min(first_ns),"
            " max(last_ns) FROM frame JOIN piece ON piece.frame = frame.id"
            " WHERE boot = ? AND trigger_ns BETWEEN ? AND ?"
            " GROUP BY frame.id HAVING max(last_ns) >= ? ORDER BY trigger_ns DESC LIMIT 1",
            stored.boot,
            # An opening triggers a frame when it is seen, unless one is being recorded: so it is
            # the newest up to then, and reaches to the opening (its first piece nearly so).
            stored.opening.boot_ns - frame.LONGEST_NS,
            stored.opening.boot_ns + frame.AFTER_NS,
            stored.opening.boot_ns - _BARELY_NS,
        )
        if not rows:
            return None
        identifier, trigger_ns, wall_ns, complete, messages, first_ns, last_ns = rows[0]
        return FrameInfo(
            identifier, trigger_ns, wall_ns, bool(complete), messages, first_ns, last_ns
        )

    def messages(self, info: FrameInfo) -> list[Recorded]:
        """Messages of a freeze frame in the order of their receipt.

        Raises:
            ValueError: if a piece is damaged.
        """
        rows = self._rows("SELECT data FROM piece WHERE frame = ? ORDER BY id", info.id)
        return [message for (data,) in rows for message in frame.unpack(data)]

    def check(self) -> str:
        """SQLite's verdict on the whole file: "ok" or what is wrong."""
        return str(self._rows("PRAGMA integrity_check(1)")[0][0])

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _moment(self, text: str) -> Moment:
        try:
            known = msgspec.json.decode(text, type=dict[str, Any])
            measured = {name: value for name, value in known.items() if value is not None}
            return msgspec.convert(measured, Moment)
        except msgspec.MsgspecError as error:
            raise MemoryReadError(f"{self.path}: an opening is damaged: {error}") from error

    def _rows(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise MemoryReadError(f"{self.path}: cannot be read: {error}") from error


def _event(row: tuple[Any, ...]) -> EventRecord:
    values = dict(zip((field.name for field in fields(EventRecord)), row, strict=True))
    return EventRecord(**{**values, "value": _or_nan(values["value"])})


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
