# SPDX-License-Identifier: Apache-2.0
from math import isnan, nan

import pytest

from ibms_edge.switching.currents import CurrentHistory

MS = 1_000_000


@pytest.fixture
def history() -> CurrentHistory:
    """Samples each 10 ms at a current that rises by 1 A each, the last of 5 A at 50 ms."""
    history = CurrentHistory()
    for index in range(6):
        history.add(10 * index * MS, float(index))
    return history


def test_the_present_current_is_that_of_the_newest_sample_for_100_ms(
    history: CurrentHistory,
) -> None:
    assert history.present_a(50 * MS) == 5.0
    assert history.present_a(150 * MS) == 5.0
    assert isnan(history.present_a(150 * MS + 1))
    assert isnan(history.present_a(48 * MS))  # from the future
    history.add(40 * MS, 77.0)  # overtaken on its way
    assert history.present_a(60 * MS) == 5.0
    history.add(60 * MS, nan)
    assert isnan(history.present_a(60 * MS))


def test_the_current_at_an_opening_is_the_last_before_the_contact_parted(
    history: CurrentHistory,
) -> None:
    assert history.at_opening_a(51 * MS) == 4.0  # that of 50 ms may be from after it
    assert history.at_opening_a(55 * MS) == 5.0
    assert history.at_opening_a(140 * MS) == 5.0
    assert isnan(history.at_opening_a(151 * MS))
    assert isnan(history.at_opening_a(4 * MS))


def test_without_samples_nothing_is_known() -> None:
    assert isnan(CurrentHistory().present_a(0))
    assert isnan(CurrentHistory().at_opening_a(0))
