# SPDX-License-Identifier: Apache-2.0
"""Frames that nobody should have sent: random, mutated, out of order, wrong in length or place.

Kinds differ in what may pass. End-to-end profile 5 rejects every error of up to three bits, every
odd number of wrong bits and every burst of up to 16 bits for certain, every wrong length, and
repeated and older counters. Anything else passes its CRC once in 2^16 and its counter in 15 of 256;
the very first frame of a message has no counter to be held against.
"""

import enum
from collections import deque
from collections.abc import Sequence
from random import Random

import can
from cantools.database.can import Message

from ibms_end.can.end_to_end import MAXIMUM_DELTA
from ibms_end.can.identifier import EXTENDED, frame_identifier, message_identifier

CRC_PASSES = 2.0**-16  # of random bytes
EVEN_ERRORS_PASS = 2.0**-15  # of four and more wrong bits, even in number: half of all never pass
COUNTER_PASSES = MAXIMUM_DELTA / 256

_REMEMBERED = 200  # counters have 256 values: what is older than 240 frames looks new again
_LENGTHS = sorted({can.util.dlc2len(code) for code in range(16)})


class Kind(enum.Enum):
    """How a frame is bad."""

    RANDOM = "random identifier, length and bytes"
    PAYLOAD = "random bytes behind a known identifier"
    FEW_BITS = "one to three bits or a burst wrong"
    MANY_BITS = "four or more bits wrong"
    LENGTH = "wrong length"
    IDENTIFIER = "true frame behind another identifier"
    REPEATED = "true frame once more"
    OLD = "true frame from before"
    SPECIAL = "remote and error frames"


TRUE_FRAMES = frozenset({Kind.REPEATED, Kind.OLD})  # at the wrong time
REJECTED_FOR_CERTAIN = frozenset(
    {Kind.FEW_BITS, Kind.LENGTH, Kind.IDENTIFIER, Kind.SPECIAL, *TRUE_FRAMES}
)
_SHARES = {
    Kind.RANDOM: 14,
    Kind.PAYLOAD: 50,
    Kind.FEW_BITS: 12,
    Kind.MANY_BITS: 10,
    Kind.LENGTH: 4,
    Kind.IDENTIFIER: 4,
    Kind.REPEATED: 6,
    Kind.OLD: 6,
    Kind.SPECIAL: 2,
}


