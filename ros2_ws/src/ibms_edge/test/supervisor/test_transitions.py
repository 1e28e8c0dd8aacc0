# SPDX-License-Identifier: Apache-2.0
"""Every transition is walked: generated from the tables, by what can happen in each place.

In each place each thing happens, then time passes: the machine goes exactly where the table says,
and leaves each limited place within its limit.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest

from ibms_edge.supervisor.inputs import Fault
from ibms_edge.supervisor.states import (
    CONNECTED,
    DISCONNECTED,
    LEAVING,
    REQUESTABLE,
    STAYS,
    Code,
    Place,
    State,
    Substate,
)
from ibms_edge.switching.exchange import Reason

World = Any
PLACES = list(STAYS)
PASSING, LATCHED = Fault(101, 7, "too high", latched=False), Fault(171, -1, "interlock")
LONGER_THAN_ANY_LIMIT_S = 12.0


def name_of(place: Place) -> str:
    return f"{place.state.name.lower()}-{place.substate}"


def _as_it_is(_world: World) -> None:
    """Nothing happens but time."""


def _heals(world: World) -> None:
    world.heal()


def _opens(world: World) -> None:
    world.show("open", "open")


def _opens_by_itself(world: World) -> None:
    world.show("open", "open", Reason.NOT_ARMED)


def _moves_without_end(world: World) -> None:
    world.show("transition")


def _demands_opening(world: World) -> None:
    world.judge(5, PASSING)


def _demands_opening_until_acknowledged(world: World) -> None:
    world.judge(5, LATCHED)


def _demands_zero_current(world: World) -> None:
    world.judge(4, PASSING)


def _protection_silent(world: World) -> None:
    world.status = False


def _switch_control_silent(world: World) -> None:
    world.switch = False


def _holds_back(world: World) -> None:
    world.judge(0, close_allowed=False)


def _voltages_unmeasured(world: World) -> None:
    inputs = world.machine.inputs
    world.link_follows = False
    inputs.pack_voltage_v = inputs.link_voltage_v = math.nan


def _precharges(world: World) -> None:
    world.show("precharge", "precharge")
    world.machine.inputs.link_voltage_v = 44.0


def _closes(world: World) -> None:
    world.show("closed", "closed")


def _asked_for(wanted: State) -> Callable[[World], None]:
    """On the way back another target may be asked for: a request that moves nothing at once."""

    def ask(world: World) -> None:
        if world.place.state in CONNECTED and world.place.substate in LEAVING:
            world.ask(wanted)
        world.heal()

    return ask


EVENTS = [
    _as_it_is,
    _heals,
    _opens,
    _opens_by_itself,
    _moves_without_end,
    _demands_opening,
    _demands_opening_until_acknowledged,
    _demands_zero_current,
    _protection_silent,
    _switch_control_silent,
    _holds_back,
    _voltages_unmeasured,
    _precharges,
    _closes,
    _asked_for(State.REST),
    _asked_for(State.SHUTDOWN),
]


def at(worlds: Callable[[], World], place: Place, target: State = State.DRIVE) -> World:
    world = worlds()
    world.go_to(place, target)
    return world


@pytest.mark.parametrize("place", PLACES, ids=name_of)
def test_what_can_happen_leads_exactly_where_the_table_says(
    worlds: Callable[[], World], place: Place
) -> None:
    reached = set()
    # What precharge leads to was asked for before.
    targets = CONNECTED if place.state is State.PRECHARGE else (State.DRIVE,)
    for event in EVENTS:
        for target in targets:
            world = at(worlds, place, target)
            event(world)
            world.run_until_moved(LONGER_THAN_ANY_LIMIT_S)
            if world.place != place:
                reached.add(world.place)
    assert reached == STAYS[place].ways


@pytest.mark.parametrize("place", [place for place in PLACES if STAYS[place].limits], ids=name_of)
def test_a_limited_place_is_left_within_its_limit_whatever_happens(
    worlds: Callable[[], World], place: Place
) -> None:
    for event in EVENTS:
        world = at(worlds, place)
        event(world)
        # Measured from when the place was entered; steps are 50 ms apart.
        limit_s = world.machine.course.limits.longest_s(STAYS[place].limits, held=False)
        took_s = world.run_until_moved(LONGER_THAN_ANY_LIMIT_S)
        assert took_s is not None, event.__name__
        assert took_s <= limit_s + 0.1, event.__name__


@pytest.mark.parametrize("place", PLACES, ids=name_of)
def test_every_place_has_a_way_out(place: Place) -> None:
    assert STAYS[place].ways
    assert STAYS[place].ways <= set(PLACES)


def test_every_place_can_be_reached() -> None:
    reached = {place for stay in STAYS.values() for place in stay.ways}
    reached |= {
        asked_way(place, wanted)
        for place in PLACES
        for wanted in REQUESTABLE[place.state] - {place.state}
    }
    assert reached == set(PLACES)


def asked_way(place: Place, wanted: State) -> Place:
    """Where an accepted request for another state leads at once."""
    if wanted in CONNECTED:
        return Place(State.PRECHARGE, Substate.ARMING)
    if place.state in CONNECTED:
        leaving = place.substate in LEAVING
        return place if leaving else Place(place.state, Substate.ZERO_CURRENT)
    return Place(wanted, Substate.OPENING)


@pytest.mark.parametrize("wanted", State)
@pytest.mark.parametrize("place", PLACES, ids=name_of)
def test_each_request_in_each_place_is_answered_and_carried_out_or_refused(
    worlds: Callable[[], World], place: Place, wanted: State
) -> None:
    world = at(worlds, place)
    wish = world.machine.course.wish
    code, text = world.ask(wanted)
    assert text
    if code is not Code.OK:
        assert world.place == place
        assert world.machine.course.wish == wish
        return
    assert wanted in REQUESTABLE[place.state]
    assert world.machine.requested is wanted
    expected = place if wanted is place.state else asked_way(place, wanted)
    assert world.place == expected
    world.heal()
    assert world.run(LONGER_THAN_ANY_LIMIT_S) is wanted


@pytest.mark.parametrize("wanted", State)
@pytest.mark.parametrize(
    "place",
    [
        Place(state, Substate.CONNECTED if state in CONNECTED else Substate.OPEN)
        for state in (*CONNECTED, *DISCONNECTED)
    ],
    ids=name_of,
)
def test_a_healthy_resting_pack_takes_every_request_of_the_table(
    worlds: Callable[[], World], place: Place, wanted: State
) -> None:
    world = at(worlds, place)
    assert (world.ask(wanted)[0] is Code.OK) == (wanted in REQUESTABLE[place.state])
