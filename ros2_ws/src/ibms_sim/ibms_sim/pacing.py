# SPDX-License-Identifier: Apache-2.0
"""Drift-free pacing of periodic work in one thread."""

from collections.abc import Callable

from ibms_battery.clock import NS_PER_S, Clock

_TOGETHER_NS = 200_000  # work due this soon is done in the same wake-up
_LATE_NS = 20_000_000


class _Task:
    def __init__(self, period_s: float, action: Callable[[int], None]) -> None:
        self.period_ns = round(period_s * NS_PER_S)
        self.next_ns = 0
        self.action = action


class Pacer:
    """Runs tasks at multiples of their periods after the start, in the order they were added.

    After a standstill, missed runs are left out and counted: the device was not there.
    """

    def __init__(self, clock: Clock) -> None:
        self.missed = 0
        self.worst_lateness_ns = 0
        self._clock = clock
        self._tasks: list[_Task] = []

    def add(self, period_s: float, action: Callable[[int], None]) -> None:
        """Call ``action(now_ns)`` every ``period_s``."""
        self._tasks.append(_Task(period_s, action))

    def start(self) -> None:
        """All tasks are due now."""
        now = self._clock.boot_ns()
        for task in self._tasks:
            task.next_ns = now

    def due_ns(self) -> int:
        """When the next task is due."""
        return min(task.next_ns for task in self._tasks)

    def wait_s(self) -> float:
        """Time until the next task is due; 0 if it is overdue."""
        return max(self.due_ns() - self._clock.boot_ns(), 0) / NS_PER_S

    def run(self) -> None:
        """Run what is due."""
        now = self._clock.boot_ns()
        for task in self._tasks:
            lateness = now - task.next_ns
            if lateness < -_TOGETHER_NS:
                continue
            self.worst_lateness_ns = max(self.worst_lateness_ns, lateness)
            if lateness > max(_LATE_NS, 2 * task.period_ns):
                behind = lateness // task.period_ns
                self.missed += behind
                task.next_ns += behind * task.period_ns
            task.next_ns += task.period_ns
            task.action(now)
