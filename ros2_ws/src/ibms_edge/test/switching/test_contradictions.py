# SPDX-License-Identifier: Apache-2.0
"""Contacts that contradict: three frames establish it, and how it is told."""

from dataclasses import replace
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.switching.contradictions import STAYS_CLOSED, STAYS_OPEN, Contradictions
from ibms_edge.switching.exchange import FeedbackInput, Permit, Reason, Timing
from ibms_msgs.msg import SwitchState

Bench = Any  # of conftest.py
MS = 1_000_000
OPEN, CLOSED = 0b000, 0b011
NEGATIVE, POSITIVE = 0b001, 0b010
LIMIT_MS = 80  # closing time of a main contactor and the margin


def test_the_values_are_those_of_the_message() -> None:
    assert STAYS_OPEN == SwitchState.MISMATCH_STAYS_OPEN
    assert STAYS_CLOSED == SwitchState.MISMATCH_STAYS_CLOSED


def show(bench: Bench, *masks: int) -> None:
    """Frames at 100 Hz, whatever is commanded, with a step for each."""
    for mask in masks:
        bench.board = replace(bench.board, closed=mask)
        bench.tick(step_ms=10)


def carry(bench: Bench, current_a: float) -> None:
    """A current flows; from now on the contacts show what a test says."""
    bench.run(10)
    bench.current_a = current_a
    bench.tick()
    bench.follows = False
    bench.sent.clear()


@pytest.mark.parametrize("bounces", [1, 2])
def test_an_auxiliary_contact_that_bounces_opens_nothing(closed: Bench, bounces: int) -> None:
    closed.run(10)
    closed.sent.clear()
    closed.follows = False
    for _ in range(10):
        show(closed, *[NEGATIVE] * bounces, CLOSED)
    assert closed.controller.commanded == "closed"
    assert set(closed.commands) == {CLOSED}
    assert closed.controller.shown_mismatch(closed.now_ns) == [0, 0, 0]
    assert all(actions.permit is not None for actions in closed.sent)


def test_two_contacts_that_bounce_one_after_the_other_are_no_contradiction(closed: Bench) -> None:
    closed.run(10)
    closed.follows = False
    show(closed, NEGATIVE, POSITIVE, NEGATIVE, POSITIVE)
    assert closed.controller.commanded == "closed"


def test_a_contactor_that_drops_out_opens_with_the_third_frame(closed: Bench) -> None:
    closed.run(10)
    closed.follows = False
    began_ns = closed.now_ns
    show(closed, NEGATIVE, NEGATIVE)
    assert closed.controller.commanded == "closed"
    show(closed, NEGATIVE)
    assert closed.controller.commanded == "open"
    assert closed.controller.reason is Reason.FEEDBACK
    assert closed.controller.shown_mismatch(closed.now_ns) == [0, STAYS_OPEN, 0]
    assert closed.now_ns - began_ns == 30 * MS  # of 300: one frame until it shows, two more


def test_a_contact_that_bounces_is_no_opening(closed: Bench) -> None:
    """Above the break current an opening would use up the whole life of the contactor."""
    carry(closed, -300.0)
    show(closed, NEGATIVE, NEGATIVE, CLOSED, NEGATIVE, CLOSED)
    assert closed.told == []


def test_a_contactor_that_drops_out_is_told_with_the_current_at_its_first_frame(
    closed: Bench,
) -> None:
    closed.run(10)
    closed.current_a = -20.0
    for _ in range(3):
        closed.tick(step_ms=10)
    closed.follows = False
    closed.sent.clear()
    closed.current_a = -5.0
    show(closed, NEGATIVE, NEGATIVE)
    assert closed.told == []
    show(closed, NEGATIVE, NEGATIVE)
    assert closed.told == ["main_positive opened at -20.0 A"]


def test_one_frame_handed_over_three_times_is_one(closed: Bench) -> None:
    closed.run(10)
    closed.follows = False
    show(closed, NEGATIVE)
    for _ in range(5):
        closed.controller.feedback(closed.board)
        closed.step()
    assert closed.controller.commanded == "closed"


@pytest.mark.parametrize("bounces", [1, 3])
def test_a_contradicting_contact_ends_no_hold(closed: Bench, bounces: int) -> None:
    closed.run(10)
    closed.current_a = -300.0
    closed.tick()
    closed.demand()
    assert closed.controller.is_held
    closed.follows = False
    closed.sent.clear()
    show(closed, *[NEGATIVE] * bounces)
    assert closed.controller.is_held
    # The board has to be kept from opening by itself.
    assert closed.sent[-1].permit == Permit(closed.scan, False)


