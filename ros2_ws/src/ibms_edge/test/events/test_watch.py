# SPDX-License-Identifier: Apache-2.0
"""When the pack is said to have opened, why, and what stood at that moment."""

import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_edge.events import watch as module
from ibms_edge.events.frame import FreezeFrames
from ibms_edge.events.records import EventRecord, Opening, Piece, Recorded
from ibms_edge.events.watch import CELLS, PACK, STATUS, OpeningWatch
from ibms_msgs.msg import (
    CellMeasurement,
    Event,
    PackMeasurement,
    PackState,
    ProtectionStatus,
    SwitchCommand,
    SwitchState,
)

MS = 1_000_000
PROTECTION, REQUEST = SwitchCommand.REASON_PROTECTION, SwitchCommand.REASON_REQUEST
NOT_ARMED = SwitchCommand.REASON_NOT_ARMED


class Pack:
    """A pack as the recorder sees it; each message takes a millisecond."""

    def __init__(self) -> None:
        self.clock = VirtualClock(100 * NS_PER_S, 5000 * NS_PER_S)
        self.stored: list[Opening] = []
        self.closings: list[int] = []
        self.pieces: list[Piece] = []
        self.frames = FreezeFrames(self.pieces.append)
        self.watch = OpeningWatch(
            self.clock, self.frames, lambda message: self.messages[message.data], self, {101: 2}
        )
        self.messages: dict[bytes, Any] = {}

    def put(self, opening: Opening) -> None:
        self.stored.append(opening)

    def put_closed(self, wall_ns: int) -> None:
        self.closings.append(wall_ns)

    @property
    def openings(self) -> list[Opening]:
        """The newest version of each opening."""
        return list({opening.boot_ns: opening for opening in self.stored}.values())

    @property
    def frame_count(self) -> int:
        return len({piece.trigger_ns for piece in self.pieces})

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.frames.advance(self.clock.boot_ns())
        self.watch.advance()

    def record(self, topic: str, message: Any) -> None:
        self.clock.advance(0.001)
        data = str(len(self.messages)).encode()
        self.messages[data] = message
        self.frames.take(Recorded(topic, self.clock.boot_ns(), data))

    def status(self, cause: int = 0) -> None:
        message = ProtectionStatus(first_cause=cause, first_cause_element=7 if cause else -1)
        message.first_cause_value = 4.5 if cause else math.nan
        self.record(STATUS, message)

    def command(self, closed: bool, reason: int = REQUEST, mask: tuple[int, ...] = ()) -> int:
        """A command; ``mask``: the switches that it closes, where an opening keeps an order."""
        self.clock.advance(0.001)
        message = SwitchCommand(boot_ns=self.clock.boot_ns(), reason=reason)
        message.configuration = "closed" if closed else "open"
        message.closed = array("B", mask or [closed, closed, 0])
        self.watch.command(message)
        return int(message.boot_ns)

    def feedback(self, closed: bool, reason: int = REQUEST, valid: bool = True) -> int:
        self.clock.advance(0.001)
        message = SwitchState(boot_ns=self.clock.boot_ns(), board_valid=valid, open_reason=reason)
        message.closed = array("B", [closed, closed, 0])
        self.watch.switches(message)
        return int(message.boot_ns)

    def fault(self, diagnosis: int = 101, severity: int = 2, age_s: float = 0.0) -> None:
        boot_ns = self.clock.boot_ns() - round(age_s * NS_PER_S)
        self.watch.event(
            EventRecord(
                0, boot_ns, "protection", Event.KIND_FAULT_SET, severity, diagnosis, 7, 4.5, "x"
            )
        )

    def close(self) -> None:
        self.feedback(False)
        self.command(True)
        self.feedback(True)


@pytest.fixture
def pack() -> Pack:
    return Pack()


@pytest.fixture
def closed(pack: Pack) -> Pack:
    pack.status()
    pack.close()
    return pack


def test_the_numbers_are_those_of_the_messages() -> None:
    assert (module._REASON_REQUEST, module._STATE_ERROR) == (REQUEST, PackState.STATE_ERROR)


def test_a_commanded_opening_with_its_verification_and_cause(closed: Pack) -> None:
    closed.status(cause=101)
    closed.fault()
    commanded_ns = closed.command(False, PROTECTION)
    assert closed.openings[0].opened_ns is None  # told before it is verified
    closed.feedback(True, PROTECTION)
    opened_ns = closed.feedback(False, PROTECTION)
    (opening,) = closed.openings
    assert (opening.commanded_ns, opening.opened_ns) == (commanded_ns, opened_ns)
    assert (opening.reason, opening.cause, opening.cause_element) == (PROTECTION, 101, 7)
    assert opening.cause_value == 4.5
    assert opening.wall_ns == 4900 * NS_PER_S + commanded_ns
    assert closed.frame_count == 1
    assert closed.pieces[0].by_fault


