# SPDX-License-Identifier: Apache-2.0
"""Frames to and from the switch board, against the DBC read apart."""

import math
from dataclasses import replace
from pathlib import Path

import can
import pytest
from cantools.database.can import Database

from ibms_battery.clock import VirtualClock
from ibms_edge.switching.board_link import BoardLink
from ibms_edge.switching.exchange import Command, Permit, Reason
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, load_databases

FEEDBACK = {
    "Closed": 3,
    "Armed": 1,
    "DeadManLatched": 0,
    "InterlockClosed": 1,
    "EmergencyStop": 0,
    "CrashInput": 0,
    "SwitchCount": 3,
    "ArmChallenge": 77,
    "PackVoltage": 44.0,
    "LinkVoltage": 43.5,
    "OpenCause": 0,
    "DeadManTime": 200,
}


@pytest.fixture(scope="module")
def database(config: Path) -> Database:
    return load_databases([config / "can" / "ibms.dbc"])


@pytest.fixture
def sent() -> list[can.Message]:
    return []


@pytest.fixture
def link(database: Database, sent: list[can.Message], monkeypatch: pytest.MonkeyPatch) -> BoardLink:
    link = BoardLink(database, BusConfiguration(), VirtualClock(), lambda message, boot_ns: None)
    monkeypatch.setattr(link.receiver, "send", sent.append)
    return link


def feedback_frame(database: Database, **changed: float) -> can.Message:
    message = find_message(database, "SwitchFeedback")
    known = {signal.name for signal in message.signals} - {"Crc", "AliveCounter"}
    values = dict.fromkeys(known, 0.0) | FEEDBACK | changed
    return FrameEncoder(message).encode(values)


def test_feedback_is_read_with_its_units(link: BoardLink, database: Database) -> None:
    feedback = link.feedback(feedback_frame(database).data, 5)
    assert feedback is not None
    assert (feedback.boot_ns, feedback.closed, feedback.arm_challenge) == (5, 3, 77)
    assert (feedback.armed, feedback.dead_man_latched) == (True, False)
    assert (feedback.interlock_closed, feedback.emergency_stop) == (True, False)
    assert (feedback.crash_input, feedback.switch_count) == (False, 3)
    assert feedback.pack_voltage_v == pytest.approx(44.0, abs=0.1)
    assert feedback.dead_man_time_s == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("signal", "field", "value"),
    [
        ("CrashInput", "crash_input", True),
        ("EmergencyStop", "emergency_stop", True),
        ("SwitchCount", "switch_count", 24),
    ],
)
def test_each_input_of_the_board_has_its_own_field(
    link: BoardLink, database: Database, signal: str, field: str, value: int
) -> None:
    feedback = link.feedback(feedback_frame(database, **{signal: value}).data, 5)
    usual = BoardLink(database, BusConfiguration(), VirtualClock(), lambda message, boot_ns: None)
    known = usual.feedback(feedback_frame(database).data, 5)
    assert feedback is not None
    assert known is not None
    assert getattr(feedback, field) == value
    assert replace(feedback, **{field: getattr(known, field)}) == known


def test_a_voltage_outside_its_range_is_not_measured(link: BoardLink, database: Database) -> None:
    frame = feedback_frame(database, LinkVoltage=16777.215)  # all bits set
    feedback = link.feedback(frame.data, 0)
    assert feedback is not None
    assert math.isnan(feedback.link_voltage_v)
    assert not math.isnan(feedback.pack_voltage_v)


def test_a_damaged_frame_is_rejected_and_counted(link: BoardLink, database: Database) -> None:
    data = bytearray(feedback_frame(database).data)
    data[-1] ^= 1
    assert link.feedback(data, 0) is None
    assert sum(link.decoder.rejected.values()) == 1


def test_permit_and_command_carry_what_the_board_needs(
    link: BoardLink, database: Database, sent: list[can.Message]
) -> None:
    link.send_permit(Permit(scan_counter=0xFFFFFFFE, close_allowed=True))
    link.send_permit(Permit(scan_counter=0xFFFFFFFF, close_allowed=False))
    link.send_command(Command(closed=5, arm=True, arm_challenge=77, reason=Reason.PROTECTION))
    permits = FrameDecoder(find_message(database, "SwitchPermit"), protected=True)
    first, second = (permits.decode(message.data) for message in sent[:2])
    assert first is not None
    assert second is not None
    assert (first["ScanCounter"], first["CloseAllowed"]) == (0xFFFFFFFE, 1)
    assert (second["ScanCounter"], second["CloseAllowed"]) == (0xFFFFFFFF, 0)
    commands = FrameDecoder(find_message(database, "SwitchCommand"), protected=True)
    command = commands.decode(sent[2].data)
    assert command is not None
    assert (command["Closed"], command["Arm"], command["ArmChallenge"]) == (5, 1, 77)
    assert command["Reason"] == Reason.PROTECTION
