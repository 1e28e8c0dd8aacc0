# SPDX-License-Identifier: Apache-2.0
import pytest

from ibms_battery.clock import VirtualClock
from ibms_sim.pacing import Pacer


def test_runs_at_multiples_of_the_period_without_drift() -> None:
    clock = VirtualClock(10**9)
    pacer = Pacer(clock)
    calls: list[int] = []
    pacer.add(0.02, calls.append)
    pacer.start()
    for _ in range(100):
        clock.advance(pacer.wait_s() + 0.0013)  # always a little late
        pacer.run()
    assert len(calls) == 100
    assert calls[-1] - calls[0] == pytest.approx(99 * 20_000_000, abs=2_000_000)
    assert pacer.missed == 0
    assert pacer.worst_lateness_ns == pytest.approx(1_300_000, abs=1000)


def test_missed_runs_after_a_standstill_are_left_out_and_counted() -> None:
    clock = VirtualClock(10**9)
    pacer = Pacer(clock)
    calls: list[int] = []
    pacer.add(0.01, calls.append)
    pacer.start()
    pacer.run()
    clock.advance(1.0)
    pacer.run()
    pacer.run()
    assert len(calls) == 2
    assert pacer.missed == 99
    assert pacer.wait_s() == pytest.approx(0.01, abs=1e-6)