class BadFrames:
    """Makes bad frames out of chance and of the true frames that it is shown.

    Args:
        targets: messages that the edge receives.
        avoided: identifiers that are not sent, as others than the edge listen to them.
    """

    def __init__(self, targets: Sequence[Message], avoided: Sequence[int], random: Random) -> None:
        self._random = random
        self._targets = list(targets)
        self._identifiers = [message_identifier(message) for message in targets]
        self._lengths = {message_identifier(m): m.length for m in targets}
        self._avoided = set(avoided)
        self._seen: dict[int, deque[bytes]] = {}
        self._undisturbed: set[int] = set()  # identifiers whose newest true frame stands alone

    def saw(self, frame: can.Message) -> None:
        """A true frame passed."""
        identifier = frame_identifier(frame)
        if identifier in self._lengths:
            seen = self._seen.setdefault(identifier, deque(maxlen=_REMEMBERED))
            seen.append(bytes(frame.data))
            self._undisturbed.add(identifier)

    def kind(self) -> Kind:
        """A kind by chance."""
        return self._random.choices(list(_SHARES), list(_SHARES.values()))[0]

    def batch(self, kind: Kind, count: int) -> list[can.Message]:
        """Up to ``count`` frames; of true ones out of order only one per identifier at a time.

        None that are made of true frames before one was seen.
        """
        if not self._seen and kind not in (Kind.RANDOM, Kind.PAYLOAD, Kind.SPECIAL):
            return []
        if kind in TRUE_FRAMES:
            return self._out_of_order(kind)[:count]
        return [self._one(kind) for _ in range(count)]

    @property
    def never_seen(self) -> frozenset[int]:
        """Identifiers of which no true frame has come."""
        return frozenset(self._identifiers) - self._seen.keys()

    def expected_to_pass_crc(self, kind: Kind, frames: Sequence[can.Message]) -> dict[int, float]:
        """How many of the frames have the right CRC on average, by identifier."""
        share = EVEN_ERRORS_PASS if kind is Kind.MANY_BITS else CRC_PASSES
        expected: dict[int, float] = {}
        if kind not in REJECTED_FOR_CERTAIN:
            for frame in frames:
                identifier = frame_identifier(frame)
                if self._lengths.get(identifier) == len(frame.data):
                    expected[identifier] = expected.get(identifier, 0.0) + share
        return expected

    def _one(self, kind: Kind) -> can.Message:
        random = self._random
        if kind is Kind.RANDOM:
            return self._random_frame()
        if kind is Kind.PAYLOAD:
            identifier = random.choice(self._identifiers)
            return fuzz_frame(identifier, random.randbytes(self._lengths[identifier]))
        if kind is Kind.SPECIAL:
            return can.Message(
                arbitration_id=random.choice(self._identifiers) & ~EXTENDED,
                is_extended_id=False,
                is_remote_frame=(remote := random.random() < 0.5),
                is_error_frame=not remote,
                check=False,
            )
        identifier = random.choice(list(self._seen))
        data = bytearray(self._seen[identifier][-1])
        if kind is Kind.FEW_BITS:
            _flip(data, self._few_bits(8 * len(data)))
        elif kind is Kind.MANY_BITS:
            _flip(data, random.sample(range(8 * len(data)), random.randint(4, 8 * len(data))))
        elif kind is Kind.LENGTH:
            length = random.choice([n for n in _LENGTHS if n != len(data)])
            data = (data + random.randbytes(64))[:length]
        else:
            identifier = self._other_identifier(identifier)
        return fuzz_frame(identifier, bytes(data))

    def _random_frame(self) -> can.Message:
        random = self._random
        while True:
            identifier = random.getrandbits(11)
            if random.random() < 0.5:
                identifier = random.getrandbits(29) | EXTENDED
            if identifier not in self._avoided:
                return fuzz_frame(identifier, random.randbytes(random.choice(_LENGTHS)))

    def _few_bits(self, size: int) -> list[int]:
        random = self._random
        if random.random() < 0.5:
            return random.sample(range(size), random.randint(1, 3))
        length = random.randint(2, 8)
        start = random.randrange(size - length)
        inner = [start + i for i in range(1, length - 1) if random.random() < 0.5]
        return [start, *inner, start + length - 1]

    def _other_identifier(self, identifier: int) -> int:
        random = self._random
        if random.random() < 0.2:
            return identifier ^ EXTENDED  # the 29-bit twin of an 11-bit identifier is another one
        return random.choice([other for other in self._identifiers if other != identifier])

    def _out_of_order(self, kind: Kind) -> list[can.Message]:
        frames = []
        for identifier in sorted(self._undisturbed):
            seen = self._seen[identifier]
            if kind is Kind.REPEATED:
                frames.append(fuzz_frame(identifier, seen[-1]))
            elif len(seen) > 1:
                frames.append(fuzz_frame(identifier, seen[self._random.randrange(len(seen) - 1)]))
        self._undisturbed.clear()
        return frames


def _flip(data: bytearray, bits: Sequence[int]) -> None:
    for bit in bits:
        data[bit // 8] ^= 0x80 >> bit % 8  # in the order of sending, highest bit first


def fuzz_frame(identifier: int, data: bytes | bytearray) -> can.Message:
    """A CAN FD frame; bit 31 of the identifier stands for 29 bits."""
    return can.Message(
        arbitration_id=identifier & ~EXTENDED,
        is_extended_id=bool(identifier & EXTENDED),
        is_fd=True,
        bitrate_switch=True,
        data=data,
        check=False,
    )
