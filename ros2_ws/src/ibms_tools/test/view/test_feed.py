# SPDX-License-Identifier: Apache-2.0
"""Tests of counting and decoding."""

import math
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_tools.view.feed import Continuity, Feed


def test_only_the_newest_message_is_decoded_and_only_once() -> None:
    decoded: list[bytes] = []

    def decode(raw: bytes) -> bytes:
        decoded.append(raw)
        return raw

    feed = Feed(decode, VirtualClock())
    assert feed.latest() is None
    feed.receive(b"1")
    feed.receive(b"2")
    assert (feed.latest(), feed.latest()) == (b"2", b"2")
    assert (decoded, feed.received) == ([b"2"], 2)


def test_rate_over_the_last_seconds() -> None:
    clock = VirtualClock()
    feed = Feed(lambda raw: raw, clock)
    assert math.isnan(feed.rate_hz(0))
    for _ in range(500):
        clock.advance(0.02)
        feed.receive(b"")
        rate_hz = feed.rate_hz(clock.boot_ns())
    assert rate_hz == 50.0
    clock.advance(4.0)
    assert feed.rate_hz(clock.boot_ns()) < 1.0


def test_lateness_is_from_sampling_to_receipt() -> None:
    clock = VirtualClock(boot_ns=2 * NS_PER_S)
    feed = Feed(lambda _: SimpleNamespace(boot_ns=2 * NS_PER_S - 3_000_000), clock)
    assert math.isnan(feed.lateness_s())
    feed.receive(b"")
    clock.advance(5.0)  # looking later changes nothing
    assert feed.lateness_s() == 0.003


@given(
    start=st.integers(0, 2**32 - 1),
    steps=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 49)), max_size=20),
)
def test_losses_are_what_the_counter_went_further(start: int, steps: list[tuple[int, int]]) -> None:
    continuity = Continuity()
    counter, received, lost = start, 1, 0
    continuity.update(counter, received)
    for sent, missing in steps:
        missing = min(missing, sent - 1)
        counter, received, lost = (
            (counter + sent) % 2**32,
            received + sent - missing,
            lost + missing,
        )
        continuity.update(counter, received)
    assert (continuity.lost, continuity.restarts) == (lost, 0)


def test_a_device_that_starts_again_loses_nothing() -> None:
    continuity = Continuity()
    continuity.update(1000, 1000)
    continuity.update(5, 1005)
    continuity.update(15, 1010)
    assert (continuity.restarts, continuity.lost) == (1, 5)
