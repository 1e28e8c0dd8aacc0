# SPDX-License-Identifier: Apache-2.0
import pytest

from ibms_edge.charging.delivery import DeliveryWatch
from ibms_edge.charging.elcon import NO_OUTPUT, Request

S = 1_000_000_000


@pytest.fixture
def watch() -> DeliveryWatch:
    return DeliveryWatch(settle_s=3.0, tolerance_a=1.0, tolerance_v=2.0, share=0.05, samples=3)


def test_three_samples_in_a_row_beyond_the_tolerance_are_too_many(watch: DeliveryWatch) -> None:
    watch.ask(Request(400.0, 10.0), 0)
    assert [bool(watch.current("charger", 11.1)) for _ in range(4)] == [False, False, True, True]


def test_a_sample_that_fits_begins_the_count_anew(watch: DeliveryWatch) -> None:
    watch.ask(Request(400.0, 10.0), 0)
    currents = [11.1, 11.1, 11.0, 11.1, 11.1]
    assert not any(watch.current("charger", current_a) for current_a in currents)


def test_sources_are_counted_apart(watch: DeliveryWatch) -> None:
    watch.ask(Request(400.0, 10.0), 0)
    for _ in range(2):
        assert not watch.current("charger", 15.0)
        assert not watch.current("pack sensor", 15.0)


def test_the_tolerance_grows_with_what_was_asked_for(watch: DeliveryWatch) -> None:
    watch.ask(Request(400.0, 100.0), 0)
    assert not any(watch.current("charger", 104.9) for _ in range(9))
    assert watch.current("charger", 105.1) == ""


def test_a_charger_has_time_to_follow_a_smaller_request(watch: DeliveryWatch) -> None:
    watch.ask(Request(400.0, 10.0), 0)
    watch.ask(Request(400.0, 10.0), 5 * S)
    for now_ns in range(5 * S + 1, 8 * S, S // 10):
        watch.ask(NO_OUTPUT, now_ns)
        assert not watch.current("charger", 10.0)
    watch.ask(NO_OUTPUT, 9 * S)
    assert [bool(watch.current("charger", 10.0)) for _ in range(3)] == [False, False, True]


def test_voltage_is_judged_while_something_is_asked_for(watch: DeliveryWatch) -> None:
    watch.ask(NO_OUTPUT, 0)
    assert not any(watch.voltage("pack", 380.0) for _ in range(5))
    watch.ask(Request(30.0, 10.0), S)
    assert "32.5 V" in [watch.voltage("pack", 32.5) for _ in range(3)][-1]
    watch.forget()
    assert not watch.voltage("pack", 32.5)
