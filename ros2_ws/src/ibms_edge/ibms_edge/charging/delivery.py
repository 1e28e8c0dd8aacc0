# SPDX-License-Identifier: Apache-2.0
"""Compares what a charger delivers with what it was asked for. No ROS."""

from collections import deque

from ibms_battery.clock import NS_PER_S
from ibms_edge.charging.elcon import Request


class DeliveryWatch:
    """Counts samples beyond what was asked for lately.

    A charger follows a smaller request with a delay, so the largest request of the last
    ``settle_s`` counts. One sample in between that fits begins the count anew.

    Args:
        settle_s: time in which a charger must have followed a request.
        tolerance_a, tolerance_v: least tolerance.
        share: tolerance as a share of what was asked for, where that is more.
        samples: samples in a row until it counts as over-delivery.
    """

    def __init__(
        self, settle_s: float, tolerance_a: float, tolerance_v: float, share: float, samples: int
    ) -> None:
        self._settle_ns = round(settle_s * NS_PER_S)
        self._tolerance_a = tolerance_a
        self._tolerance_v = tolerance_v
        self._share = share
        self._samples = samples
        self._asked: deque[tuple[int, Request]] = deque()  # with the time until which each counted
        self._beyond: dict[str, int] = {}

    def ask(self, request: Request, now_ns: int) -> None:
        """``request`` is what is asked for at ``now_ns``; call it with every step."""
        if self._asked and self._asked[-1][1] == request:
            self._asked.pop()
        self._asked.append((now_ns, request))
        while self._asked[0][0] < now_ns - self._settle_ns:
            self._asked.popleft()

    def current(self, source: str, current_a: float) -> str:
        """Judge one sample of current; a sentence if it is one too many, else an empty text."""
        asked_a = max((request.current_a for _, request in self._asked), default=0.0)
        allowed_a = asked_a + max(self._tolerance_a, self._share * asked_a)
        if self._count(source, current_a > allowed_a):
            return f"the {source} shows {current_a:.1f} A, at most {asked_a:.1f} A were asked for"
        return ""

    def voltage(self, source: str, voltage_v: float) -> str:
        """The same for voltage; nothing is judged while nothing was asked for."""
        asked_v = max((request.voltage_v for _, request in self._asked), default=0.0)
        allowed_v = asked_v + max(self._tolerance_v, self._share * asked_v)
        if self._count(source + " voltage", asked_v > 0.0 and voltage_v > allowed_v):
            return f"the {source} shows {voltage_v:.1f} V, at most {asked_v:.1f} V were asked for"
        return ""

    def forget(self) -> None:
        """Begin counting anew."""
        self._beyond.clear()

    def _count(self, name: str, beyond: bool) -> bool:
        self._beyond[name] = self._beyond.get(name, 0) + 1 if beyond else 0
        return self._beyond[name] >= self._samples
