# SPDX-License-Identifier: Apache-2.0
"""Period and execution time of something time-critical that is done again and again. No ROS."""

from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S, Clock

# An overrun is a step that begins later than so many periods after the one before.
OVERRUN_PERIODS = 2.0


@dataclass
class StepTimes:
    """Timing over one window."""

    steps: int = 0
    longest_execution_ns: int = 0
    total_execution_ns: int = 0
    longest_gap_ns: int = 0  # between the beginnings of two steps


class StepTimer:
    """Whoever does the steps calls ``begin`` and ``end``, another thread may ``take`` the times.

    Args:
        period_s: longest time that is to pass between the beginnings of two steps.
        clock: injected time.
    """

    def __init__(self, period_s: float, clock: Clock) -> None:
        self.period_s = period_s
        self.overruns = 0
        self.times = StepTimes()
        self.last_begin_ns = 0
        self._clock = clock
        self._overrun_ns = round(OVERRUN_PERIODS * period_s * NS_PER_S)
        self._runs = self._in_step = False

    def start(self) -> None:
        """Gaps count from now on."""
        self.last_begin_ns = self._clock.boot_ns()
        self._runs, self._in_step = True, False

    def stop(self) -> None:
        """No step is due any more."""
        self._runs = False

    def begin(self) -> int:
        """A step begins; returns the boot time [ns]."""
        now_ns = self._clock.boot_ns()
        gap_ns, self.last_begin_ns = now_ns - self.last_begin_ns, now_ns
        self._in_step = True
        if gap_ns > self._overrun_ns:
            self.overruns += 1
        times = self.times
        times.longest_gap_ns = max(times.longest_gap_ns, gap_ns)
        return now_ns

    def end(self) -> None:
        """The step is done."""
        execution_ns = self._clock.boot_ns() - self.last_begin_ns
        self._in_step = False
        times = self.times
        times.steps += 1
        times.total_execution_ns += execution_ns
        times.longest_execution_ns = max(times.longest_execution_ns, execution_ns)

    def take(self) -> StepTimes:
        """Times since the last call; what has not ended or not come yet counts as far as it is."""
        times, self.times = self.times, StepTimes()
        if self._runs:
            age_ns = self._clock.boot_ns() - self.last_begin_ns
            times.longest_gap_ns = max(times.longest_gap_ns, age_ns)
            if self._in_step:
                times.longest_execution_ns = max(times.longest_execution_ns, age_ns)
        return times
