# SPDX-License-Identifier: Apache-2.0
"""Requests, faults, silence, zero current, error: what users and protection may rely on."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ibms_edge.supervisor.inputs import Fault, Wish
from ibms_edge.supervisor.machine import PackSupervisor
from ibms_edge.supervisor.states import CONNECTED, Code, Place, State, Substate
from ibms_edge.switching.exchange import Reason

World = Any
Worlds = Callable[..., Any]
PASSING = Fault(101, 7, "cell_overvoltage: a cell's voltage is too high", latched=False)


def driving(worlds: Worlds, state: State = State.DRIVE) -> World:
    """Connected, with 30 A flowing, among switches that follow."""
    world = worlds()
    world.go_to(Place(state, Substate.CONNECTED))
    world.follows = True
    return world


# Requests


def test_an_unknown_state_is_refused(world: World) -> None:
    assert world.ask(99) == (Code.UNKNOWN_STATE, "there is no pack state 99")
    assert world.ask(-1)[0] is Code.UNKNOWN_STATE


def test_a_request_out_of_place_is_refused_with_the_reason(world: World) -> None:
    world.go_to(Place(State.OFF, Substate.WAITING))
    world.tick()
    code, text = world.ask(State.DRIVE)
    assert code is Code.NOT_REACHABLE
    assert text == "drive cannot be requested in state off (waiting for protection)"


def test_a_request_for_the_present_state_changes_nothing(worlds: Worlds) -> None:
    world = driving(worlds)
    assert world.ask(State.DRIVE) == (Code.OK, "already in drive")
    assert world.run(1.0) is State.DRIVE


@pytest.mark.parametrize("wanted", CONNECTED)
@pytest.mark.parametrize("state", [State.STANDBY, State.REST])
def test_closing_is_refused_with_what_stands_against_it(
    worlds: Worlds, state: State, wanted: State
) -> None:
    world = worlds()
    world.go_to(Place(state, Substate.OPEN))
    inputs = world.machine.inputs
    world.judge(0, close_allowed=False)
    inputs.cause = 105  # once, over by now
    assert world.ask(wanted) == (
        Code.FAULT_STANDS,
        "protection forbids closing: something is not measured yet or a diagnosis is being "
        "debounced",
    )
    world.judge(5, PASSING)
    assert world.ask(wanted) == (
        Code.FAULT_STANDS,
        "protection forbids closing: diagnosis 101, element 7 (cell_overvoltage: a cell's voltage "
        "is too high)",
    )
    world.judge(0, close_allowed=True)
    inputs.configuration = "unknown"
    assert "not open but unknown" in world.ask(wanted)[1]
    inputs.configuration = "open"
    inputs.open_reason = Reason.STATUS_STALE
    assert world.ask(wanted)[1] == "switch control holds the pack open: status stale"
    inputs.open_reason = Reason.REQUEST
    inputs.request_sequence = None  # started anew: the first wish that it hears is void
    assert "has not heard" in world.ask(wanted)[1]
    assert world.is_in(state)
    assert world.wanted == "open"


def test_closing_is_refused_as_soon_as_an_input_is_silent(world: World) -> None:
    world.run(0.2)
    world.now_ns += 600_000_000  # and no step in between
    code, text = world.ask(State.DRIVE)
    assert code is Code.NOT_REACHABLE
    assert text == "silence of protection and switch control or its board"


def test_nothing_can_be_asked_before_switch_control_has_heard_the_supervisor(world: World) -> None:
    world.hears = False
    assert world.run(2.0) is State.OFF
    assert world.ask(State.DRIVE)[0] is Code.NOT_REACHABLE
    world.hears = True
    assert world.tick() is State.STANDBY


def test_sequences_wrap(world: World) -> None:
    world.machine.course.wish = Wish("open", 0xFFFFFFFF, False)
    world.run(0.2)
    world.ask(State.DRIVE)
    assert world.machine.course.wish.sequence == 0


def test_a_supervisor_that_falls_silent_begins_anew_from_off(worlds: Worlds) -> None:
    world = driving(worlds)
    sequence = world.machine.course.wish.sequence
    world.machine.fall_silent(world.now_ns)
    assert world.machine.course.wish == Wish("open", sequence + 1, False)
    assert world.run(1.0) is State.STANDBY


@pytest.mark.parametrize(
    ("kept", "missing"), [(2, "'precharge' to 'closed'"), (0, "'open' to 'precharge'")]
)
def test_a_pack_without_the_way_to_closed_is_refused(world: World, kept: int, missing: str) -> None:
    pack = world.pack
    ways = pack.switching.transitions[:kept]
    switching = msgspec.structs.replace(pack.switching, transitions=ways)
    with pytest.raises(ValueError, match=f"no way from {missing}"):
        PackSupervisor(msgspec.structs.replace(pack, switching=switching))
    switching = msgspec.structs.replace(pack.switching, configurations={"open": []})
    with pytest.raises(ValueError, match="no way from 'open' to 'precharge'"):
        PackSupervisor(msgspec.structs.replace(pack, switching=switching))


# Faults and silence while connected


@pytest.mark.parametrize("state", CONNECTED)
def test_opening_at_once_is_wanted_in_the_next_step(worlds: Worlds, state: State) -> None:
    world = driving(worlds, state)
    world.judge(5, PASSING)
    world.tick()
    assert world.is_in(State.ERROR)
    assert world.wanted == "open"
    assert world.machine.course.cause == (101, 7)
    assert "cell_overvoltage" in world.machine.text


def test_isolating_an_element_leaves_the_state_alone(worlds: Worlds) -> None:
    world = driving(worlds)
    world.judge(3, Fault(120, 4), close_allowed=True)
    assert world.run(1.0) is State.DRIVE
    world.show("transition")
    world.tick()
    assert world.place == (State.DRIVE, Substate.REWIRING)
    assert world.wanted == "closed"
    assert not world.machine.zero_current_requested
    world.show("closed")
    world.tick()
    assert world.place == (State.DRIVE, Substate.CONNECTED)
    assert world.moves[-1] == ((State.DRIVE, Substate.REWIRING), (State.DRIVE, Substate.CONNECTED))


def test_a_change_of_the_wiring_that_does_not_end_is_an_error(worlds: Worlds) -> None:
    world = driving(worlds)
    world.show("transition")
    assert world.run(0.5) is State.DRIVE
    assert world.run(0.2) is State.ERROR
    assert "did not settle" in world.machine.text


def test_a_board_that_opened_is_noticed_in_the_next_step(worlds: Worlds) -> None:
    world = driving(worlds)
    world.show("open", reason=Reason.NOT_ARMED)
    assert world.tick() is State.ERROR
    assert world.machine.text == "opened unasked: not armed"
    assert world.machine.course.cause == (0, -1)


def test_an_opening_by_switch_control_is_noticed_before_the_contactors_moved(
    worlds: Worlds,
) -> None:
    world = driving(worlds)
    world.show("closed", "open", Reason.STATUS_STALE)
    assert world.tick() is State.ERROR
    assert world.machine.text == "opened unasked: status stale"


def test_the_cause_is_told_though_switch_control_was_heard_before_protection(
    worlds: Worlds,
) -> None:
    world = driving(worlds)
    world.show("transition", "open", Reason.PROTECTION)
    assert world.tick() is State.ERROR
    assert world.machine.course.cause == (0, -1)
    world.judge(5, PASSING)
    world.tick()
    assert world.machine.course.cause == (101, 7)


def test_an_error_without_a_fault_blames_no_fault_of_the_past(worlds: Worlds) -> None:
    world = driving(worlds)
    world.machine.inputs.cause = 105  # first since the last clear, over by now
    world.status = False
    assert world.run(0.7) is State.ERROR
    assert world.machine.text == "silence of protection"
    assert world.machine.course.cause == (0, -1)


def test_contactors_that_hold_for_the_fuse_are_told_and_given_time(worlds: Worlds) -> None:
    world = driving(worlds)
    pack = world.pack
    assert pack.fuse is not None
    world.judge(5, PASSING)
    world.show("closed", "closed", Reason.BREAK_CURRENT_HOLD)
    world.machine.inputs.break_current_hold = True
    assert world.tick() is State.ERROR
    assert "held closed, because the current is above what they can break" in world.machine.text
    world.run(1.0 + pack.fuse.clearing_time_s - 0.2)
    assert world.place == (State.ERROR, Substate.OPENING)
    world.run(0.4)
    assert world.place == (State.ERROR, Substate.NOT_OPEN)
    world.machine.inputs.break_current_hold = False
    world.show("open", "open", Reason.PROTECTION)
    world.tick()
    assert world.place == (State.ERROR, Substate.OPEN)
    assert "held closed" not in world.machine.text


def test_an_opening_by_switch_control_is_noticed_while_it_holds_for_the_fuse(
    worlds: Worlds,
) -> None:
    world = driving(worlds)
    world.show("closed", "closed", Reason.BREAK_CURRENT_HOLD)
    world.machine.inputs.break_current_hold = True
    assert world.tick() is State.ERROR
    assert world.machine.text.startswith("opened unasked: break current hold; the contactors are")


def test_holding_for_the_fuse_gives_no_further_time_once_it_is_over(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(State.DRIVE, Substate.OPENING))
    world.machine.inputs.break_current_hold = True
    world.run(0.2)
    world.machine.inputs.break_current_hold = False
    limit_s = 1.0 + world.pack.fuse.clearing_time_s
    assert world.run(limit_s - 0.4) is State.DRIVE
    assert world.run(0.6) is State.ERROR


# The way back over zero current


@pytest.mark.parametrize("state", CONNECTED)
def test_leaving_waits_for_zero_current(worlds: Worlds, state: State) -> None:
    world = driving(worlds, state)
    assert world.ask(State.STANDBY)[0] is Code.OK
    world.run(1.0)
    assert world.machine.zero_current_requested
    assert world.place == (state, Substate.ZERO_CURRENT)
    assert world.wanted == "closed"
    world.machine.inputs.current_a = 1.0
    world.run(0.2)
    assert world.is_in(State.STANDBY)
    assert not world.machine.zero_current_requested


@pytest.mark.parametrize(("is_heard", "current_a"), [(True, -30.0), (True, math.nan), (False, 0.0)])
def test_it_opens_after_its_time_whatever_flows(
    worlds: Worlds, is_heard: bool, current_a: float
) -> None:
    world = driving(worlds)
    world.current = is_heard
    world.machine.inputs.current_a = current_a
    world.run(1.0)  # what was heard before is old by now
    world.ask(State.STANDBY)
    world.run(1.9)
    assert world.is_in(State.DRIVE)
    assert world.wanted == "closed"
    world.run(0.3)
    assert world.is_in(State.STANDBY)


def test_protection_gives_the_same_time_and_then_the_pack_is_in_error(worlds: Worlds) -> None:
    world = driving(worlds)
    world.judge(4, PASSING)
    world.tick()
    assert world.machine.zero_current_requested
    assert world.is_in(State.DRIVE)
    assert "zero current, then opening: diagnosis 101" in world.machine.text
    world.run(2.2)
    assert world.is_in(State.ERROR)
    assert world.machine.course.cause[0] == 101


def test_the_cause_is_kept_though_the_fault_recovers_while_waiting(worlds: Worlds) -> None:
    world = driving(worlds)
    world.judge(4, PASSING)
    world.tick()
    world.judge(0, close_allowed=True)
    assert world.run(2.2) is State.ERROR
    assert world.machine.course.cause == (101, 7)


def test_a_second_request_changes_the_target_but_lengthens_nothing(worlds: Worlds) -> None:
    world = driving(worlds)
    world.ask(State.STANDBY)
    for _ in range(4):
        world.run(0.45)
        assert world.ask(State.REST)[0] is Code.OK
    assert world.is_in(State.DRIVE)
    world.run(0.4)
    assert world.is_in(State.REST)


def test_a_request_cannot_call_off_an_opening_that_protection_demands(worlds: Worlds) -> None:
    world = driving(worlds)
    world.judge(4, PASSING)
    world.tick()
    world.judge(0, close_allowed=True)  # not even when the fault is over
    for wanted in (State.STANDBY, State.REST, State.DRIVE, State.SHUTDOWN):
        code, text = world.ask(wanted)
        assert code is Code.NOT_REACHABLE
        assert "protection asks for opening" in text
    world.run(2.2)
    assert world.is_in(State.ERROR)


def test_protection_takes_over_a_wait_that_a_user_began(worlds: Worlds) -> None:
    world = driving(worlds)
    world.ask(State.STANDBY)
    world.run(1.5)
    world.judge(4, PASSING)
    world.run(0.7)  # counted from the user's request on
    assert world.is_in(State.ERROR)
    assert world.machine.course.cause[0] == 101


def test_a_request_to_stay_is_refused_once_opening_has_begun(worlds: Worlds) -> None:
    world = driving(worlds)
    world.ask(State.STANDBY)
    code, text = world.ask(State.DRIVE)
    assert code is Code.NOT_REACHABLE
    assert "opening for standby has begun" in text
    assert world.machine.requested is State.STANDBY


def test_contactors_that_do_not_open_end_in_error(worlds: Worlds) -> None:
    world = driving(worlds)
    world.machine.inputs.current_a = 0.0
    world.ask(State.STANDBY)
    world.run(0.2)
    world.show("closed")
    assert world.run(1.0) is State.DRIVE
    assert world.run(0.3) is State.ERROR
    assert "did not open in time, they are closed" in world.machine.text


# Error, shutdown, end


def test_error_is_left_only_when_faults_are_cleared_and_all_is_open(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(State.ERROR, Substate.OPEN))
    world.judge(5, PASSING)
    code, text = world.ask(State.STANDBY)
    assert code is Code.FAULT_STANDS
    assert "clear_faults" in text
    assert "cell_overvoltage" in text
    world.judge(0, close_allowed=True)
    world.show("transition")
    code, text = world.ask(State.STANDBY)
    assert code is Code.FAULT_STANDS
    assert "not open but transition" in text
    world.show("open")
    assert world.ask(State.STANDBY)[0] is Code.OK
    assert world.machine.course.cause == (0, -1)


def test_closing_cannot_be_asked_for_in_error(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(State.ERROR, Substate.OPEN))
    world.heal()
    assert world.ask(State.DRIVE)[0] is Code.NOT_REACHABLE


def test_shutdown_is_no_way_round_the_faults(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(State.ERROR, Substate.OPEN))
    world.judge(5, PASSING)
    assert world.ask(State.SHUTDOWN)[0] is Code.OK
    assert world.ask(State.STANDBY)[0] is Code.FAULT_STANDS
    world.judge(0, close_allowed=True)
    assert world.ask(State.STANDBY)[0] is Code.OK


def test_after_shutdown_silence_is_expected(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(State.SHUTDOWN, Substate.OPEN))
    world.status = world.switch = False
    assert world.run(10.0) is State.SHUTDOWN


# Odd time stamps


@pytest.mark.parametrize("ahead_s", [-10.0, 10.0])
def test_stamps_that_are_far_off_count_as_silence(worlds: Worlds, ahead_s: float) -> None:
    world = driving(worlds)
    world.status = False
    world.machine.inputs.status_boot_ns = world.now_ns + round(ahead_s * 1e9)
    assert world.tick() is State.ERROR


def test_a_jump_of_time_ends_the_drive_and_no_wait_survives_it(worlds: Worlds) -> None:
    world = driving(worlds)
    world.ask(State.STANDBY)
    world.status = world.switch = False
    assert world.tick(3_600_000) is State.ERROR
    assert world.wanted == "open"
