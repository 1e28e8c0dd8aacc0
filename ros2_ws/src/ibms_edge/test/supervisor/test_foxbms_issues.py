# SPDX-License-Identifier: Apache-2.0
"""The situations of four open issues of github.com/foxBMS/foxbms-2, with this machine."""

from collections.abc import Callable
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.supervisor.inputs import Fault
from ibms_edge.supervisor.states import STAYS, Code, Place, State, Substate

World = Any
Worlds = Callable[..., Any]
FAULT = Fault(101, 7, "too high", latched=False)
LIMITED = [place for place, stay in STAYS.items() if stay.limits]


def closing(worlds: Worlds, pack: Pack) -> World:
    """Two strings; the first is connected, the second is asked for."""
    world = worlds(pack)
    world.run(0.2)
    world.machine.inputs.string_voltage_v = [44.0, 44.0]
    assert world.ask(State.DRIVE)[0] is Code.OK
    while world.wanted != "both":
        world.tick()
    world.show("closed", "closed")
    return world


# Issue 67: a substate only leads on to a check of the error flags that the one before has made
# already; faults are looked at in some substates and not in others.


def test_67_no_substate_only_leads_on() -> None:
    """Each waits for something that may not come: it can fail, or a person or fault ends it."""
    for place in LIMITED:
        assert len(STAYS[place].ways) > 1, place


def test_67_no_two_substates_of_a_state_are_the_same() -> None:
    for state in State:
        stays = [(stay.limits, stay.ways) for place, stay in STAYS.items() if place.state is state]
        assert len(set(stays)) == len(stays), state


@pytest.mark.parametrize("place", STAYS, ids=str)
def test_67_a_fault_is_acted_upon_in_the_next_step_of_every_substate(
    worlds: Worlds, place: Place
) -> None:
    world = worlds()
    world.go_to(place)
    world.judge(5, FAULT)
    world.tick()
    assert world.wanted == "open"
    assert world.ask(State.DRIVE)[0] is not Code.OK


# Issue 68: the second string never finishes closing, as its substate enters itself again, which
# restarts the time limit: it is left by neither success nor time.


def test_68_the_second_string_finishes_closing(worlds: Worlds, parallel_pack: Pack) -> None:
    world = closing(worlds, parallel_pack)
    world.show("transition", "both")
    world.tick()
    assert world.is_in(State.PRECHARGE)
    world.show("both", "both")
    world.tick()
    assert world.place == Place(State.DRIVE, Substate.CONNECTED)
    assert world.machine.text == "drive as requested"


def test_68_a_second_string_that_does_not_close_is_given_up_after_its_time(
    worlds: Worlds, parallel_pack: Pack
) -> None:
    world = closing(worlds, parallel_pack)
    world.show("transition", "both")
    took_s = world.run_until_moved(10.0)
    assert took_s is not None
    assert took_s <= world.machine.course.limits.closing_s + 0.1
    assert world.wanted == "open"
    assert "did not close" in world.machine.text


def test_68_nothing_restarts_the_time_of_closing(worlds: Worlds, parallel_pack: Pack) -> None:
    world = closing(worlds, parallel_pack)
    since_ns = world.machine.course.since_ns
    for configuration in ("transition", "closed", "transition", "precharge"):
        world.show(configuration)
        world.tick()
        world.ask(State.DRIVE)
    assert world.machine.course.since_ns == since_ns


# Issue 83: hang without a look at the error flags while the voltage of a further string is unfit.


def test_83_a_string_that_does_not_fit_delays_drive_but_does_not_hang(
    worlds: Worlds, parallel_pack: Pack
) -> None:
    world = closing(worlds, parallel_pack)
    world.machine.inputs.string_voltage_v = [44.0, 40.0]
    took_s = world.run_until_moved(10.0)
    assert took_s is not None
    assert took_s <= world.machine.course.limits.closing_s + 0.1
    assert world.place == Place(State.DRIVE, Substate.CONNECTED)
    assert "without right" in world.machine.text


@pytest.mark.parametrize("waited_s", [0.1, 0.8, 5.0])
def test_83_faults_are_acted_upon_while_a_string_does_not_fit(
    worlds: Worlds, parallel_pack: Pack, waited_s: float
) -> None:
    world = closing(worlds, parallel_pack)
    world.machine.inputs.string_voltage_v = [44.0, 40.0]
    world.run(waited_s)
    world.judge(5, FAULT)
    world.tick()
    assert world.wanted == "open"


def test_83_a_user_can_stop_it_while_a_string_does_not_fit(
    worlds: Worlds, parallel_pack: Pack
) -> None:
    world = closing(worlds, parallel_pack)
    world.machine.inputs.string_voltage_v = [44.0, 40.0]
    world.run(0.3)
    assert world.ask(State.STANDBY)[0] is Code.OK
    world.follows = True
    assert world.run(0.2) is State.STANDBY


# Issue 84: each retry of a step counts a closed string again, so that opening goes on for strings
# that are not there.


def test_84_what_is_connected_is_read_from_feedback_and_not_counted(
    worlds: Worlds, parallel_pack: Pack
) -> None:
    world = closing(worlds, parallel_pack)
    for _ in range(5):
        for configuration in ("transition", "closed"):
            world.show(configuration)
            world.tick()
    world.run(1.1)
    assert world.is_in(State.DRIVE)
    assert "without right" in world.machine.text
    world.ask(State.STANDBY)
    world.follows = True
    world.moves.clear()
    world.run(1.0)
    # One opening, and it is done when feedback shows all open.
    assert [after for _, after in world.moves] == [
        (State.DRIVE, Substate.OPENING),
        (State.STANDBY, Substate.OPEN),
    ]


def test_84_retries_leave_nothing_behind(worlds: Worlds, parallel_pack: Pack) -> None:
    world = worlds(parallel_pack)
    world.run(0.2)
    world.ask(State.DRIVE)
    for _ in range(2):  # two attempts in which the contactors do not close
        while world.wanted != "both":
            world.tick()
        world.show("transition")
        world.run_until_moved(2.0)
        world.heal()
    assert world.run(10.0) is State.DRIVE
    assert world.wanted == "both"
    world.ask(State.STANDBY)
    world.run(1.0)
    assert world.is_in(State.STANDBY)
    world.ask(State.DRIVE)
    assert world.machine.attempt == 1
