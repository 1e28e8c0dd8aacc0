# SPDX-License-Identifier: Apache-2.0
"""Decoding and encoding of frames after a DBC, with or without end-to-end protection."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import can
import cantools
from cantools.database.can import Database, Message, Signal

from ibms_end.can.end_to_end import Check, Checker, Protector

CRC_SIGNAL = "Crc"
COUNTER_SIGNAL = "AliveCounter"

_UNLIMITED = 1e30  # finite as float32 as well


class DatabaseError(ValueError):
    """A DBC that cannot be used, or something asked of it that it does not hold."""


def load_databases(paths: Iterable[Path | str]) -> Database:
    """Load DBC files into one database.

    Raises:
        DatabaseError: with the file and the reason.
    """
    database = Database(strict=False)
    for path in paths:
        try:
            status = Path(path).stat()
            loaded = _load_database(str(path), status.st_mtime_ns, status.st_size)
        except Exception as error:  # cantools raises many kinds for malformed files
            raise DatabaseError(f"{path}: cannot be loaded as a CAN database: {error}") from error
        if not isinstance(loaded, Database):
            raise DatabaseError(f"{path}: is not a CAN database")
        for message in loaded.messages:
            database.messages.append(message)
    database.refresh()
    return database


@lru_cache(maxsize=16)
def _load_database(path: str, _changed_ns: int, _size: int) -> Any:
    """The file's content; kept while the file stays, as nodes of one process share most files."""
    return cantools.database.load_file(path, strict=False)


def find_message(database: Database, name: str) -> Message:
    """Message ``name`` of the database.

    Raises:
        DatabaseError: if there is none (the text names others), or more than one.
    """
    found = [message for message in database.messages if message.name == name]
    if not found:
        names = ", ".join(sorted(m.name for m in database.messages)[:12])
        raise DatabaseError(f"no message {name!r} in the CAN database, it holds e.g. {names}")
    if len(found) > 1:
        raise DatabaseError(f"{len(found)} messages are called {name!r} in the CAN databases")
    return found[0]


def limits_of(signal: Signal) -> tuple[float, float]:
    """Smallest and largest believable value; a DBC without them rules out infinity only."""
    low, high = signal.minimum, signal.maximum
    return -_UNLIMITED if low is None else float(low), _UNLIMITED if high is None else float(high)


def data_id_of(message: Message) -> int | None:
    """Data identifier of a protected message, from attribute ``E2EDataId``; else ``None``."""
    dbc = message.dbc
    if dbc is None or CRC_SIGNAL not in message.signal_tree:
        return None
    attribute = dbc.attributes.get("E2EDataId")
    return int(attribute.value) if attribute is not None else None


class FrameDecoder:
    """Checks and decodes the frames of one message and counts what it rejects.

    A frame must be as long as the database says; without protection CAN FD may pad it to the next
    length that a frame can have.
    """

    def __init__(self, message: Message, protected: bool) -> None:
        data_id = data_id_of(message) if protected else None
        if protected and data_id is None:
            raise DatabaseError(
                f"message {message.name!r} has no end-to-end protection (signals Crc and "
                f"AliveCounter, attribute E2EDataId)"
            )
        self.message = message
        self.protected = protected
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self._checker = Checker(data_id, message.length) if data_id is not None else None
        self._lengths = {message.length, can.util.dlc2len(can.util.len2dlc(message.length))}

    @property
    def lost(self) -> int:
        """Frames that the counter shows as lost."""
        return self._checker.lost if self._checker else 0

    def decode(self, data: bytes | bytearray) -> dict[str, float] | None:
        """Physical values of the frame, or ``None`` if it was rejected (and counted)."""
        if self._checker is not None:
            result = self._checker.check(data)
            if result is not Check.OK:
                self.rejected[result.value] += 1
                return None
        elif len(data) not in self._lengths:
            self.rejected[Check.LENGTH.value] += 1
            return None
        try:
            values = self.message.decode(bytes(data), decode_choices=False, allow_truncated=False)
        except (ValueError, KeyError, cantools.database.DecodeError):
            # Above all a multiplexer value that the database does not know.
            self.rejected["undecodable"] += 1
            return None
        self.accepted += 1
        return cast("dict[str, float]", values)


class FrameEncoder:
    """Encodes one message into frames, with counter and CRC where the message is protected."""

    def __init__(self, message: Message) -> None:
        data_id = data_id_of(message)
        self.message = message
        self._protector = Protector(data_id) if data_id is not None else None
        self._values: dict[str, Any] = {signal.name: 0 for signal in message.signals}
        for signal in message.signals:
            self._values[signal.name] = max(0.0, float(signal.minimum or 0.0))

    def encode(self, values: Mapping[str, float]) -> can.Message:
        """Frame with ``values``; signals not given stay at zero.

        Raises:
            DatabaseError: if a signal does not exist or a value does not fit its signal.
        """
        unknown = values.keys() - self._values.keys()
        if unknown:
            raise DatabaseError(
                f"message {self.message.name!r} has no signal {sorted(unknown)[0]!r}"
            )
        try:
            data = bytearray(self.message.encode({**self._values, **values}, strict=False))
        except (ValueError, OverflowError, cantools.database.EncodeError) as error:
            limits = {signal.name: limits_of(signal) for signal in self.message.signals}
            misfits = [
                f"{name}: found {value}, expected {limits[name][0]} to {limits[name][1]}"
                for name, value in values.items()
                if not limits[name][0] <= value <= limits[name][1]
            ]
            raise DatabaseError(
                f"message {self.message.name!r}: {'; '.join(misfits) or error}"
            ) from error
        if self._protector is not None:
            self._protector.protect(data)
        return can.Message(
            arbitration_id=self.message.frame_id,
            is_extended_id=self.message.is_extended_frame,
            is_fd=bool(self.message.is_fd),
            bitrate_switch=bool(self.message.is_fd),
            data=data,
            check=False,
        )
