# SPDX-License-Identifier: Apache-2.0
import pytest

from ibms_battery.clock import VirtualClock
from ibms_ros_common import loop_health
from ibms_ros_common.diagnostics import ERROR, OK, WARN, Status
from ibms_ros_common.step_timer import StepTimer

MS = 1_000_000


@pytest.mark.parametrize(
    ("gap_ms", "execution_ms", "level", "message"),
    [
        (20, 5, OK, "ok"),
        (40, 20, OK, "ok"),
        (41, 5, WARN, "a gap of 41 ms is above 2 x 20 ms"),
        (100, 5, WARN, "a gap of 100 ms is above 2 x 20 ms"),
        (101, 5, ERROR, "a gap of 101 ms is above 100 ms"),
        (20, 21, WARN, "an execution of 21 ms is above 1 x 20 ms"),
        (20, 101, ERROR, "an execution of 101 ms is above 100 ms"),
        (41, 101, ERROR, "an execution of 101 ms is above 100 ms"),
    ],
)
def test_thresholds(gap_ms: int, execution_ms: int, level: int, message: str) -> None:
    clock = VirtualClock()
    timer = StepTimer(0.02, clock)
    timer.start()
    clock.set(gap_ms * MS)
    timer.begin()
    clock.set((gap_ms + execution_ms) * MS)
    timer.end()
    timer.stop()
    status = Status()
    loop_health.report(timer, status)
    assert (status.level, status.message) == (level, message)
    assert status.values["longest gap [ms]"] == f"{gap_ms:.4g}"
    assert status.values["longest execution [ms]"] == f"{execution_ms:.4g}"
    assert status.values["period [ms]"] == "20"
    assert status.values["steps"] == "1"
    assert status.values["overruns"] == str(int(gap_ms > 40))


def test_a_loop_that_has_not_run_yet_divides_by_nothing() -> None:
    status = Status()
    loop_health.report(StepTimer(0.02, VirtualClock()), status)
    assert status.level == OK
    assert status.values["mean execution [ms]"] == "0"


def test_a_slow_loop_is_not_late_by_its_nature() -> None:
    clock = VirtualClock()
    timer = StepTimer(1.0, clock)
    timer.start()
    for gap_ms, level in ((1_000, OK), (2_001, ERROR)):
        clock.set(timer.last_begin_ns + gap_ms * MS)
        timer.begin()
        timer.end()
        status = Status()
        loop_health.report(timer, status)
        assert status.level == level
