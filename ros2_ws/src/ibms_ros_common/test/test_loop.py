# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Iterator

import pytest

from ibms_battery.clock import SystemClock, VirtualClock
from ibms_ros_common.loop import InputLoop

LONG_S = 5.0  # only ever waited for when something is wrong


class Steps:
    """Counts steps, and can hold one back."""

    def __init__(self) -> None:
        self.count = 0
        self.done = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, now_ns: int) -> None:
        self.entered.set()
        self.gate.wait(LONG_S)
        with self.done:
            self.count += 1
            self.done.notify_all()

    def wait_for(self, count: int) -> bool:
        with self.done:
            return self.done.wait_for(lambda: self.count >= count, LONG_S)


@pytest.fixture
def steps() -> Steps:
    return Steps()


def failure_of(loop: InputLoop) -> BaseException | None:
    return loop.failure


def live(steps: Steps, period_s: float) -> InputLoop:
    return InputLoop("test_loop", steps, period_s, SystemClock())


@pytest.fixture
def loop(steps: Steps) -> Iterator[InputLoop]:
    loop = live(steps, LONG_S)
    loop.start()
    yield loop
    steps.gate.set()
    loop.stop()


def test_it_steps_once_per_notification(loop: InputLoop, steps: Steps) -> None:
    for count in range(1, 4):
        loop.notify()
        assert steps.wait_for(count)
    assert steps.count == 3


def test_notifications_during_a_step_merge_into_one_further_step(
    loop: InputLoop, steps: Steps
) -> None:
    steps.gate.clear()
    loop.notify()
    assert steps.entered.wait(LONG_S)
    for _ in range(20):
        loop.notify()
    steps.gate.set()
    assert steps.wait_for(2)
    time.sleep(0.05)
    assert steps.count == 2


def test_it_steps_at_least_once_per_period(steps: Steps) -> None:
    loop = live(steps, 0.005)
    loop.start()
    assert steps.wait_for(5)
    loop.stop()
    count = steps.count
    time.sleep(0.03)
    assert steps.count == count


def test_its_timing_is_kept(loop: InputLoop, steps: Steps) -> None:
    loop.notify()
    assert steps.wait_for(1)
    loop.stop()
    times = loop.timer.take()
    assert times.steps == 1
    assert times.longest_execution_ns > 0
    assert times.longest_gap_ns > 0


def test_a_hung_step_shows_while_it_hangs(loop: InputLoop, steps: Steps) -> None:
    steps.gate.clear()
    loop.notify()
    assert steps.entered.wait(LONG_S)
    time.sleep(0.05)
    for _ in range(2):  # also in a window in which nothing began
        times = loop.timer.take()
        assert times.steps == 0
        assert times.longest_execution_ns >= 50_000_000


def test_it_rests_when_a_step_is_done_and_no_input_waits(steps: Steps) -> None:
    rests: list[int] = []
    loop = InputLoop(
        "test_loop", steps, LONG_S, SystemClock(), rest=lambda: rests.append(steps.count)
    )
    loop.start()
    steps.gate.clear()
    loop.notify()
    assert steps.entered.wait(LONG_S)
    loop.notify()  # waits when the first step ends
    steps.gate.set()
    assert steps.wait_for(2)
    deadline = time.monotonic() + LONG_S
    while not (rests and rests[-1] == 2) and time.monotonic() < deadline:
        time.sleep(0.001)
    loop.stop()
    assert rests[-1] == 2
    assert 1 not in rests


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_step_that_fails_ends_the_loop_for_good_and_is_kept() -> None:
    failed = threading.Event()
    calls: list[int] = []

    def step(now_ns: int) -> None:
        calls.append(now_ns)
        failed.set()
        raise ArithmeticError("broken")

    loop = InputLoop("test_loop", step, 0.005, SystemClock())
    loop.start()
    assert failed.wait(LONG_S)
    deadline = time.monotonic() + LONG_S
    while loop.failure is None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert isinstance(loop.failure, ArithmeticError)
    loop.notify()
    time.sleep(0.03)
    assert len(calls) == 1  # silence: neither notification nor period revives it
    loop.stop()


def test_a_restart_forgets_the_failure(steps: Steps) -> None:
    loop = live(steps, LONG_S)
    loop.failure = RuntimeError("from before")
    loop.start()
    assert failure_of(loop) is None
    loop.stop()


def test_a_thread_that_hung_beyond_stop_does_not_run_beside_its_successor(steps: Steps) -> None:
    loop = live(steps, 0.005)
    steps.gate.clear()
    loop.start()
    assert steps.entered.wait(LONG_S)
    first = loop._thread
    assert first is not None
    loop.stop()  # waits for a second, then gives up
    assert first.is_alive()
    loop.start()
    steps.gate.set()
    first.join(LONG_S)
    assert not first.is_alive()
    assert steps.wait_for(3)
    loop.stop()


def test_on_a_virtual_clock_steps_run_at_once_and_without_a_thread(steps: Steps) -> None:
    clock = VirtualClock(1_000)
    times: list[int] = []
    loop = InputLoop("test_loop", times.append, 0.02, clock)
    loop.notify()
    assert times == []  # not started
    before = threading.active_count()
    loop.start()
    assert threading.active_count() == before
    assert loop.due_ns == 20_001_000
    clock.advance(0.005)
    loop.notify()
    assert times == [5_001_000]
    assert loop.due_ns == 25_001_000
    loop.run_due()
    assert len(times) == 2
    loop.stop()
    loop.notify()
    assert len(times) == 2


def test_on_a_virtual_clock_a_failure_reaches_whoever_drives_it() -> None:
    def step(now_ns: int) -> None:
        raise ArithmeticError("broken")

    loop = InputLoop("test_loop", step, 0.02, VirtualClock())
    loop.start()
    with pytest.raises(ArithmeticError):
        loop.notify()
