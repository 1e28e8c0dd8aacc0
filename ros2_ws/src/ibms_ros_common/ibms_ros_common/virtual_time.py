# SPDX-License-Identifier: Apache-2.0
"""What falls due on a virtual clock, done in the order of its times: the executor of replay."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ibms_battery.clock import VirtualClock


class Task(Protocol):
    """Something that falls due again and again."""

    @property
    def due_ns(self) -> int:
        """Boot time at which it is to run next [ns]; must grow with each run."""

    def run_due(self) -> None:
        """Run once."""


@dataclass
class Periodic:
    """A function called every ``period_ns``; on the machine's clock a timer does that."""

    period_ns: int
    function: Callable[[], None]
    due_ns: int = 0

    def start(self, now_ns: int) -> None:
        """Begin to count the period."""
        self.due_ns = now_ns + self.period_ns

    def run_due(self) -> None:
        """Run once; the next time is one period after this one was due."""
        self.due_ns += self.period_ns
        self.function()


def advance(clock: VirtualClock, boot_ns: int, tasks: Iterable[Task]) -> None:
    """Move ``clock`` to ``boot_ns``, stopping at each due time to run what is due then.

    Of tasks with the same time the one that comes first in ``tasks`` runs first. A ``boot_ns`` in
    the past changes nothing: time is monotonic.
    """
    ordered = tuple(tasks)
    while ordered:
        task = min(ordered, key=lambda candidate: candidate.due_ns)
        if task.due_ns > boot_ns:
            break
        clock.set(max(task.due_ns, clock.boot_ns()))
        task.run_due()
    clock.set(max(boot_ns, clock.boot_ns()))
