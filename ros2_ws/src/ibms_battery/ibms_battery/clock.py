# SPDX-License-Identifier: Apache-2.0
"""The one clock of the system, injected wherever time is needed.

Live it is ``CLOCK_BOOTTIME``, which never steps and counts through suspend. Wall time is carried
along for people and storage only. Replay and simulation inject a ``VirtualClock``.
"""

import time
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Source of time in nanoseconds."""

    def boot_ns(self) -> int:
        """Time for every age, period and deadline [ns]."""

    def wall_ns(self) -> int:
        """Wall-clock time since the epoch [ns], for people and storage."""


class SystemClock:
    """The clock of the running machine."""

    def boot_ns(self) -> int:
        """CLOCK_BOOTTIME [ns]."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """CLOCK_REALTIME [ns]."""
        return time.time_ns()


class VirtualClock:
    """A clock that stands still until it is set, for replay, simulation and tests."""

    def __init__(self, boot_ns: int = 0, wall_ns: int = 0) -> None:
        self._boot_ns = boot_ns
        self._wall_ns = wall_ns

    def boot_ns(self) -> int:
        """Boot time as set [ns]."""
        return self._boot_ns

    def wall_ns(self) -> int:
        """Wall time as set [ns]."""
        return self._wall_ns

    def set(self, boot_ns: int, wall_ns: int | None = None) -> None:
        """Move to ``boot_ns``; wall time moves along unless given.

        Raises:
            ValueError: if boot time would run backwards.
        """
        if boot_ns < self._boot_ns:
            raise ValueError(f"boot time would run backwards: {self._boot_ns} -> {boot_ns} ns")
        self._wall_ns = self._wall_ns + boot_ns - self._boot_ns if wall_ns is None else wall_ns
        self._boot_ns = boot_ns

    def advance(self, step_s: float) -> None:
        """Move forward by ``step_s`` seconds."""
        self.set(self._boot_ns + round(step_s * NS_PER_S))
