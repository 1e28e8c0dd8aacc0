# SPDX-License-Identifier: Apache-2.0
"""Receive stamps of the kernel, which are wall time, on the boot clock."""

from ibms_battery.clock import NS_PER_S, Clock

_STEP_NS = 10_000_000  # a change of wall minus boot time beyond this is a step of wall time
_ATOMIC_NS = 1_000_000  # both clocks read within this belong together
_ATTEMPTS = 5


class StampConverter:
    """Converts stamps while nothing can be misread, and says what is certain while it can.

    Around a step of wall time a stamp tells nothing: frames that still wait in the queue may carry
    the old time or the new one. What is certain is that they came after the frame read last and
    after the queue was last empty. They get that time, so that a short wait leaves them fresh,
    while a backlog stays stale, until the queue has been empty once.
    """

    def __init__(self, clock: Clock) -> None:
        self.steps = 0
        self.in_doubt = False
        self._clock = clock
        now_ns, self._offset_ns = self._sample()
        self._certain_ns = now_ns

    def convert(self, timestamp_s: float) -> int:
        """Boot time [ns] of a stamp [s]; never later than now, never later than it really was."""
        now_ns = self._check()
        if self.in_doubt:
            return self._certain_ns
        boot_ns = min(now_ns, round(timestamp_s * NS_PER_S) - self._offset_ns)
        self._certain_ns = max(self._certain_ns, boot_ns)
        return boot_ns

    def queue_empty(self, since_ns: int) -> None:
        """Nothing that was received before ``since_ns`` waits any more."""
        self._check()
        self.in_doubt = False
        self._certain_ns = max(self._certain_ns, since_ns)

    def _check(self) -> int:
        now_ns, offset_ns = self._sample()
        if abs(offset_ns - self._offset_ns) > _STEP_NS:
            self.steps += 1
            self.in_doubt = True
        self._offset_ns = offset_ns
        return now_ns

    def _sample(self) -> tuple[int, int]:
        """Boot time now, and wall minus boot time."""
        for _ in range(_ATTEMPTS):
            before_ns = self._clock.boot_ns()
            wall_ns = self._clock.wall_ns()
            after_ns = self._clock.boot_ns()
            if after_ns - before_ns < _ATOMIC_NS:
                break  # else the thread was interrupted between the two clocks
        return after_ns, wall_ns - (before_ns + after_ns) // 2
