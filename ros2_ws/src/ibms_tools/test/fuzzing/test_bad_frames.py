# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from random import Random

import can
import pytest

from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, load_databases
from ibms_end.can.end_to_end import Check
from ibms_end.can.identifier import frame_identifier
from ibms_tools.fuzzing.bad_frames import CRC_PASSES, BadFrames, Kind

DBC = Path(__file__).resolve().parents[5] / "config" / "can" / "ibms.dbc"
DATABASE = load_databases([DBC])
TARGETS = [find_message(DATABASE, name) for name in ("PackSensor", "SwitchFeedback")]
AVOIDED = 0x11


@pytest.fixture
def bad() -> BadFrames:
    """One that has seen twenty true frames of each target."""
    bad = BadFrames(TARGETS, [AVOIDED], Random(3))
    for frame in true_frames():
        bad.saw(frame)
    return bad


def true_frames() -> list[can.Message]:
    encoders = [FrameEncoder(message) for message in TARGETS]
    return [encoder.encode({}) for _ in range(20) for encoder in encoders]


def decode(frame: can.Message) -> str:
    """What a decoder of that identifier, which has taken all true frames, says to a frame."""
    decoders = {m.frame_id: FrameDecoder(m, True) for m in TARGETS}
    for true in true_frames():
        assert decoders[true.arbitration_id].decode(true.data) is not None
    decoder = decoders[frame_identifier(frame)]
    if decoder.decode(frame.data) is not None:
        return "accepted"
    return next(iter(decoder.rejected))


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (Kind.FEW_BITS, {Check.CRC.value}),
        (Kind.MANY_BITS, {Check.CRC.value}),
        (Kind.LENGTH, {Check.LENGTH.value}),
        (Kind.REPEATED, {Check.REPEATED.value}),
        (Kind.OLD, {Check.SEQUENCE.value}),
        (Kind.PAYLOAD, {Check.CRC.value}),
    ],
)
def test_each_kind_is_rejected_for_its_own_reason(
    bad: BadFrames, kind: Kind, reasons: set[str]
) -> None:
    assert {decode(frame) for frame in bad.batch(kind, 50)} == reasons


def test_true_frames_come_behind_other_identifiers(bad: BadFrames) -> None:
    known = {bytes(frame.data) for frame in true_frames()}
    identifiers = {frame_identifier(frame) for frame in bad.batch(Kind.IDENTIFIER, 50)}
    assert len(identifiers) == 4  # the two, each also as an extended one
    assert all(bytes(f.data) in known for f in bad.batch(Kind.IDENTIFIER, 50))


def test_one_true_frame_is_followed_by_one_out_of_order(bad: BadFrames) -> None:
    assert len(bad.batch(Kind.OLD, 50)) == 2
    assert bad.batch(Kind.REPEATED, 50) == []
    bad.saw(true_frames()[0])
    assert len(bad.batch(Kind.REPEATED, 50)) == 1


def test_an_avoided_identifier_is_never_sent() -> None:
    bad = BadFrames(TARGETS, range(0x7FF), Random(1))
    standard = [f for f in bad.batch(Kind.RANDOM, 500) if not f.is_extended_id]
    assert {frame.arbitration_id for frame in standard} <= {0x7FF}


def test_only_frames_that_a_decoder_looks_at_may_pass(bad: BadFrames) -> None:
    hits = bad.batch(Kind.PAYLOAD, 100)
    expected = bad.expected_to_pass_crc(Kind.PAYLOAD, hits)
    assert expected.keys() == {message.frame_id for message in TARGETS}
    assert sum(expected.values()) == pytest.approx(100 * CRC_PASSES)
    misses = [can.Message(arbitration_id=0x7F0, data=bytes(8)) for _ in range(100)]
    assert bad.expected_to_pass_crc(Kind.RANDOM, misses) == {}
    assert bad.expected_to_pass_crc(Kind.FEW_BITS, hits) == {}


def test_messages_of_which_no_true_frame_came_are_known(bad: BadFrames) -> None:
    assert bad.never_seen == frozenset()
    fresh = BadFrames(TARGETS, [], Random(1))
    assert fresh.never_seen == {message.frame_id for message in TARGETS}


def test_equal_seeds_make_equal_frames() -> None:
    def some(seed: int) -> list[bytes]:
        bad = BadFrames(TARGETS, [], Random(seed))
        return [bytes(frame.data) for frame in bad.batch(Kind.RANDOM, 20)]

    assert some(5) == some(5) != some(6)
