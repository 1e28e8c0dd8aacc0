# SPDX-License-Identifier: Apache-2.0
"""A reversed current sensor is found in minutes of driving, and never invented."""

from math import isnan

import numpy as np
import pytest

from ibms_edge.estimation.current_sign import CurrentSign

CAPACITY_AH = 5.0
STEP_S = 0.02


def drive(
    sign: float, seconds: float, noise_v: float = 0.002, swing_a: float = 3.0, seed: int = 1
) -> CurrentSign:
    """An uneven current with charge transfer, polarisation and a falling charge behind it."""
    random = np.random.default_rng(seed)
    watch = CurrentSign(CAPACITY_AH)
    current_a, slow_v, soc = 0.0, 0.0, 0.9
    for number in range(round(seconds / STEP_S)):
        if number % 25 == 0:
            current_a = -1.0 + swing_a * float(random.standard_normal())
        soc += current_a * STEP_S / 3600.0 / CAPACITY_AH
        slow_v += STEP_S / 30.0 * (0.02 * current_a - slow_v)
        voltage_v = 3.3 + 0.8 * soc + slow_v + 0.03 * current_a
        voltage_v += noise_v * float(random.standard_normal())
        watch.update(voltage_v, sign * current_a, STEP_S)
    return watch


@pytest.mark.parametrize("seed", range(5))
def test_right_and_wrong_are_told_apart_within_two_minutes(seed: int) -> None:
    assert drive(1.0, 120.0, seed=seed).correlation > 0.8
    assert not drive(1.0, 120.0, seed=seed).is_reversed
    assert drive(-1.0, 120.0, seed=seed).is_reversed


def test_without_steps_of_current_nothing_is_said() -> None:
    watch = drive(-1.0, 120.0, swing_a=0.0)
    assert isnan(watch.correlation)
    assert not watch.is_reversed


def test_missing_values_and_gaps_are_no_steps() -> None:
    watch = CurrentSign(CAPACITY_AH)
    for number in range(400):
        # Each value comes after a gap or a missing one, so no two can be compared.
        watch.update(3.7 - 0.1 * (number % 2), 5.0 * (number % 2), 10.0)
        watch.update(float("nan"), 0.0, 0.3)
    assert isnan(watch.correlation)


def test_it_forgets_what_was_mended() -> None:
    watch = drive(-1.0, 120.0)
    assert watch.is_reversed
    random = np.random.default_rng(3)
    for _ in range(1500):
        current_a = 3.0 * float(random.standard_normal())
        watch.update(3.7 + 0.03 * current_a, current_a, 0.5)
    assert not watch.is_reversed
