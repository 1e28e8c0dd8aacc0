# SPDX-License-Identifier: Apache-2.0
"""Tests of what is made of an injected fault."""

from array import array

import pytest

from ibms_battery.pack import Pack
from ibms_msgs.msg import Event, SwitchCommand, SwitchState
from ibms_tools.demo.arguments import injection
from ibms_tools.demo.trip import Trip

MS = 1_000_000
SENT = 1_000 * MS


@pytest.fixture
def trip(pack: Pack) -> Trip:
    return Trip(injection("cell_voltage:5@10", pack), sent_ns=SENT)


def fault_set(at_ms: int, source: str = "protection") -> Event:
    return Event(
        boot_ns=SENT + at_ms * MS,
        source=source,
        kind=Event.KIND_FAULT_SET,
        diagnosis=101,
        text="a cell voltage is too high: 4.5 (element 5)",
    )


def command(at_ms: int, closed: list[int], reason: int) -> SwitchCommand:
    message = SwitchCommand(boot_ns=SENT + at_ms * MS, reason=reason)
    message.closed = array("B", closed)
    return message


def switches(at_ms: int, closed: list[int], valid: bool = True) -> SwitchState:
    message = SwitchState(boot_ns=SENT + at_ms * MS, board_valid=valid)
    message.closed = array("B", closed)
    return message


def test_a_trip_is_told_with_cause_and_times(trip: Trip) -> None:
    trip.on_event(fault_set(62))
    trip.on_event(fault_set(90))
    trip.on_command(command(64, [0, 0, 0], SwitchCommand.REASON_PROTECTION))
    trip.on_switch(switches(70, [1, 1, 0]))
    trip.on_switch(switches(81, [0, 0, 0]))
    trip.on_switch(switches(131, [0, 0, 0]))
    trip.state = "error (protection demands opening)"
    values = {result.name: result.value for result in trip.results(1)}
    assert values == {
        "demo.inject.1.cell_voltage.diagnosis": 101,
        "demo.inject.1.cell_voltage.diagnosed_ms": 62.0,
        "demo.inject.1.cell_voltage.commanded_ms": 64.0,
        "demo.inject.1.cell_voltage.opened_ms": 81.0,
    }
    context = trip.results(1)[0].context
    assert "a cell voltage is too high: 4.5 (element 5)" in context
    assert "pack state afterwards: error (protection demands opening)" in context


def test_what_came_before_or_has_another_cause_does_not_count(trip: Trip) -> None:
    trip.on_event(fault_set(-1))
    trip.on_event(fault_set(5, source="afe_driver"))
    trip.on_command(command(-1, [0, 0, 0], SwitchCommand.REASON_PROTECTION))
    trip.on_command(command(5, [0, 0, 0], SwitchCommand.REASON_REQUEST))
    trip.on_command(command(6, [1, 0, 0], SwitchCommand.REASON_PROTECTION))
    trip.on_switch(switches(-1, [0, 0, 0]))
    trip.on_switch(switches(5, [0, 0, 0], valid=False))
    assert {result.value for result in trip.results(1)} == {None}


def test_nothing_counts_before_it_was_injected(pack: Pack) -> None:
    trip = Trip(injection("cell_voltage@10", pack))
    trip.on_event(fault_set(62))
    assert trip.diagnosed_ns is None
    assert trip.note() == "cell_voltage cell 0 = 4.5 V will be injected 10 s after drive"


def test_a_refusal_of_the_simulation_is_told(trip: Trip) -> None:
    trip.problem = "the simulated pack did not answer"
    assert trip.note() == (
        "cell_voltage cell 5 = 4.5 V not injected: the simulated pack did not answer"
    )
