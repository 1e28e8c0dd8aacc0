# SPDX-License-Identifier: Apache-2.0
"""A process that records as fast as it can and says what is on disk, until it is killed.

Each line of its output is written after the store has acknowledged what it names.
"""

import os
import random
import sys
from pathlib import Path

from ibms_edge.events.records import EventRecord, Opening, Piece, Recorded, SwitchUse
from ibms_edge.events.store import EventStore


def main() -> None:
    """Arguments: file, first number, seed, size of the file [bytes]."""
    path, first, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    store = EventStore(
        path,
        f"boot {first}",
        lockouts={1},
        wear=lambda element, current_a: ("switch", SwitchUse(1, 1, 0, 0.001)),
        size_bytes=int(sys.argv[4]),
    )
    say(b"open")
    number = first
    while True:
        # Every fifth event is an opening of the switch, every seventh sets or clears a lock-out.
        kind = 5 if number % 5 == 0 else 1 + number // 7 % 2 if number % 7 == 0 else 3
        text = "x" * chance.randrange(100)
        store.add(EventRecord(number, number, "test", kind, 0, 1, number % 3, 0.5, text))
        say(b"event %d" % number)
        if number % 10 == 0:
            store.put(Opening(number, number, 1))
            say(b"opening %d" % number)
            data = chance.randbytes(chance.randrange(1, 50_000))
            store.add_piece(Piece(number, number, [Recorded("a", number, data)], True, False))
            say(b"piece %d" % number)
        number += 1


def say(text: bytes) -> None:
    """One write per line, so that a line is there or not."""
    os.write(1, text + b"\n")


if __name__ == "__main__":
    main()
