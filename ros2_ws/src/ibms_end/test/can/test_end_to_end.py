# SPDX-License-Identifier: Apache-2.0
import can
import pytest
from cantools.autosar import end_to_end as reference
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.can.end_to_end import MAXIMUM_DELTA, Check, Checker, Protector, crc

LENGTHS = sorted({can.util.dlc2len(dlc) for dlc in range(16)} - {0, 1, 2, 3})


def frame(data_id: int, length: int, counter: int = 0) -> bytearray:
    data = bytearray((17 * i + 5) & 0xFF for i in range(length))
    data[2] = counter
    data[0:2] = crc(data, data_id).to_bytes(2, "little")
    return data


@given(st.binary(min_size=4, max_size=64), st.integers(0, 0xFFFF))
def test_crc_is_that_of_profile_5_of_another_implementation(data: bytes, data_id: int) -> None:
    assert crc(data, data_id) == reference.compute_profile5_crc(data, data_id)


def test_crc_of_the_standards_check_string() -> None:
    # CRC-16/IBM-3740 of "123456789" is 0x29B1 (catalogue of parametrised CRC algorithms); the last
    # two characters stand in the place of the data identifier.
    assert crc(b"\0\0" + b"1234567", int.from_bytes(b"89", "little")) == 0x29B1


@pytest.mark.parametrize("length", LENGTHS)
def test_what_the_protector_writes_passes_the_checker(length: int) -> None:
    protector, checker = Protector(0x1B10), Checker(0x1B10, length)
    for _ in range(300):  # beyond the wrap of the counter
        data = bytearray(length)
        protector.protect(data)
        assert checker.check(data) is Check.OK
    assert checker.lost == 0


@pytest.mark.parametrize("length", [8, 64])
def test_every_error_burst_of_up_to_8_bits_is_rejected(length: int) -> None:
    good = int.from_bytes(frame(0x1B00 + length, length), "little")
    checker = Checker(0x1B00 + length, length)
    patterns = [
        pattern for pattern in range(1, 256) if pattern & 1
    ]  # each burst once, by its start
    for start in range(8 * length):
        for pattern in patterns:
            error = pattern << start
            if error >> (8 * length):
                continue
            broken = (good ^ error).to_bytes(length, "little")
            assert checker.check(broken) is Check.CRC, (start, pattern)


def test_frame_of_another_message_is_rejected() -> None:
    assert Checker(0x1B10, 8).check(frame(0x1B11, 8)) is Check.CRC


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 9, 64])
def test_wrong_length_is_rejected(length: int) -> None:
    data = frame(0x1B10, length) if length >= 3 else bytearray(length)
    assert Checker(0x1B10, 8).check(data) is Check.LENGTH


def test_repeated_counter_is_rejected_and_forgotten_after_the_next() -> None:
    checker = Checker(1, 8)
    results = [checker.check(frame(1, 8, counter)) for counter in (7, 7, 7, 8)]
    assert results == [Check.OK, Check.REPEATED, Check.REPEATED, Check.OK]


def test_lost_frames_are_counted_up_to_the_largest_gap_also_over_the_wrap() -> None:
    checker = Checker(1, 8)
    assert checker.check(frame(1, 8, 250)) is Check.OK
    assert checker.check(frame(1, 8, (250 + MAXIMUM_DELTA) & 0xFF)) is Check.OK
    assert checker.lost == MAXIMUM_DELTA - 1


def test_out_of_order_frame_is_rejected() -> None:
    checker = Checker(1, 8)
    assert checker.check(frame(1, 8, 20)) is Check.OK
    assert checker.check(frame(1, 8, 19)) is Check.SEQUENCE


def test_restarted_sender_is_taken_up_with_its_second_frame() -> None:
    checker = Checker(1, 8)
    results = [checker.check(frame(1, 8, counter)) for counter in (100, 0, 1)]
    assert results == [Check.OK, Check.SEQUENCE, Check.OK]
    assert checker.lost == 0
