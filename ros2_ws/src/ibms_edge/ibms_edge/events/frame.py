# SPDX-License-Identifier: Apache-2.0
"""Freeze frames: what came from 10 s before to 5 s after an opening, at full rate. No ROS.

The newest messages are kept serialized in a ring. A trigger hands the ring over as the first piece
of a frame; what comes afterwards follows in pieces, so that a power loss costs the last one only.
"""

import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable

import msgspec

from ibms_battery.clock import NS_PER_S
from ibms_edge.events.records import Piece, Recorded

BEFORE_NS = 10 * NS_PER_S
AFTER_NS = 5 * NS_PER_S
LONGEST_NS = (
    60 * NS_PER_S
)  # triggers extend a frame up to this time after the first; then a new one
_PIECE_NS = NS_PER_S // 2
_RING_MESSAGES = 20_000  # a bound for memory, far above any shipped rate
_COMPRESSION = 1  # the fastest; measurements with noise gain nothing from more

_decoder = msgspec.msgpack.Decoder(list[Recorded])


def pack(messages: Iterable[Recorded]) -> bytes:
    """Messages as one compressed block."""
    return zlib.compress(msgspec.msgpack.encode(list(messages)), _COMPRESSION)


def unpack(data: bytes) -> list[Recorded]:
    """Messages of a block.

    Raises:
        ValueError: if the block is damaged.
    """
    try:
        return _decoder.decode(zlib.decompress(data))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a piece of the freeze frame is damaged: {error}") from error


class FreezeFrames:
    """Ring of the newest messages and the frame that is being recorded, if there is one.

    Args:
        emit: takes the pieces.
        lasting: topics that are told once and hold: a frame begins with the newest of each.
    """

    def __init__(self, emit: Callable[[Piece], None], lasting: Collection[str] = ()) -> None:
        self._emit = emit
        self._lasting: dict[str, Recorded | None] = dict.fromkeys(lasting)
        self._ring: deque[Recorded] = deque(maxlen=_RING_MESSAGES)
        self._trigger_ns: int | None = None
        self._trigger_wall_ns = self._end_ns = self._piece_ns = 0
        self._by_fault = False
        self._pending: list[Recorded] = []
        self.frames = 0

    def take(self, message: Recorded) -> None:
        """A message came; they are given in the order of their receipt."""
        ring, now_ns = self._ring, message.received_ns
        self.advance(now_ns)
        ring.append(message)
        if message.topic in self._lasting:
            self._lasting[message.topic] = message
        while ring[0].received_ns < now_ns - BEFORE_NS:
            ring.popleft()
        if self._trigger_ns is not None:
            self._pending.append(message)

    def trigger(self, now_ns: int, wall_ns: int, by_fault: bool) -> None:
        """Begin a frame, or extend the present one."""
        self.advance(now_ns)
        if self._trigger_ns is not None and now_ns + AFTER_NS > self._trigger_ns + LONGEST_NS:
            self._flush(now_ns, is_last=True)  # what it still waits for is in the next one
            self._trigger_ns = None
        if self._trigger_ns is None:
            self.frames += 1
            self._trigger_ns, self._trigger_wall_ns = now_ns, wall_ns
            self._by_fault = by_fault
            self._pending = self._before(now_ns)
            self._end_ns = now_ns + AFTER_NS
            self._flush(now_ns)
        else:
            self._by_fault |= by_fault
            self._end_ns = now_ns + AFTER_NS

    def advance(self, now_ns: int) -> None:
        """Hand over what is due."""
        if self._trigger_ns is None:
            return
        if now_ns >= self._end_ns:
            self.finish(now_ns)
        elif now_ns - self._piece_ns >= _PIECE_NS:
            self._flush(now_ns)

    def finish(self, now_ns: int) -> None:
        """End the present frame, if there is one; before its time it stays incomplete."""
        if self._trigger_ns is not None:
            self._flush(now_ns, is_last=now_ns >= self._end_ns)
            self._trigger_ns = None

    def newest(self, topic: str, until_ns: int) -> Recorded | None:
        """The newest message of ``topic`` received up to ``until_ns``, None if there is none."""
        for message in reversed(self._ring):
            if message.topic == topic and message.received_ns <= until_ns:
                return message
        return None

    def _before(self, now_ns: int) -> list[Recorded]:
        recent = [m for m in self._ring if m.received_ns >= now_ns - BEFORE_NS]
        first_ns = recent[0].received_ns if recent else now_ns
        held = [
            message._replace(received_ns=first_ns)  # as a latecomer would have got it then
            for message in self._lasting.values()
            if message is not None and not any(message is other for other in recent)
        ]
        return held + recent

    def _flush(self, now_ns: int, is_last: bool = False) -> None:
        assert self._trigger_ns is not None
        self._emit(
            Piece(self._trigger_ns, self._trigger_wall_ns, self._pending, self._by_fault, is_last)
        )
        self._pending = []
        self._piece_ns = now_ns
