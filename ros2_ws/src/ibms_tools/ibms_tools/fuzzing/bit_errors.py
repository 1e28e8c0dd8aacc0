# SPDX-License-Identifier: Apache-2.0
"""Every error burst of up to 8 bits in a protected frame, by exhaustion."""

from typing import Literal

from cantools.database.can import Message

from ibms_end.can.codec import data_id_of
from ibms_end.can.end_to_end import Check, Checker, crc

LONGEST_BURST_BITS = 8
# Each burst once, by its first bit: what begins later is the same burst from another start.
_PATTERNS = [pattern for pattern in range(1, 1 << LONGEST_BURST_BITS) if pattern & 1]
_BIT_ORDERS: tuple[Literal["big", "little"], ...] = ("big", "little")


def undetected_bursts(message: Message) -> tuple[int, int]:
    """Number of bursts tried on a frame of the message, and of those that were not rejected.

    A single wrong bit is the shortest burst. Bits are counted both in the order of sending (highest
    bit of a byte first) and in the order in which the database numbers them, as a fault of memory
    would go. The payload does not matter, as the code is linear.
    """
    data_id = data_id_of(message)
    if data_id is None:
        raise ValueError(f"message {message.name!r} is not protected")
    length = message.length
    data = bytearray((17 * i + 5) & 0xFF for i in range(length))
    data[0:2] = crc(data, data_id).to_bytes(2, "little")
    check = Checker(data_id, length).check
    tried = passed = 0
    for order in _BIT_ORDERS:
        good = int.from_bytes(data, order)
        for start in range(8 * length):
            for pattern in _PATTERNS:
                error = pattern << start
                if error >> 8 * length:
                    break
                tried += 1
                if check((good ^ error).to_bytes(length, order)) is not Check.CRC:
                    passed += 1
    return tried, passed
