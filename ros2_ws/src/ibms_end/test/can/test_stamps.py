# SPDX-License-Identifier: Apache-2.0
"""Frames wait in a queue of the test; the queue's true receive times are known."""

from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_end.can.stamps import StampConverter

MS = 1_000_000
PRECISION_NS = 1_000  # a stamp is a float of seconds since 1970


def stamp(clock: VirtualClock) -> float:
    """What the kernel writes on a frame that arrives now."""
    return clock.wall_ns() / NS_PER_S


def step_wall(clock: VirtualClock, step_s: float) -> None:
    clock.set(clock.boot_ns(), clock.wall_ns() + round(step_s * NS_PER_S))


def test_age_of_a_frame_that_waited(clock: VirtualClock) -> None:
    converter = StampConverter(clock)
    received, arrived_ns = stamp(clock), clock.boot_ns()
    clock.advance(0.25)
    assert abs(converter.convert(received) - arrived_ns) < PRECISION_NS


def test_stamp_from_the_future_counts_as_now(clock: VirtualClock) -> None:
    converter = StampConverter(clock)
    assert converter.convert(stamp(clock) + 5.0) == clock.boot_ns()


def test_live_frames_stay_fresh_over_steps_both_ways(clock: VirtualClock) -> None:
    converter = StampConverter(clock)
    for step_s in (0.0, 3600.0, -7200.0, 0.5, -0.5):
        converter.queue_empty(clock.boot_ns())
        clock.advance(0.004)
        received = stamp(clock)
        step_wall(clock, step_s)
        clock.advance(0.001)
        age_ns = clock.boot_ns() - converter.convert(received)
        assert 0 <= age_ns <= 5 * MS + PRECISION_NS
    assert converter.steps == 4


def test_backlog_over_a_step_stays_old(clock: VirtualClock) -> None:
    for step_s in (0.6, -0.6, 30.0, -30.0):
        converter = StampConverter(clock)
        converter.queue_empty(clock.boot_ns())
        waiting = []
        for i in range(100):  # a process stopped for a second, wall time stepped halfway
            clock.advance(0.01)
            waiting.append((stamp(clock), clock.boot_ns()))
            if i == 50:
                step_wall(clock, step_s)
        for received, arrived_ns in waiting:
            assert converter.convert(received) <= arrived_ns + PRECISION_NS
        converter.queue_empty(clock.boot_ns())
        clock.advance(0.01)
        assert abs(converter.convert(stamp(clock)) - clock.boot_ns()) < PRECISION_NS


def test_drift_of_wall_time_is_followed(clock: VirtualClock) -> None:
    converter = StampConverter(clock)
    for _ in range(1000):
        clock.advance(0.1)
        step_wall(clock, 0.1 * 500e-6)  # 500 ppm, the fastest slewing
        assert abs(converter.convert(stamp(clock)) - clock.boot_ns()) < PRECISION_NS
    assert converter.steps == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("advance"), st.floats(0.0, 2.0)),
            st.tuples(st.just("step"), st.floats(-100.0, 100.0)),
            st.tuples(st.just("frame"), st.just(0.0)),
            st.tuples(st.just("read"), st.just(0.0)),
            st.tuples(st.just("drain"), st.just(0.0)),
        ),
        max_size=60,
    )
)
def test_a_frame_never_looks_much_younger_than_it_is(actions: list[tuple[str, float]]) -> None:
    clock = VirtualClock(boot_ns=10**12, wall_ns=10**18)
    converter = StampConverter(clock)
    queue: list[tuple[float, int]] = []
    for action, amount in actions:
        if action == "advance":
            clock.advance(amount)
        elif (
            action == "step" and abs(amount) > 0.011
        ):  # below, it is drift and stays an error of 10 ms
            step_wall(clock, amount)
        elif action == "frame":
            queue.append((stamp(clock), clock.boot_ns()))
        if action in ("read", "drain"):
            while queue:
                received, arrived_ns = queue.pop(0)
                assert converter.convert(received) <= arrived_ns + 2 * PRECISION_NS
                if action == "read":
                    break
            if not queue:
                converter.queue_empty(clock.boot_ns())


def test_thread_interrupted_between_the_clocks_makes_no_step() -> None:
    class Interrupted(VirtualClock):
        """Stands still for a second between the two clocks when told so."""

        interrupt = False

        def wall_ns(self) -> int:
            if self.interrupt:
                self.interrupt = False
                self.advance(1.0)
            return super().wall_ns()

    clock = Interrupted(10**12, 10**18)
    converter = StampConverter(clock)
    received = stamp(clock)
    clock.interrupt = True
    converter.convert(received)
    assert converter.steps == 0
    assert not converter.in_doubt
