# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ibms_sim.devices.environment import SAMPLE_RATE_HZ, Vibration


def make(rms: float = 2.0, threshold: float = 50.0) -> Vibration:
    return Vibration(rms, threshold, np.random.default_rng(3))


def test_is_formed_from_at_least_1_khz() -> None:
    assert SAMPLE_RATE_HZ >= 1000
    assert len(make().signal(True, None)) == SAMPLE_RATE_HZ // 10


def test_rms_is_that_of_the_road_while_driving_and_small_at_rest() -> None:
    vibration = make()
    driving = [vibration.evaluate(vibration.signal(True, None)) for _ in range(50)]
    resting = [vibration.evaluate(vibration.signal(False, None)) for _ in range(50)]
    assert np.mean([rms for rms, _ in driving]) == pytest.approx(2.0, rel=0.05)
    assert all(peak > rms for rms, peak in driving)
    assert max(rms for rms, _ in resting) < 0.05
    assert vibration.shock_count == 0


def test_each_shock_counts_once() -> None:
    vibration = make()
    peaks = [vibration.evaluate(vibration.signal(True, 100.0))[1] for _ in range(30)]
    assert vibration.shock_count == 3
    assert 90 < max(peaks) < 115


def test_a_shock_across_two_periods_counts_once() -> None:
    vibration = make(rms=0.0)
    first, second = vibration.signal(False, None), vibration.signal(False, None)
    first[-10:] = 80.0
    second[:10] = 80.0
    vibration.evaluate(first)
    vibration.evaluate(second)
    assert vibration.shock_count == 1
