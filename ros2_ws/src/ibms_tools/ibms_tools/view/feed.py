# SPDX-License-Identifier: Apache-2.0
"""Counting of one topic, and decoding of its newest message only when somebody looks. No ROS."""

from collections import deque
from collections.abc import Callable
from typing import Any

from ibms_battery.clock import NS_PER_S, Clock

_RATE_WINDOW_NS = 3 * NS_PER_S
_COUNTER_RANGE = 1 << 32


class Feed:
    """One subscribed topic: each message is counted, the newest one is kept undecoded.

    Args:
        decode: turns the bytes of a message into the message.
        clock: what receive times are taken from.
    """

    def __init__(self, decode: Callable[[bytes], Any], clock: Clock) -> None:
        self.received = 0
        self._decode = decode
        self._clock = clock
        self._raw: bytes | None = None
        self._received_ns = 0
        self._message: Any = None
        self._counts: deque[tuple[int, int]] = deque()

    def receive(self, raw: bytes) -> None:
        """Take one message; as cheap as can be."""
        self.received += 1
        self._raw = raw
        self._received_ns = self._clock.boot_ns()

    def latest(self) -> Any:
        """The newest message, or ``None`` before the first one."""
        if self._raw is not None:
            self._message, self._raw = self._decode(self._raw), None
        return self._message

    def lateness_s(self) -> float:
        """Time from sampling to receipt of the newest message, which has a ``boot_ns``."""
        message = self.latest()
        return float("nan") if message is None else (self._received_ns - message.boot_ns) / NS_PER_S

    def rate_hz(self, now_ns: int) -> float:
        """Messages per second over the last seconds; NaN at the first call."""
        counts = self._counts
        counts.append((now_ns, self.received))
        while len(counts) > 2 and now_ns - counts[1][0] >= _RATE_WINDOW_NS:
            counts.popleft()
        first_ns, first = counts[0]
        if now_ns <= first_ns:
            return float("nan")
        return (self.received - first) * NS_PER_S / (now_ns - first_ns)


class Continuity:
    """Losses on a topic whose messages carry a counter of 32 bits.

    It compares how far the counter went with how many messages came, so that looking now and then
    is enough. A counter that jumps back or far ahead belongs to a device that was started again.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.restarts = 0
        self._counter: int | None = None
        self._received = 0

    def update(self, counter: int, received: int) -> None:
        """Take the counter of the newest message, and how many have come up to it."""
        if self._counter is not None:
            missing = (counter - self._counter) % _COUNTER_RANGE - (received - self._received)
            if 0 <= missing < _COUNTER_RANGE // 2:
                self.lost += missing
            else:
                self.restarts += 1
        self._counter, self._received = counter, received
