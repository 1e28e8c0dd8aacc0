# SPDX-License-Identifier: Apache-2.0
"""What switch control knows of the pack current. No ROS."""

import math
from collections import deque

from ibms_battery.clock import NS_PER_S

_STALE_NS = NS_PER_S // 10
# Feedback that shows a contact open comes shortly after it parted; a sample this much older was
# taken while it still carried the current.
_BEFORE_OPENING_NS = 5_000_000


class CurrentHistory:
    """The newest samples of the pack current, charge positive."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, float]] = deque(maxlen=64)

    def add(self, boot_ns: int, current_a: float) -> None:
        """A sample, taken at ``boot_ns``; NaN where it was not measured. Older ones are ignored."""
        if not self._samples or boot_ns > self._samples[-1][0]:
            self._samples.append((boot_ns, current_a))

    def present_a(self, now_ns: int) -> float:
        """Current of the newest sample [A]; NaN if unmeasured or older than 100 ms."""
        if not self._samples:
            return math.nan
        boot_ns, current_a = self._samples[-1]
        return current_a if -1_000_000 <= now_ns - boot_ns <= _STALE_NS else math.nan

    def at_opening_a(self, feedback_ns: int) -> float:
        """Current that a contact broke which feedback of ``feedback_ns`` first shows open [A]."""
        for boot_ns, current_a in reversed(self._samples):
            age_ns = feedback_ns - boot_ns
            if age_ns > _STALE_NS:
                break
            if age_ns >= _BEFORE_OPENING_NS:
                return current_a
        return math.nan
