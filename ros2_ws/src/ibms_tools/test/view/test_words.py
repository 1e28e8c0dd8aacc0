# SPDX-License-Identifier: Apache-2.0
"""Tests of values in words."""

import math

import numpy as np
import pytest

from ibms_tools.view import words


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5.03e6, "5.03 MΩ"), (999.0, "999 Ω"), (0.02, "20 mΩ"), (math.nan, "--"), (0.0, "0 Ω")],
)
def test_scaled(value: float, expected: str) -> None:
    assert words.scaled(value, "Ω") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(83.4, "1:23"), (3723.0, "1:02:03"), (0, "0:00")]
)
def test_elapsed(seconds: float, expected: str) -> None:
    assert words.elapsed(seconds) == expected


def test_names_come_from_the_messages() -> None:
    assert words.STATES[3] == "drive"
    assert words.LIMITED_BY[3] == "state of charge"
    assert words.REACTIONS[5] == "open now"


def test_direction_is_that_of_the_sign() -> None:
    assert [words.direction(a) for a in (-5.0, 0.1, 5.0)] == ["discharging", "", "charging"]


def test_extremes_leave_out_what_is_unknown() -> None:
    assert words.extremes(np.array([math.nan, 2.0, 1.0, 3.0])) == (2, 3)
    assert words.extremes(np.array([math.nan])) is None
    assert math.isnan(words.mean(np.array([math.nan])))
