# SPDX-License-Identifier: Apache-2.0
"""Freeze frames: what is in them, in which pieces, and how far they extend."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S
from ibms_edge.events.frame import LONGEST_NS, FreezeFrames, pack, unpack
from ibms_edge.events.records import Piece, Recorded

MS = 1_000_000
STEP = 20 * MS


class Drive:
    """Messages each 20 ms, their number as content."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.frames = FreezeFrames(self.pieces.append)
        self.now_ns = 100 * NS_PER_S

    def run(self, seconds: float) -> None:
        end_ns = self.now_ns + round(seconds * NS_PER_S)
        while self.now_ns < end_ns:
            self.now_ns += STEP
            self.frames.take(Recorded("cells/measurement", self.now_ns, b"x"))

    def trigger(self, by_fault: bool = True) -> None:
        self.frames.trigger(self.now_ns, self.now_ns + 7, by_fault)

    def times_s(self, trigger_ns: int) -> list[float]:
        """Times of the messages of a frame, from its trigger."""
        return [
            (message.received_ns - trigger_ns) / NS_PER_S
            for piece in self.pieces
            if piece.trigger_ns == trigger_ns
            for message in piece.messages
        ]


def test_ten_seconds_before_to_five_after_at_full_rate() -> None:
    drive = Drive()
    drive.run(30)
    drive.trigger()
    start_ns = drive.now_ns
    drive.run(10)
    times_s = drive.times_s(start_ns)
    assert times_s[0] == pytest.approx(-10.0)
    assert times_s[-1] == pytest.approx(5.0, abs=0.021)
    gaps = {round(b - a, 3) for a, b in pairwise(times_s)}
    assert gaps == {0.02}
    assert [piece.is_last for piece in drive.pieces] == [False] * (len(drive.pieces) - 1) + [True]


def test_a_frame_begins_with_what_was_told_long_before_and_still_holds() -> None:
    drive = Drive()
    drive.frames = FreezeFrames(drive.pieces.append, ["protection/lockouts"])
    for content in (b"old", b"new"):
        drive.frames.take(Recorded("protection/lockouts", drive.now_ns, content))
        drive.run(60)
    drive.trigger()
    messages = drive.pieces[0].messages
    assert (messages[0].topic, messages[0].data) == ("protection/lockouts", b"new")
    assert messages[0].received_ns == messages[1].received_ns  # no hour of nothing before it
    assert len(messages) == 502


def test_what_was_told_within_the_frame_is_in_it_once() -> None:
    drive = Drive()
    drive.frames = FreezeFrames(drive.pieces.append, ["protection/lockouts"])
    drive.run(60)
    drive.frames.take(Recorded("protection/lockouts", drive.now_ns, b"new"))
    drive.trigger()
    assert [m.data for m in drive.pieces[0].messages].count(b"new") == 1


def test_the_time_before_is_handed_over_at_once_and_the_rest_piece_by_piece() -> None:
    drive = Drive()
    drive.run(12)
    drive.trigger()
    assert len(drive.pieces[0].messages) == 501
    drive.run(2)
    lengths = [len(piece.messages) for piece in drive.pieces[1:]]
    assert 3 <= len(lengths) <= 4
    assert max(lengths) <= 26


def test_an_idle_bus_ends_a_frame_as_well() -> None:
    drive = Drive()
    drive.run(1)
    drive.trigger()
    drive.frames.advance(drive.now_ns + 6 * NS_PER_S)
    assert drive.pieces[-1].is_last


def test_triggers_in_a_frame_extend_it() -> None:
    drive = Drive()
    drive.run(12)
    drive.trigger(by_fault=False)
    start_ns = drive.now_ns
    drive.run(4)
    drive.trigger()
    drive.run(10)
    assert {piece.trigger_ns for piece in drive.pieces} == {start_ns}
    assert drive.times_s(start_ns)[-1] == pytest.approx(9.0, abs=0.021)
    assert drive.pieces[-1].by_fault


def test_a_frame_that_is_cut_short_is_not_called_complete() -> None:
    drive = Drive()
    drive.run(1)
    drive.trigger()
    drive.run(1)
    drive.frames.finish(drive.now_ns)
    assert not any(piece.is_last for piece in drive.pieces)
    assert sum(len(piece.messages) for piece in drive.pieces) == 100


@given(st.lists(st.floats(0.1, 20.0), min_size=1, max_size=30))
def test_each_trigger_is_covered_and_no_frame_is_unbounded(gaps_s: list[float]) -> None:
    drive = Drive()
    drive.run(10)
    triggers = []
    for gap_s in gaps_s:
        drive.trigger()
        triggers.append(drive.now_ns)
        drive.run(gap_s)
    drive.run(6)
    spans: dict[int, tuple[int, int]] = {}
    covered: set[int] = set()
    for piece in drive.pieces:
        times = [message.received_ns for message in piece.messages]
        covered.update(times)
        if times:
            first, last = spans.get(piece.trigger_ns, (times[0], times[0]))
            spans[piece.trigger_ns] = (min(first, times[0]), max(last, times[-1]))
    for start_ns, (first_ns, last_ns) in spans.items():
        assert first_ns >= start_ns - 10 * NS_PER_S
        assert last_ns <= start_ns + LONGEST_NS
    for trigger_ns in triggers:
        wanted = range(trigger_ns - 9 * NS_PER_S, trigger_ns + 5 * NS_PER_S - STEP, STEP)
        assert covered.issuperset(time for time in wanted if time > 100 * NS_PER_S)


def test_the_newest_message_up_to_a_time() -> None:
    drive = Drive()
    drive.run(1)
    now_ns = drive.now_ns
    newest = drive.frames.newest("cells/measurement", now_ns - 1)
    assert newest is not None
    assert newest.received_ns == now_ns - STEP
    assert drive.frames.newest("pack/measurement", now_ns) is None
    assert drive.frames.newest("cells/measurement", 0) is None


@given(
    st.lists(
        st.builds(Recorded, st.text(max_size=20), st.integers(0, 2**63 - 1), st.binary()),
        max_size=20,
    )
)
def test_a_piece_comes_back_as_it_was(messages: list[Recorded]) -> None:
    assert unpack(pack(messages)) == messages


@pytest.mark.parametrize("damage", [b"", b"nonsense", pack([Recorded("a", 1, b"x")])[:-4]])
def test_a_damaged_piece_is_said_to_be(damage: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack(damage)
