# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from ibms_battery.clock import NS_PER_S, SystemClock, VirtualClock


def test_the_systems_clock_is_boot_time_and_wall_time() -> None:
    clock = SystemClock()
    before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before_ns <= clock.boot_ns() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(clock.wall_ns() - time.time_ns()) < NS_PER_S


def test_a_virtual_clock_stands_still_until_it_is_moved() -> None:
    clock = VirtualClock(5, 1_000)
    assert (clock.boot_ns(), clock.wall_ns()) == (5, 1_000)
    clock.advance(1.5)
    assert (clock.boot_ns(), clock.wall_ns()) == (5 + 1_500_000_000, 1_000 + 1_500_000_000)
    clock.set(2_000_000_000)
    assert clock.wall_ns() == 1_000 + 2_000_000_000 - 5


def test_wall_time_may_jump_and_boot_time_not() -> None:
    clock = VirtualClock(100, 100)
    clock.set(200, wall_ns=7)
    assert (clock.boot_ns(), clock.wall_ns()) == (200, 7)
    clock.set(200)
    with pytest.raises(ValueError, match="run backwards: 200 -> 199 ns"):
        clock.set(199)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1.0)
    assert clock.boot_ns() == 200
