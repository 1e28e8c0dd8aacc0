# SPDX-License-Identifier: Apache-2.0
import gc
import weakref
from collections.abc import Iterator

import pytest

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_ros_common import garbage
from ibms_ros_common.diagnostics import OK, WARN, Status
from ibms_ros_common.garbage import GarbageAtRest


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(1_000)


@pytest.fixture
def at_rest(clock: VirtualClock) -> Iterator[GarbageAtRest]:
    yield GarbageAtRest(clock)
    gc.unfreeze()
    gc.enable()


def test_nothing_is_touched_before_the_process_has_settled(at_rest: GarbageAtRest) -> None:
    at_rest.at_rest()
    at_rest.at_any_moment()
    assert at_rest.collections == 0
    assert gc.isenabled()


def test_settling_sets_aside_what_lives_and_ends_automatic_collections(
    at_rest: GarbageAtRest,
) -> None:
    at_rest.settle()
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 1_000


def test_garbage_is_collected_once_per_second_in_a_quiet_moment(
    at_rest: GarbageAtRest, clock: VirtualClock
) -> None:
    at_rest.settle()
    knot = weakref.ref(Knot())
    for _ in range(99):
        clock.advance(0.01)
        at_rest.at_rest()
    assert knot() is not None
    clock.advance(0.02)
    at_rest.at_rest()
    assert knot() is None
    at_rest.at_rest()
    assert (at_rest.collections, at_rest.collections_late) == (1, 0)


def test_without_a_quiet_moment_it_is_collected_all_the_same(
    at_rest: GarbageAtRest, clock: VirtualClock
) -> None:
    at_rest.settle()
    clock.advance(garbage.LATE_NS / NS_PER_S - 0.1)
    at_rest.at_any_moment()
    assert at_rest.collections == 0
    clock.advance(0.1)
    at_rest.at_any_moment()
    assert (at_rest.collections, at_rest.collections_late) == (1, 1)


@pytest.mark.parametrize(("pause_ms", "level"), [(4, OK), (6, WARN)])
def test_pauses_are_measured_and_judged(
    at_rest: GarbageAtRest,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    pause_ms: int,
    level: int,
) -> None:
    at_rest.settle()
    monkeypatch.setattr(gc, "collect", lambda: clock.advance(pause_ms / 1e3))
    clock.advance(1.0)
    at_rest.at_rest()
    status = Status()
    at_rest.report(status)
    assert status.level == level
    assert status.values["garbage longest pause [ms]"] == str(pause_ms)
    again = Status()
    at_rest.report(again)
    assert again.values["garbage longest pause [ms]"] == "0"
