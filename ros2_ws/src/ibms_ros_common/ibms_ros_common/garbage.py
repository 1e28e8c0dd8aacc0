# SPDX-License-Identifier: Apache-2.0
"""Python's garbage collector out of the way of a time-critical loop. No ROS.

A collection stops every thread of the process, and by itself it comes at any time, over all objects
that live. Here what lives after the configuration is set aside for good, and the little that comes
later is collected while no input waits, and measured.
"""

import gc
import threading

from ibms_battery.clock import NS_PER_S, Clock
from ibms_ros_common.diagnostics import WARN, Status

PERIOD_NS = NS_PER_S
LATE_NS = 3 * NS_PER_S  # then it is done at any moment: garbage must not grow without end
WARN_PAUSE_NS = 5_000_000


class GarbageAtRest:
    """Collects once per second, when a loop says that it rests."""

    def __init__(self, clock: Clock) -> None:
        self.collections = 0
        self.collections_late = 0  # of them at a moment that was not a quiet one
        self.longest_pause_ns = 0  # since the last report
        self._clock = clock
        self._last_ns: int | None = None  # None until settled
        self._busy = threading.Lock()

    def settle(self) -> None:
        """Set aside all that lives now, and end the automatic collections."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        gc.disable()
        self._last_ns = self._clock.boot_ns()

    def at_rest(self) -> None:
        """A moment in which nothing is urgent; cheap unless a collection is due."""
        if self._last_ns is not None and self._clock.boot_ns() - self._last_ns >= PERIOD_NS:
            self._collect()

    def at_any_moment(self) -> None:
        """Collect if no quiet moment came for long, as in a process without a loop."""
        if self._last_ns is not None and self._clock.boot_ns() - self._last_ns >= LATE_NS:
            self.collections_late += 1
            self._collect()

    def report(self, status: Status) -> None:
        """Add the figures since the last report."""
        pause_ms, self.longest_pause_ns = self.longest_pause_ns / 1e6, 0
        status.add(
            **{
                "garbage collections": self.collections,
                "garbage collections late": self.collections_late,
                "garbage longest pause [ms]": pause_ms,
            }
        )
        if pause_ms * 1e6 > WARN_PAUSE_NS:
            status.report(WARN, f"collecting garbage took {pause_ms:.1f} ms")

    def _collect(self) -> None:
        if not self._busy.acquire(blocking=False):
            return  # another loop of this process does it
        try:
            begin_ns = self._clock.boot_ns()
            gc.collect()
            self._last_ns = self._clock.boot_ns()
            self.longest_pause_ns = max(self.longest_pause_ns, self._last_ns - begin_ns)
            self.collections += 1
        finally:
            self._busy.release()
