# SPDX-License-Identifier: Apache-2.0
"""What happened on a bus or line: counters and the newest problem. No ROS."""

from collections import Counter
from dataclasses import dataclass, field

from ibms_battery.clock import NS_PER_S

_PROBLEM_SHOWN_NS = 10 * NS_PER_S


@dataclass
class BusHealth:
    """What happened on the bus since the start; read by diagnostics."""

    counts: Counter[str] = field(default_factory=Counter)
    last_frame_boot_ns: int = 0
    connected: bool = False
    problem: str = ""  # the newest one, also after it has passed
    problem_boot_ns: int = 0

    def note(self, problem: str, now_ns: int) -> None:
        """Keep a problem and its time."""
        self.problem, self.problem_boot_ns = problem, now_ns

    def recent_problem(self, now_ns: int) -> str:
        """The newest problem while it concerns the present, else an empty text."""
        recent = now_ns - self.problem_boot_ns <= _PROBLEM_SHOWN_NS
        return self.problem if recent or not self.connected else ""
