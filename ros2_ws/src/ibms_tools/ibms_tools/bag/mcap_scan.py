# SPDX-License-Identifier: Apache-2.0
"""What can still be read of an MCAP file (https://mcap.dev/spec) that lost its end."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE_INDEX = struct.Struct("<HI")  # channel, length of entries
_TIMES = struct.Struct("<QQ")  # first and last message of a chunk, or time and offset of an entry
_CHUNK, _INDEX, _FOOTER = 0x06, 0x07, 0x02


@dataclass
class ReadablePart:
    """The complete chunks at the start of a file."""

    size: int  # of the file [bytes]
    end: int = 0  # end of the last complete record [bytes]
    messages: int = 0
    first_ns: int = 0
    last_ns: int = 0
    finished: bool = False


def scan(file: Path) -> ReadablePart | None:
    """Walk over the records of ``file``; None if it does not begin as an MCAP file does."""
    part = ReadablePart(size=file.stat().st_size)
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            return None
        part.end = len(MAGIC)
        while head := stream.read(_RECORD.size):
            if len(head) < _RECORD.size:
                break
            opcode, length = _RECORD.unpack(head)
            end = part.end + _RECORD.size + length
            if opcode == 0 or end > part.size:
                break
            if opcode in (_CHUNK, _INDEX):
                _count(part, opcode, stream)
            stream.seek(end)
            part.end = end
            if opcode == _FOOTER:
                part.finished = stream.read() == MAGIC
                break
    return part


def _count(part: ReadablePart, opcode: int, stream: BinaryIO) -> None:
    if opcode == _CHUNK:
        first_ns, last_ns = _TIMES.unpack(stream.read(_TIMES.size))
        if first_ns <= last_ns:  # a chunk without messages has neither
            part.first_ns = min(part.first_ns or first_ns, first_ns)
            part.last_ns = max(part.last_ns, last_ns)
    else:
        _, entries = _MESSAGE_INDEX.unpack(stream.read(_MESSAGE_INDEX.size))
        part.messages += entries // _TIMES.size
