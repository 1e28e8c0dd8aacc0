# SPDX-License-Identifier: Apache-2.0
"""End-to-end protection of frames after AUTOSAR E2E profile 5 (PRS_E2EProtocol R20-11, 6.6).

Bytes 0 and 1 hold the CRC-16/IBM-3740 (polynomial 0x1021, start 0xFFFF), little endian, over all
bytes from the counter on and then the two bytes of the data identifier, low byte first. Byte 2 is
the counter.
"""

import enum
from binascii import crc_hqx

HEADER_SIZE = 3
MAXIMUM_DELTA = 15  # frames that may be lost in a row before the order counts as broken


class Check(enum.Enum):
    """Result of checking one frame."""

    OK = "ok"
    LENGTH = "length"
    CRC = "crc"
    REPEATED = "repeated"
    SEQUENCE = "sequence"


def crc(data: bytes | bytearray, data_id: int) -> int:
    """CRC of a whole frame ``data``, whose own two CRC bytes are left out."""
    return crc_hqx(data_id.to_bytes(2, "little"), crc_hqx(memoryview(data)[2:], 0xFFFF))


class Protector:
    """Sender's side: advances the counter and writes counter and CRC."""

    def __init__(self, data_id: int) -> None:
        self._data_id = data_id
        self._counter = 0

    def protect(self, data: bytearray) -> None:
        """Write counter and CRC into ``data`` in place."""
        data[2] = self._counter
        data[0:2] = crc(data, self._data_id).to_bytes(2, "little")
        self._counter = (self._counter + 1) & 0xFF


class Checker:
    """Receiver's side of one message."""

    def __init__(self, data_id: int, length: int) -> None:
        self._data_id = data_id
        self._length = length
        self._last: int | None = None
        self.lost = 0

    def check(self, data: bytes | bytearray) -> Check:
        """Check length, CRC and order of a frame; only ``Check.OK`` may be used.

        After a jump of the counter beyond ``MAXIMUM_DELTA`` one frame is rejected and the next that
        follows it in order is accepted, so a restarted sender is taken up again.
        """
        if len(data) != self._length:
            return Check.LENGTH
        if crc(data, self._data_id) != data[0] | data[1] << 8:
            return Check.CRC
        counter = data[2]
        last, self._last = self._last, counter
        if last is None:
            return Check.OK
        delta = (counter - last) & 0xFF
        if delta == 0:
            return Check.REPEATED
        if delta > MAXIMUM_DELTA:
            return Check.SEQUENCE
        self.lost += delta - 1
        return Check.OK
