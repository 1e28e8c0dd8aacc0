# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_sim.devices.history import RING_S, History
from ibms_sim.devices.packing import AFE_HISTORY_ID, AFE_LAYOUT

MODULES = 2
RING = 60  # scans at 1 s


def filled(scans: int, first_counter: int = 1) -> History:
    history = History(MODULES, RING_S / RING)
    for k in range(scans):
        frames = np.zeros(MODULES, dtype=AFE_LAYOUT)
        frames["scan_counter"] = (first_counter + k) % 2**32
        frames["cells"][:, 0] = k
        history.store(frames)
    return history


def counters(history: History, maximum: int = 8) -> list[int]:
    sent = []
    while messages := history.messages(maximum):
        assert len(messages) <= max(maximum, MODULES)
        assert [m.arbitration_id for m in messages[:MODULES]] == [
            AFE_HISTORY_ID + k for k in range(MODULES)
        ]
        sent += [int.from_bytes(m.data[4:8], "little") for m in messages[::MODULES]]
    return sent


@given(st.integers(1, 150), st.integers(0, 200), st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_sends_what_was_asked_for_and_is_in_the_ring(
    stored: int, ahead: int, count: int, start: int
) -> None:
    history = filled(stored, start)
    oldest, newest = max(0, stored - RING), stored - 1
    history.request((start + ahead) % 2**32, count)
    expected = [
        (start + k) % 2**32 for k in range(max(ahead, oldest), min(ahead + count, newest + 1))
    ]
    assert counters(history) == expected


def test_a_request_for_nothing_stops() -> None:
    history = filled(50)
    history.request(1, 50)
    assert len(history.messages(8)) == 8
    history.request(1, 0)
    assert history.messages(8) == []


def test_nothing_is_sent_from_an_empty_ring() -> None:
    history = filled(0)
    history.request(0, 10)
    assert history.messages(8) == []


def test_scans_that_fall_out_while_sending_are_left_out() -> None:
    history = filled(60)
    history.request(1, 60)
    assert len(history.messages(2)) == MODULES
    frames = np.zeros(MODULES, dtype=AFE_LAYOUT)
    for counter in range(61, 71):
        frames["scan_counter"] = counter
        history.store(frames)
    assert counters(history) == list(range(11, 61))


def test_keeps_60_seconds() -> None:
    assert pytest.approx(60.0) == RING_S
    assert len(counters(_requested(filled(500)))) == RING


def _requested(history: History) -> History:
    history.request(1, 65535)
    return history
