# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_edge.charging.elcon import NO_OUTPUT, ChargerStatus, ElconLink, Report, Request
from ibms_msgs.msg import ChargerState

CAN = Path(__file__).resolve().parents[5] / "config" / "can"


@pytest.fixture
def link() -> ElconLink:
    return ElconLink(CAN)


def status_frame(data: bytes) -> can.Message:
    return can.Message(arbitration_id=0x18FF50E5, is_extended_id=True, data=data)


def test_the_request_is_the_frame_of_the_makers_example(link: ElconLink) -> None:
    """98 V and 16 A: https://elconchargers.com, Elcon-CAN-Commands."""
    frame = link.encode(Request(98.0, 16.0))
    assert (frame.arbitration_id, frame.is_extended_id, frame.is_fd) == (0x1806E5F4, True, False)
    assert frame.data == bytes.fromhex("03d4 00a0 0000 0000")


def test_no_output_is_a_request_to_stop(link: ElconLink) -> None:
    assert link.encode(NO_OUTPUT).data == bytes.fromhex("0000 0000 0100 0000")
    assert link.encode(Request(98.0, 0.09)).data[4] == 1


@given(voltage_v=st.floats(0, 1500), current_a=st.floats(0, 500))
def test_a_request_is_never_rounded_up(voltage_v: float, current_a: float) -> None:
    data = ElconLink(CAN).encode(Request(voltage_v, current_a)).data
    sent_v, sent_a = (int.from_bytes(data[i : i + 2], "big") / 10 for i in (0, 2))
    assert voltage_v - 0.1 - 1e-6 < sent_v <= voltage_v + 1e-6
    assert current_a - 0.1 - 1e-6 < sent_a <= current_a + 1e-6


def test_a_report_is_decoded_with_its_status(link: ElconLink) -> None:
    frame = status_frame(bytes.fromhex("0fa1 0064 0a 000000"))
    assert link.report_identifier == 0x18FF50E5 | 1 << 31
    assert link.decode(frame, 7) == Report(
        7, 400.1, 10.0, ChargerStatus.OVERTEMPERATURE | ChargerStatus.STARTING
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(7), "length"),
        (bytes.fromhex("ffff 0064 00 000000"), "range"),
        (bytes.fromhex("0fa1 ffff 00 000000"), "range"),
    ],
)
def test_what_no_charger_can_say_is_rejected(link: ElconLink, data: bytes, reason: str) -> None:
    assert link.decode(status_frame(data), 7) is None
    assert link.rejected == {reason: 1}


@given(data=st.one_of(st.binary(max_size=64), st.binary(min_size=8, max_size=8)))
def test_any_payload_is_a_plausible_report_or_rejected_and_counted(data: bytes) -> None:
    link = ElconLink(CAN)
    report = link.decode(can.Message(arbitration_id=0x18FF50E5, is_fd=True, data=data), 7)
    if report is None:
        assert sum(link.rejected.values()) == 1
    else:
        assert 0.0 <= report.voltage_v <= 1500.0
        assert 0.0 <= report.current_a <= 500.0


def test_status_bits_are_those_of_the_interface() -> None:
    for bit in ChargerStatus:
        assert getattr(ChargerState, f"CHARGER_{bit.name}") == bit