def test_an_ordered_opening_counts_from_the_command_to_its_first_contactor(closed: Pack) -> None:
    first_ns = closed.command(False, PROTECTION, mask=(1, 0, 0))
    closed.feedback(True)
    closed.wait(0.028)
    closed.command(False, PROTECTION)
    opened_ns = closed.feedback(False)
    closed.wait(1.0)
    (opening,) = closed.openings
    assert (opening.commanded_ns, opening.opened_ns) == (first_ns, opened_ns)
    assert (opening.boot_ns, opening.reason) == (first_ns, PROTECTION)


def test_a_module_out_of_circuit_is_no_opening(closed: Pack) -> None:
    closed.command(True, SwitchCommand.REASON_ISOLATE, mask=(1, 0, 0))
    closed.feedback(True)
    closed.wait(1.0)
    assert closed.openings == []


def test_an_opening_by_request_has_no_cause_even_if_a_fault_comes_later(closed: Pack) -> None:
    closed.command(False, REQUEST)
    closed.feedback(False, REQUEST)
    closed.status(cause=101)
    closed.wait(1.0)
    (opening,) = closed.openings
    assert (opening.reason, opening.cause) == (REQUEST, 0)
    assert not any(piece.by_fault for piece in closed.pieces)


def test_a_request_with_a_fault_behind_it_has_that_cause(closed: Pack) -> None:
    closed.status(cause=101)  # open after zero current: the supervisor asks for opening
    closed.command(False, REQUEST)
    closed.feedback(False, REQUEST)
    assert closed.openings[0].cause == 101


def test_a_board_that_opens_by_itself_gets_the_cause_that_protection_finds_later(
    closed: Pack,
) -> None:
    opened_ns = closed.feedback(False, NOT_ARMED)
    closed.wait(0.05)
    closed.status(cause=101)
    closed.wait(1.0)
    (opening,) = closed.openings
    assert (opening.boot_ns, opening.opened_ns) == (opened_ns, opened_ns)
    assert opening.commanded_ns is None
    assert (opening.reason, opening.cause) == (NOT_ARMED, 101)


def test_a_command_that_arrives_after_its_feedback_is_still_the_command(closed: Pack) -> None:
    closed.clock.advance(0.001)
    late = SwitchCommand(boot_ns=closed.clock.boot_ns(), reason=PROTECTION, configuration="open")
    late.closed = array("B", [0, 0, 0])
    closed.feedback(False, PROTECTION)
    closed.watch.command(late)
    (opening,) = closed.openings
    assert (opening.commanded_ns, opening.reason) == (late.boot_ns, PROTECTION)


def test_commands_after_the_opening_change_nothing(closed: Pack) -> None:
    closed.feedback(False, NOT_ARMED)
    closed.command(False, NOT_ARMED)
    closed.wait(1.0)
    closed.command(False, PROTECTION)
    (opening,) = closed.openings
    assert opening.commanded_ns is None


def test_an_opening_that_is_never_verified_says_so(closed: Pack) -> None:
    closed.command(False, SwitchCommand.REASON_FEEDBACK)
    for _ in range(20):
        closed.feedback(False, valid=False)
        closed.wait(0.5)
    (opening,) = closed.openings
    assert opening.opened_ns is None
    late_ns = closed.feedback(False)  # the board comes back after all
    (opening,) = closed.openings
    assert opening.opened_ns == late_ns


def test_held_closed_above_the_break_current_then_opened_is_one_opening(closed: Pack) -> None:
    closed.status(cause=101)
    closed.command(False, PROTECTION)
    for _ in range(10):
        closed.wait(0.1)
        closed.feedback(True)
    closed.feedback(False)
    assert len(closed.openings) == 1


def test_two_openings_in_short_order_are_two_in_one_frame(closed: Pack) -> None:
    for _ in range(2):
        closed.command(False, PROTECTION)
        closed.feedback(False, PROTECTION)
        closed.wait(0.1)
        closed.close()
    assert len(closed.openings) == 2
    assert closed.frame_count == 1


def test_an_open_pack_does_not_open(pack: Pack) -> None:
    pack.command(False, PROTECTION)
    for _ in range(3):
        pack.feedback(False)
    pack.feedback(False, valid=False)
    assert pack.stored == []


def test_a_step_between_closed_configurations_is_no_opening(closed: Pack) -> None:
    message = SwitchState(boot_ns=closed.clock.boot_ns(), board_valid=True)
    message.closed = array("B", [1, 0, 1])
    closed.watch.switches(message)
    assert closed.stored == []


