# SPDX-License-Identifier: Apache-2.0
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_ros_common.loop import InputLoop
from ibms_ros_common.virtual_time import Periodic, advance

TARGETS = st.lists(st.integers(0, 10_000), min_size=1, max_size=30)


def schedule(periods: list[int], targets: list[int]) -> tuple[list[tuple[int, int]], VirtualClock]:
    """Run tasks with these periods while the clock is moved to each target in turn."""
    clock = VirtualClock()
    calls: list[tuple[int, int]] = []
    tasks = []
    for index, period_ns in enumerate(periods):
        task = Periodic(period_ns, partial(lambda i: calls.append((clock.boot_ns(), i)), index))
        task.start(0)
        tasks.append(task)
    for target in targets:
        advance(clock, target, tasks)
    return calls, clock


@settings(deadline=None)
@given(st.lists(st.integers(50, 500), max_size=4), TARGETS)
def test_everything_runs_when_due_and_in_order(periods: list[int], targets: list[int]) -> None:
    calls, clock = schedule(periods, targets)
    end = max(targets)
    expected = sorted(
        (due, index)
        for index, period in enumerate(periods)
        for due in range(period, end + 1, period)
    )
    assert calls == expected
    assert clock.boot_ns() == end


@settings(deadline=None)
@given(st.lists(st.integers(50, 500), min_size=1, max_size=4), TARGETS)
def test_how_time_is_cut_changes_nothing(periods: list[int], targets: list[int]) -> None:
    assert schedule(periods, targets)[0] == schedule(periods, [max(targets)])[0]


def test_a_loop_steps_at_once_on_input_and_then_a_period_later() -> None:
    clock = VirtualClock()
    steps: list[int] = []
    loop = InputLoop("loop", steps.append, 0.02, clock)
    loop.start()
    advance(clock, NS_PER_S // 100, [loop])
    assert steps == []
    loop.notify()
    advance(clock, NS_PER_S // 20, [loop])
    assert steps == [10_000_000, 30_000_000, 50_000_000]
    assert loop.timer.times.steps == 3
    assert loop.timer.times.longest_gap_ns == 20_000_000


def test_a_failing_step_is_not_swallowed() -> None:
    def fail(_now_ns: int) -> None:
        raise ArithmeticError("broken")

    clock = VirtualClock()
    loop = InputLoop("loop", fail, 0.02, clock)
    loop.start()
    with pytest.raises(ArithmeticError):
        advance(clock, NS_PER_S, [loop])