def test_a_contradiction_above_the_break_current_is_held_for_the_fuse_and_ends(
    closed: Bench,
) -> None:
    closed.run(10)
    closed.current_a = -300.0
    closed.tick()
    closed.follows = False
    show(closed, NEGATIVE, NEGATIVE, NEGATIVE)
    assert closed.controller.is_held
    assert closed.controller.shown_mismatch(closed.now_ns) == [0, STAYS_OPEN, 0]
    began_ns = closed.now_ns
    while closed.controller.is_held:
        show(closed, NEGATIVE)
    assert closed.now_ns - began_ns <= 1_010 * MS
    assert closed.controller.commanded_mask == OPEN
    assert closed.controller.reason is Reason.FEEDBACK


def test_a_contradiction_below_the_break_current_keeps_the_order(closed: Bench) -> None:
    carry(closed, -20.0)
    show(closed, POSITIVE, POSITIVE, POSITIVE)  # main_negative says that it is open
    assert closed.commands[-1] == NEGATIVE  # the other one suits the current
    show(closed, OPEN)
    assert closed.commands[-1] == OPEN


def test_what_is_shown_keeps_its_sense_whatever_follows(closed: Bench) -> None:
    """While it is shown the switch is commanded open and may be anything."""
    closed.run(10)
    closed.follows = False
    show(closed, NEGATIVE, NEGATIVE, NEGATIVE)
    show(closed, CLOSED, CLOSED)  # it closes after all, too late
    assert closed.controller.commanded == "open"
    assert closed.controller.shown_mismatch(closed.now_ns) == [0, STAYS_OPEN, 0]
    show(closed, *[CLOSED] * 10)  # now both stay closed: that is another contradiction
    assert closed.controller.shown_mismatch(closed.now_ns) == [STAYS_CLOSED, STAYS_CLOSED, 0]


# The core by itself


@pytest.fixture
def contradictions(pack: Pack) -> Contradictions:
    """Has seen the open board for long."""
    core = Contradictions(pack.switching.switches, Timing())
    for now_ms in range(10, 200, 10):
        core.feedback(frame(now_ms, OPEN))
    assert core.established == 0
    return core


def frame(now_ms: int, closed: int, armed: bool = True) -> FeedbackInput:
    return FeedbackInput(now_ms * MS, closed, armed, False, 1)


def test_before_the_first_frames_nothing_is_known_to_agree(pack: Pack) -> None:
    """A board that is found closed gets no permit, not even for two frames."""
    core = Contradictions(pack.switching.switches, Timing())
    core.feedback(frame(1000, CLOSED))
    assert core.established == CLOSED
    core.feedback(frame(1010, OPEN))
    assert core.established == 0


def test_a_contactor_that_does_not_move_is_known_with_its_time_and_not_later(
    contradictions: Contradictions,
) -> None:
    contradictions.command(CLOSED, 200 * MS)
    for now_ms in range(210, 200 + LIMIT_MS + 1, 10):
        contradictions.feedback(frame(now_ms, NEGATIVE))
        assert contradictions.established == 0
    contradictions.feedback(frame(200 + LIMIT_MS + 10, NEGATIVE))
    assert contradictions.established == POSITIVE


def test_frames_from_before_the_command_count_nothing(contradictions: Contradictions) -> None:
    contradictions.command(NEGATIVE, 200 * MS)
    for now_ms in (190, 195, 200):
        contradictions.feedback(frame(now_ms, OPEN))
    contradictions.feedback(frame(300, OPEN))
    contradictions.feedback(frame(310, OPEN))
    assert contradictions.established == 0
    contradictions.feedback(frame(320, OPEN))
    assert contradictions.established == NEGATIVE


def test_moving_one_switch_makes_nothing_of_another_forgotten(
    contradictions: Contradictions,
) -> None:
    for now_ms in (200, 210, 220):
        contradictions.feedback(frame(now_ms, NEGATIVE))
    assert contradictions.established == NEGATIVE
    contradictions.command(POSITIVE, 225 * MS)
    assert contradictions.established == NEGATIVE


def test_more_switches_than_there_are_contradict(contradictions: Contradictions) -> None:
    for now_ms in (200, 210, 220):
        contradictions.feedback(frame(now_ms, 1 << 7))
    assert contradictions.established == 1 << 7


def test_a_board_that_opened_by_itself_contradicts_nothing(
    contradictions: Contradictions,
) -> None:
    contradictions.command(CLOSED, 200 * MS)
    for now_ms in range(210, 400, 10):
        contradictions.feedback(frame(now_ms, OPEN, armed=False))
    assert contradictions.established == 0
