# SPDX-License-Identifier: Apache-2.0
"""Protocol of BMS made by JBD (also sold as Overkill Solar and LLT). No ROS.

After the maker's "JBD general communication protocol", version 4: the host asks, the BMS answers.
Request: DD A5 command length data checksum(2) 77. Answer: DD command status length data checksum(2)
77. The checksum is 0x10000 minus the sum of the bytes from the command (request) or status (answer)
to the end of the data, big endian, as are all numbers. There is no counter: an answer can only be
told from an older one by when it comes.
"""

import struct
from collections import Counter
from dataclasses import dataclass

BAUD_RATE = 9600
BASIC_INFO = 0x03
CELL_VOLTAGES = 0x04

_START, _READ, _END = 0xDD, 0xA5, 0x77
_OVERHEAD = 7  # bytes of an answer around its data
_STATUS_OK = 0x00
_BASIC = struct.Struct(">HhHHHHHHHBBBBB")
_ZERO_CELSIUS_DK = 2731  # in 0.1 K

PROTECTIONS = (
    "cell overvoltage",
    "cell undervoltage",
    "pack overvoltage",
    "pack undervoltage",
    "charge overtemperature",
    "charge undertemperature",
    "discharge overtemperature",
    "discharge undertemperature",
    "charge overcurrent",
    "discharge overcurrent",
    "short circuit",
    "front end failure",
    "switches locked by software",
)
FRONT_END_FAILURE = 1 << PROTECTIONS.index("front end failure")


@dataclass(frozen=True)
class Answer:
    """An answer with a good checksum."""

    command: int
    is_ok: bool
    data: bytes


@dataclass(frozen=True)
class BasicInfo:
    """Decoded answer to ``BASIC_INFO``."""

    voltage_v: float
    current_a: float  # charge positive
    remaining_ah: float
    capacity_ah: float
    cycles: int
    bleed_bits: int  # bit i: cell i is balanced
    protection_bits: int  # bit i: PROTECTIONS[i] is active
    soc: float
    charge_switch_on: bool
    discharge_switch_on: bool
    cells: int
    temperatures_c: tuple[float, ...]


def checksum(data: bytes) -> int:
    """0x10000 minus the sum of ``data``, in 16 bits."""
    return -sum(data) & 0xFFFF


def request(command: int) -> bytes:
    """Frame that asks for ``command``."""
    body = bytes((command, 0))
    return bytes((_START, _READ)) + body + checksum(body).to_bytes(2, "big") + bytes((_END,))


class AnswerReader:
    """Cuts answers out of a stream of bytes; what is none is counted and left out."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._buffer = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether the beginning of an answer waits for its rest."""
        return bool(self._buffer)

    def clear(self) -> None:
        """Forget the beginning of an answer whose rest did not come."""
        self._buffer.clear()

    def feed(self, received: bytes) -> list[Answer]:
        """Answers that are complete with ``received``."""
        buffer = self._buffer
        buffer += received
        answers: list[Answer] = []
        while True:
            start = buffer.find(_START)
            garbage = len(buffer) if start < 0 else start
            self.counts["garbage_bytes"] += garbage
            del buffer[:garbage]
            if len(buffer) < 4 or len(buffer) < buffer[3] + _OVERHEAD:
                return answers
            size = buffer[3] + _OVERHEAD
            body, check = bytes(buffer[2 : size - 3]), int.from_bytes(buffer[size - 3 : size - 1])
            if buffer[size - 1] != _END or check != checksum(body):
                # The start may have been garbage itself, so the search goes on right behind it.
                self.counts["checksum"] += 1
                del buffer[0]
                continue
            answers.append(Answer(buffer[1], body[0] == _STATUS_OK, body[2:]))
            del buffer[:size]


def decode_basic_info(data: bytes) -> BasicInfo:
    """Decode the data of an answer to ``BASIC_INFO``.

    Raises:
        ValueError: if it is too short for what it announces.
    """
    if len(data) < _BASIC.size or len(data) < _BASIC.size + 2 * data[_BASIC.size - 1]:
        raise ValueError(f"basic information of {len(data)} bytes is too short")
    (
        voltage, current, remaining, capacity, cycles, _date, bleed_low, bleed_high, protection,
        _version, soc, switches, cells, probes,
    ) = _BASIC.unpack_from(data)  # fmt: skip
    probe_values = struct.unpack_from(f">{probes}H", data, _BASIC.size)
    return BasicInfo(
        voltage_v=voltage / 100,
        current_a=current / 100,
        remaining_ah=remaining / 100,
        capacity_ah=capacity / 100,
        cycles=cycles,
        bleed_bits=bleed_high << 16 | bleed_low,
        protection_bits=protection,
        soc=soc / 100,
        charge_switch_on=bool(switches & 1),
        discharge_switch_on=bool(switches & 2),
        cells=cells,
        temperatures_c=tuple((value - _ZERO_CELSIUS_DK) / 10 for value in probe_values),
    )


def decode_cell_voltages(data: bytes) -> tuple[float, ...]:
    """Voltages [V] of an answer to ``CELL_VOLTAGES``.

    Raises:
        ValueError: if it holds none or half a value.
    """
    if not data or len(data) % 2:
        raise ValueError(f"cell voltages of {len(data)} bytes are not two bytes each")
    return tuple(value / 1000 for value in struct.unpack(f">{len(data) // 2}H", data))
