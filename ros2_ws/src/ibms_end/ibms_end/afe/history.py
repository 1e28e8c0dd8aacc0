# SPDX-License-Identifier: Apache-2.0
"""Fetching of scans that were missed, from the ring of past scans in the device. No ROS."""

from collections import Counter, deque
from collections.abc import Callable

from ibms_battery.clock import NS_PER_S

_LARGEST_REQUEST = 0xFFFF
_COUNTER_MASK = 0xFFFFFFFF
_HALF = 0x7FFFFFFF
_ANSWER_TIMEOUT_NS = NS_PER_S
_TRIES = 3


class HistoryFetch:
    """Finds gaps between live scans, asks for them one by one, takes each past scan once.

    Args:
        request: sends a request for ``count`` scans from ``first`` on. first_expected: counter of
        the scan after the last one seen before a restart; ``None`` if unknown.
    """

    def __init__(self, request: Callable[[int, int], None], first_expected: int | None) -> None:
        self.counts: Counter[str] = Counter()
        self._request = request
        self._expected = first_expected
        self._gaps: deque[tuple[int, int]] = deque()  # first counter and number of scans
        self._tries = 0
        self._progress_ns = 0

    def live(self, counter: int, now_ns: int) -> None:
        """A live scan arrived."""
        expected, self._expected = self._expected, (counter + 1) & _COUNTER_MASK
        gap = 0 if expected is None else (counter - expected) & _COUNTER_MASK
        if gap > _HALF:  # the device restarted, its ring is new
            self.counts["history_missing"] += sum(count for _, count in self._gaps)
            self._gaps.clear()
        elif gap > 0:
            count = min(gap, _LARGEST_REQUEST)
            self.counts["history_missing"] += gap - count
            self._gaps.append(((counter - count) & _COUNTER_MASK, count))
            if len(self._gaps) == 1:
                self._ask(now_ns)

    def accept(self, counter: int, now_ns: int) -> bool:
        """Whether a past scan belongs to what was asked for and comes for the first time."""
        first, count = self._gaps[0] if self._gaps else (0, 0)
        skipped = (counter - first) & _COUNTER_MASK
        if skipped >= count:
            self.counts["history_not_asked_for"] += 1
            return False
        self.counts["history_missing"] += skipped  # older than the ring, or lost on the bus
        self.counts["history_fetched"] += 1
        self._tries, self._progress_ns = 1, now_ns
        left = count - skipped - 1
        self._gaps[0] = ((counter + 1) & _COUNTER_MASK, left)
        if left == 0:
            self._next(now_ns)
        return True

    def tick(self, now_ns: int) -> None:
        """Ask again where no answer comes, and give up in the end."""
        if not self._gaps or now_ns - self._progress_ns <= _ANSWER_TIMEOUT_NS:
            return
        if self._tries < _TRIES:
            self._ask(now_ns)
        else:
            self.counts["history_missing"] += self._gaps[0][1]
            self._next(now_ns)

    def _next(self, now_ns: int) -> None:
        self._gaps.popleft()
        self._tries = 0
        if self._gaps:
            self._ask(now_ns)

    def _ask(self, now_ns: int) -> None:
        self._tries += 1
        self._progress_ns = now_ns
        self.counts["history_requests"] += 1
        self._request(*self._gaps[0])