@given(
    st.lists(
        st.sampled_from(
            ["command open", "command close", "open", "closed", "lost", "wait", "cause"]
        ),
        max_size=40,
    )
)
def test_each_verified_step_from_closed_to_open_is_one_opening(steps: list[str]) -> None:
    pack = Pack()
    closed, expected = False, 0
    for step in steps:
        if step.startswith("command"):
            pack.command(step == "command close", PROTECTION)
        elif step == "wait":
            pack.wait(0.3)
        elif step == "cause":
            pack.status(cause=101)
        else:
            pack.feedback(step == "closed", valid=step != "lost")
            expected += closed and step == "open"
            closed = closed if step == "lost" else step == "closed"
    openings = pack.openings
    assert sum(opening.opened_ns is not None for opening in openings) == expected
    assert len({opening.opened_ns for opening in openings if opening.opened_ns}) == expected
    assert all(o.opened_ns is None or o.opened_ns >= o.boot_ns for o in openings)


# What nobody recorded


def test_an_opening_while_nobody_recorded_is_told_at_the_next_start(pack: Pack) -> None:
    pack.watch.resume(closed_until_wall_ns=77)
    pack.status(cause=101)
    pack.feedback(False, valid=False)
    assert pack.stored == []  # nothing is known yet
    pack.feedback(False, NOT_ARMED)
    (opening,) = pack.openings
    assert (opening.closed_until_wall_ns, opening.opened_ns) == (77, None)
    assert opening.cause == 101
    assert math.isnan(opening.moment.current_a)
    pack.wait(1.0)
    pack.feedback(False)
    assert len(pack.openings) == 1


def test_a_restart_of_the_recorder_alone_is_no_opening(pack: Pack) -> None:
    pack.watch.resume(closed_until_wall_ns=77)
    pack.feedback(True)
    pack.command(False)
    pack.feedback(False)
    (opening,) = pack.openings
    assert opening.closed_until_wall_ns is None


def test_closing_is_stored_once(closed: Pack) -> None:
    closed.feedback(True)
    closed.feedback(True)
    assert len(closed.closings) == 1


# Freeze frames


def test_a_fault_that_demands_opening_triggers_a_frame_in_an_open_pack_too(pack: Pack) -> None:
    pack.fault(diagnosis=102)  # does not demand it
    pack.fault(severity=1)  # a lower limit of the same diagnosis
    pack.fault(age_s=60)  # kept for latecomers
    assert pack.frame_count == 0
    pack.fault()
    assert pack.frame_count == 1


def test_a_step_to_error_triggers_a_frame_once(pack: Pack) -> None:
    pack.watch.pack_state(PackState(state=PackState.STATE_ERROR))  # so it was when we came
    pack.watch.pack_state(PackState(state=PackState.STATE_STANDBY))
    assert pack.frame_count == 0
    for _ in range(3):
        pack.watch.pack_state(PackState(state=PackState.STATE_ERROR))
    assert pack.frame_count == 1


# The moment


def samples(pack: Pack, current_a: float) -> None:
    pack.record(PACK, PackMeasurement(current_a=current_a, voltage_v=350.0))
    scan = CellMeasurement()
    scan.voltage_v = array("f", [3.5, math.nan, 3.25, 4.5])
    scan.temperature_c = array("f", [25.0, 31.0])
    pack.record(CELLS, scan)


def test_current_and_extreme_cells_as_the_command_found_them(closed: Pack) -> None:
    samples(closed, -80.0)
    closed.command(False, PROTECTION)
    samples(closed, 0.0)
    closed.feedback(False, PROTECTION)
    moment = closed.openings[0].moment
    assert (moment.current_a, moment.voltage_v) == (-80.0, 350.0)
    assert (moment.lowest_voltage_v, moment.lowest_voltage_cell) == (3.25, 2)
    assert (moment.highest_voltage_v, moment.highest_voltage_cell) == (4.5, 3)
    assert (moment.lowest_temperature_c, moment.highest_temperature_sensor) == (25.0, 1)


def test_of_a_board_that_opened_by_itself_the_last_sample_while_closed_counts(
    closed: Pack,
) -> None:
    samples(closed, -80.0)
    closed.feedback(True)
    samples(closed, 0.0)  # it is open already, the feedback is on its way
    closed.feedback(False, NOT_ARMED)
    assert closed.openings[0].moment.current_a == -80.0


def test_what_was_not_measured_stays_unknown(closed: Pack) -> None:
    scan = CellMeasurement()
    scan.voltage_v = array("f", [math.nan] * 3)
    closed.record(CELLS, scan)
    closed.command(False)
    moment = closed.openings[0].moment
    assert math.isnan(moment.current_a)
    assert (moment.lowest_voltage_cell, moment.highest_temperature_sensor) == (-1, -1)
