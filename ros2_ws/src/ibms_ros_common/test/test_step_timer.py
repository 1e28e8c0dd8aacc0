# SPDX-License-Identifier: Apache-2.0
from ibms_battery.clock import VirtualClock
from ibms_ros_common.step_timer import StepTimer, StepTimes

MS = 1_000_000


def started() -> tuple[VirtualClock, StepTimer]:
    clock = VirtualClock(1_000 * MS)
    timer = StepTimer(0.02, clock)
    timer.start()
    return clock, timer


def step(clock: VirtualClock, timer: StepTimer, gap_ms: int, execution_ms: int) -> None:
    clock.set(timer.last_begin_ns + gap_ms * MS)
    assert timer.begin() == clock.boot_ns()
    clock.advance(execution_ms / 1e3)
    timer.end()


def test_gaps_and_executions_of_a_window() -> None:
    clock, timer = started()
    for gap_ms, execution_ms in ((20, 3), (25, 5), (10, 4)):
        step(clock, timer, gap_ms, execution_ms)
    assert timer.take() == StepTimes(3, 5 * MS, 12 * MS, 25 * MS)
    step(clock, timer, 20, 1)
    assert timer.take() == StepTimes(1, 1 * MS, 1 * MS, 20 * MS)


def test_overruns_are_counted_for_good() -> None:
    clock, timer = started()
    for gap_ms in (40, 41, 20, 500):
        step(clock, timer, gap_ms, 1)
        timer.take()
    assert timer.overruns == 2


def test_what_does_not_come_or_end_shows_as_far_as_it_is() -> None:
    clock, timer = started()
    clock.advance(0.3)
    assert timer.take() == StepTimes(longest_gap_ns=300 * MS)
    timer.begin()
    clock.advance(0.2)
    assert timer.take() == StepTimes(longest_execution_ns=200 * MS, longest_gap_ns=300 * MS)
    timer.end()
    assert timer.take().longest_execution_ns == 200 * MS  # in the window it ends in


def test_nothing_is_late_before_start_and_after_stop() -> None:
    clock, timer = started()
    timer.stop()
    clock.advance(10.0)
    assert timer.take() == StepTimes()
    timer.start()
    step(clock, timer, 20, 1)
    assert timer.overruns == 0
