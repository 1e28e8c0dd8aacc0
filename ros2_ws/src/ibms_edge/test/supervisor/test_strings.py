# SPDX-License-Identifier: Apache-2.0
"""Parallel strings: as many as fit carry; the others join later, at rest only."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.supervisor.inputs import Inputs
from ibms_edge.supervisor.states import Limits, Place, State, Substate
from ibms_edge.supervisor.strings import Strings

World = Any
Worlds = Callable[..., Any]
REWIRING = (State.DRIVE, Substate.REWIRING)
CONNECTED = (State.DRIVE, Substate.CONNECTED)


def with_left_string_only(worlds: Worlds, pack: Pack) -> World:
    """In drive by the left string; the right one has 42 V, the link 44 V."""
    world = worlds(pack)
    world.run(0.2)
    world.machine.inputs.string_voltage_v = [44.0, 42.0]
    world.ask(State.DRIVE)
    while world.wanted != "both":
        world.tick()
    world.show("closed", "closed")
    while world.is_in(State.PRECHARGE):
        world.tick()
    assert world.place == CONNECTED
    return world


def test_a_pack_of_one_string_has_one_configuration_that_carries(world: World) -> None:
    strings = Strings(world.pack, Limits())
    assert strings.all_connected == "closed"
    carrying = filter(strings.carry, world.pack.switching.configurations)
    assert list(carrying) == ["closed"]
    assert strings.missing("closed") == []


def test_the_strings_that_a_configuration_leaves_out(parallel_pack: Pack) -> None:
    strings = Strings(parallel_pack, Limits())
    assert strings.all_connected == "both"
    assert strings.missing("closed") == ["right"]
    assert strings.missing("both") == []
    assert not strings.carry("closing")
    assert not strings.carry("precharge")


def test_all_strings_fit(worlds: Worlds, parallel_pack: Pack) -> None:
    world = worlds(parallel_pack)
    world.run(0.2)
    world.ask(State.DRIVE)
    assert world.run(0.5) is State.DRIVE
    assert world.wanted == "both"
    assert world.machine.text == "drive as requested"


def test_drive_is_reached_with_the_strings_that_fit_and_the_others_are_named(
    worlds: Worlds, parallel_pack: Pack
) -> None:
    world = worlds(parallel_pack)
    world.run(0.2)
    world.ask(State.DRIVE)
    while world.wanted != "both":
        world.tick()
    world.show("closed", "closed")
    took_s = world.run_until_moved(5.0)
    assert took_s == pytest.approx(2 * 0.5, abs=0.11)  # half a second per string
    assert world.place == CONNECTED
    assert world.machine.text == "drive as requested, without right: the voltage does not fit"
    # Switch control would connect it under load as soon as its voltage fits.
    assert world.wanted == "closed"


def test_no_string_fits(worlds: Worlds, parallel_pack: Pack) -> None:
    world = worlds(parallel_pack)
    world.run(0.2)
    world.ask(State.DRIVE)
    world.machine.inputs.waiting_for = "the voltage of string left"
    while world.wanted != "both":
        world.tick()
    world.show("precharge", "precharge")
    world.run(1.1)
    assert world.wanted == "open"
    assert "did not close within 1.0 s, switch control waits for the voltage of string left" in (
        world.machine.text
    )


def test_a_string_joins_at_rest_when_its_voltage_fits(worlds: Worlds, parallel_pack: Pack) -> None:
    world = with_left_string_only(worlds, parallel_pack)
    inputs = world.machine.inputs
    assert world.run(3.0) is State.DRIVE
    assert world.wanted == "closed"  # it does not fit
    inputs.string_voltage_v = [44.0, 43.8]
    world.tick()
    assert world.place == REWIRING
    assert world.wanted == "both"
    assert world.machine.text == "connecting string right"
    sequence = world.machine.course.wish.sequence
    world.show("transition", "both")
    world.tick()
    world.show("both", "both")
    world.tick()
    assert world.place == CONNECTED
    assert world.machine.text == "drive as requested"
    assert world.machine.course.wish.sequence == sequence
    assert world.run(3.0) is State.DRIVE


@pytest.mark.parametrize("why", ["current", "pending", "unmeasured", "silent current"])
def test_no_string_joins_otherwise(worlds: Worlds, parallel_pack: Pack, why: str) -> None:
    world = with_left_string_only(worlds, parallel_pack)
    inputs = world.machine.inputs
    inputs.string_voltage_v = [44.0, 43.8]
    if why == "current":
        inputs.current_a = -5.0
    elif why == "pending":
        world.judge(0, close_allowed=False)
    elif why == "unmeasured":
        inputs.string_voltage_v = [44.0, math.nan]
    else:
        world.current = False
        world.run(0.6)
    # What was quiet before does not count.
    world.tick()
    assert world.run(3.0) is State.DRIVE
    assert world.place == CONNECTED
    assert world.wanted == "closed"


def test_a_consumer_that_draws_calls_the_joining_off(worlds: Worlds, parallel_pack: Pack) -> None:
    world = with_left_string_only(worlds, parallel_pack)
    world.machine.inputs.string_voltage_v = [44.0, 43.8]
    world.run(1.1)
    assert world.place == REWIRING
    world.machine.inputs.current_a = -5.0
    world.tick()
    assert world.place == CONNECTED
    assert world.wanted == "closed"
    # Switch control was on its way: what is connected is wanted, and nothing is torn apart.
    world.show("both", "both")
    world.tick()
    assert world.place == CONNECTED
    assert world.wanted == "both"


def test_a_string_that_switch_control_does_not_take_is_not_asked_for_all_the_time(
    worlds: Worlds, parallel_pack: Pack
) -> None:
    world = with_left_string_only(worlds, parallel_pack)
    world.machine.inputs.string_voltage_v = [44.0, 43.8]
    world.moves.clear()
    world.run(15.5)
    joins = [after for _, after in world.moves if after == REWIRING]
    assert 5 <= len(joins) <= 10
    assert world.is_in(State.DRIVE)


def test_a_fault_comes_first_while_a_string_joins(worlds: Worlds, parallel_pack: Pack) -> None:
    world = with_left_string_only(worlds, parallel_pack)
    world.machine.inputs.string_voltage_v = [44.0, 43.8]
    world.run(1.1)
    assert world.place == REWIRING
    world.judge(5)
    world.tick()
    assert world.place == Place(State.ERROR, Substate.OPENING)


def test_a_voltage_that_protection_did_not_tell_fits_nothing(parallel_pack: Pack) -> None:
    strings = Strings(parallel_pack, Limits(joining_rest_s=0.0))
    inputs = Inputs(
        close_allowed=True,
        configuration="closed",
        link_voltage_v=44.0,
        current_boot_ns=1,
        current_a=0.0,
    )
    assert not strings.may_join(inputs, 1)
    inputs.string_voltage_v = [44.0, 44.0]
    assert strings.may_join(inputs, 1)
