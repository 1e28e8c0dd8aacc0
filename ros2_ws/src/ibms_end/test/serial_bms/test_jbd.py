# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.serial_bms import jbd
from ibms_end.serial_bms.jbd import Answer, AnswerReader, BasicInfo

# Built by hand from the protocol description: 26.64 V, -2.00 A, 8.50 of 10.00 Ah, 12 cycles, made
# on 2023-05-17, cells 1, 3 and 18 balanced, discharge undertemperature and front end failure,
# version 2.1, 85 %, only the charge switch on, 8 cells, probes at 25.0 and -10.3 degC.
BASIC_DATA = bytes.fromhex("0a68ff380352 03e8 000c 2eb1 0005 0002 0880 21 55 01 08 02 0ba5 0a44")
BASIC_FRAME = bytes.fromhex("dd03001b") + BASIC_DATA + bytes.fromhex("fa0377")
CELLS_FRAME = bytes.fromhex("dd0400060ce40ce50ce6fd2777")


def answer(command: int, data: bytes, status: int = 0) -> bytes:
    """An answer by the protocol description."""
    body = bytes([status, len(data)]) + data
    return (
        b"\xdd" + bytes([command]) + body + ((0x10000 - sum(body)) & 0xFFFF).to_bytes(2) + b"\x77"
    )


def test_requests_are_those_of_the_description() -> None:
    assert jbd.request(jbd.BASIC_INFO).hex() == "dda50300fffd77"
    assert jbd.request(jbd.CELL_VOLTAGES).hex() == "dda50400fffc77"


def test_frames_built_by_hand() -> None:
    assert answer(jbd.BASIC_INFO, BASIC_DATA) == BASIC_FRAME
    reader = AnswerReader()
    (cells,) = reader.feed(CELLS_FRAME)
    assert cells == Answer(jbd.CELL_VOLTAGES, True, bytes.fromhex("0ce40ce50ce6"))
    assert jbd.decode_cell_voltages(cells.data) == (3.300, 3.301, 3.302)
    (basic,) = reader.feed(answer(jbd.BASIC_INFO, BASIC_DATA))
    assert jbd.decode_basic_info(basic.data) == BasicInfo(
        voltage_v=26.64,
        current_a=-2.0,
        remaining_ah=8.5,
        capacity_ah=10.0,
        cycles=12,
        bleed_bits=0b10_0000_0000_0000_0101,
        protection_bits=0x0880,
        soc=0.85,
        charge_switch_on=True,
        discharge_switch_on=False,
        cells=8,
        temperatures_c=(25.0, -10.3),
    )
    active = [name for i, name in enumerate(jbd.PROTECTIONS) if 0x0880 >> i & 1]
    assert active == ["discharge undertemperature", "front end failure"]
    assert reader.counts.total() == 0


def test_reference_frames_of_others(shared_data: Path) -> None:
    file = shared_data / "bms_reference_vectors" / "aiobmsble" / "jbd_daly_frames.json"
    reference = json.loads(file.read_text())["jbd"]
    frames = [bytes.fromhex(frame["hex"]) for frame in reference["frames"]]
    assert all(frame["checksum_valid"] for frame in reference["frames"])
    basic, cells, _name = AnswerReader().feed(b"".join(frames))
    expected = reference["expected"]
    info = jbd.decode_basic_info(basic.data)
    assert info.voltage_v == pytest.approx(expected["voltage_V"])
    assert info.current_a == pytest.approx(expected["current_A"])  # discharge is negative
    assert info.soc == expected["soc_percent"] / 100
    assert info.remaining_ah == pytest.approx(expected["remaining_Ah"])
    assert info.capacity_ah == pytest.approx(expected["design_Ah"])
    assert info.cycles == expected["cycles"]
    assert info.temperatures_c == pytest.approx(expected["temperatures_C"])
    assert info.charge_switch_on == expected["charge_fet"]
    assert info.discharge_switch_on == expected["discharge_fet"]
    assert info.protection_bits == expected["problem_code"]
    assert jbd.decode_cell_voltages(cells.data) == pytest.approx(expected["cell_voltages_V"])


def test_refusal_is_no_data() -> None:
    assert AnswerReader().feed(answer(jbd.BASIC_INFO, b"", 0x80)) == [
        Answer(jbd.BASIC_INFO, False, b"")
    ]


@given(
    st.lists(st.integers(1, 40), max_size=10),
    st.binary(max_size=20).filter(lambda b: 0xDD not in b),
)
def test_answers_are_cut_out_of_pieces_and_garbage(sizes: list[int], garbage: bytes) -> None:
    stream = garbage + CELLS_FRAME + garbage + answer(jbd.BASIC_INFO, BASIC_DATA)
    reader = AnswerReader()
    answers = []
    for size in sizes:
        answers += reader.feed(stream[:size])
        stream = stream[size:]
    answers += reader.feed(stream)
    assert [a.command for a in answers] == [jbd.CELL_VOLTAGES, jbd.BASIC_INFO]
    assert answers[1].data == BASIC_DATA
    assert reader.counts["garbage_bytes"] == 2 * len(garbage)


def test_every_flipped_bit_of_the_checked_part_is_rejected() -> None:
    for bit in range(8 * len(CELLS_FRAME)):
        data = bytearray(CELLS_FRAME)
        data[bit // 8] ^= 1 << (bit % 8)
        reader = AnswerReader()
        answers = reader.feed(bytes(data))
        if bit // 8 == 1:
            # The checksum leaves out the command; the driver takes only the command it asked for.
            assert answers
            assert answers[0].command != jbd.CELL_VOLTAGES
        else:
            assert answers == [], bit


def test_a_true_answer_behind_a_false_start_is_found() -> None:
    reader = AnswerReader()
    assert [a.command for a in reader.feed(b"\xdd\x03\x00\x02" + CELLS_FRAME)] == [0x04]
    assert reader.counts["checksum"] == 1


def test_truncated_answer_waits_until_it_is_forgotten() -> None:
    reader = AnswerReader()
    assert reader.feed(CELLS_FRAME[:-1]) == []
    assert reader.is_inside
    reader.clear()
    assert reader.feed(CELLS_FRAME) != []


@given(st.lists(st.binary(max_size=40)))
def test_random_bytes_never_crash(pieces: list[bytes]) -> None:
    reader = AnswerReader()
    for piece in pieces:
        for received in reader.feed(piece):
            for decode in (jbd.decode_basic_info, jbd.decode_cell_voltages):
                with contextlib.suppress(ValueError):
                    decode(received.data)


@pytest.mark.parametrize("size", [0, 22, 23, 24, 26])
def test_basic_information_must_be_as_long_as_it_says(size: int) -> None:
    with pytest.raises(ValueError, match="too short"):
        jbd.decode_basic_info(BASIC_DATA[:size])


def test_basic_information_of_newer_versions_is_longer() -> None:
    longer = jbd.decode_basic_info(BASIC_DATA + b"\1\2\3")
    assert longer == jbd.decode_basic_info(BASIC_DATA)


@pytest.mark.parametrize("data", [b"", b"\x0c", b"\x0c\xe4\x0c"])
def test_half_a_voltage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="two bytes each"):
        jbd.decode_cell_voltages(data)
