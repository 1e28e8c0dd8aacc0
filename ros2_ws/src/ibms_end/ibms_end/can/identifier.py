# SPDX-License-Identifier: Apache-2.0
"""One number per kind of frame: its identifier, with bit 31 set if that is an extended one.

This is how DBC files and SocketCAN write it. The 11-bit 0x100 and the 29-bit 0x100 are two frames.
"""

import can
from cantools.database.can import Message

EXTENDED = 0x80000000


def frame_identifier(frame: can.Message) -> int:
    """Identifier of a frame from the bus."""
    return frame.arbitration_id | EXTENDED if frame.is_extended_id else frame.arbitration_id


def message_identifier(message: Message) -> int:
    """Identifier of the frames of a message of a database."""
    return message.frame_id | EXTENDED if message.is_extended_frame else message.frame_id
