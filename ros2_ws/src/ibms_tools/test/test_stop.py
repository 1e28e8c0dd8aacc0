# SPDX-License-Identifier: Apache-2.0
"""Tests of the flag that signals set."""

import signal
from collections.abc import Iterator

import pytest

from ibms_tools.stop import Stop

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_set_by_each_signal(number: signal.Signals) -> None:
    stop = Stop()
    assert not stop.requested
    signal.raise_signal(number)
    assert stop.requested


def test_a_further_signal_presses() -> None:
    stop, pressed = Stop(), []
    stop.again = lambda: pressed.append(True)
    signal.raise_signal(signal.SIGINT)
    assert pressed == []
    signal.raise_signal(signal.SIGINT)
    assert pressed == [True]


def test_nohup_stays() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    signal.raise_signal(signal.SIGHUP)
    assert not stop.requested
