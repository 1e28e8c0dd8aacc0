# SPDX-License-Identifier: Apache-2.0
"""The node: requests as a service, faults by name, what goes out on its topics."""

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection.table import load_table
from ibms_edge.supervisor.node import PackSupervisorNode
from ibms_edge.supervisor.states import State
from ibms_edge.switching.exchange import Reason
from ibms_msgs.msg import Event, PackMeasurement, PackState, ProtectionStatus, SwitchState
from ibms_msgs.srv import RequestPackState
from ibms_ros_common.diagnostics import ERROR, OK, Status

Start = Callable[..., Any]
Code = RequestPackState.Response


class Supervised:
    """The node among a healthy protection and switches that follow its wish."""

    def __init__(self, alone: Any, table: Path) -> None:
        self.alone = alone
        self.table = load_table(table)
        self.status = ProtectionStatus(
            close_allowed=True, configuration_crc=self.table.checksum(), first_cause_element=-1
        )
        self.current_a = 0.0
        self.sensor_status = 0
        self.switch = SwitchState(configuration="open", open_reason=int(Reason.REQUEST))

    def run(self, seconds: float) -> PackState:
        for _ in range(round(seconds * 20)):
            self.alone.hear("protection/status", self.status)
            sample = PackMeasurement(
                current_a=self.current_a,
                valid=PackMeasurement.VALID_CURRENT,
                status=self.sensor_status,
            )
            self.alone.hear("pack/measurement", sample)
            wishes = [m for topic, m in self.alone.sent if topic == "switch/request"]
            if wishes:
                wish = wishes[-1]
                self.switch.request_sequence = wish.sequence
                self.switch.configuration = wish.configuration
                self.switch.requested_configuration = wish.configuration
                self.switch.pack_voltage_v = 44.0
                self.switch.link_voltage_v = 0.0 if wish.configuration == "open" else 44.0
            self.alone.hear("switch/state", self.switch)
            self.alone.advance(0.05)
        return self.state

    @property
    def state(self) -> PackState:
        state = self.alone.newest("pack/state")
        assert isinstance(state, PackState)
        return state

    def ask(self, state: int) -> Any:
        request = RequestPackState.Request(state=state, requester="test")
        return self.alone.node._on_request(request, RequestPackState.Response())

    def events(self) -> list[Event]:
        return [message for topic, message in self.alone.sent if topic == "events"]

    def fault(self, identifier: int, reaction: int, element: int = -1) -> None:
        status = self.status
        status.reaction, status.close_allowed = reaction, False
        status.first_cause, status.first_cause_element = identifier, element
        status.active_diagnosis = array("H", [identifier])
        status.active_reaction = array("B", [reaction])
        status.active_element = array("i", [element])


@pytest.fixture
def supervised(start: Start, config: Path, pack: Pack) -> Supervised:
    found = Supervised(start(PackSupervisorNode), config / "diagnoses" / pack.diagnoses)
    found.run(0.2)
    return found


def row_of(supervised: Supervised, latched: bool) -> Any:
    return next(row for row in supervised.table.diagnoses if row.latched is latched)


def test_a_request_is_answered_and_the_way_is_shown(supervised: Supervised) -> None:
    answer = supervised.ask(State.DRIVE)
    assert (answer.success, answer.code) == (True, 0)
    assert answer.message == "arming for drive, attempt 1 of 3"
    assert supervised.state.state == PackState.STATE_PRECHARGE
    assert supervised.state.substate == "arming"
    assert supervised.state.precharge_attempt == 1
    assert supervised.state.requested_state == PackState.STATE_DRIVE
    state = supervised.run(0.5)
    assert state.state == PackState.STATE_DRIVE
    assert state.substate == "connected"
    assert state.precharge_attempt == 0
    texts = [event.text for event in supervised.events() if event.kind == Event.KIND_STATE_CHANGED]
    assert texts[-2:] == [
        "standby -> precharge: arming for drive, attempt 1 of 3",
        "precharge -> drive: drive as requested",
    ]


def test_closing_waits_for_the_current_of_the_pack_sensor(supervised: Supervised) -> None:
    supervised.current_a = -3.0
    supervised.ask(State.DRIVE)
    assert supervised.run(1.0).substate == "precharging"
    supervised.current_a = 0.0
    supervised.sensor_status = PackMeasurement.SENSOR_SELF_TEST_FAILED
    assert supervised.run(0.2).substate == "precharging"
    supervised.sensor_status = 0
    assert supervised.run(0.2).state == PackState.STATE_DRIVE


def test_a_refusal_names_the_fault_by_the_table(supervised: Supervised) -> None:
    row = row_of(supervised, latched=True)
    supervised.fault(row.id, ProtectionStatus.REACTION_OPEN_NOW, element=7)
    supervised.run(0.1)
    answer = supervised.ask(State.DRIVE)
    assert (answer.success, answer.code) == (False, Code.CODE_FAULT_STANDS)
    assert f"diagnosis {row.id}, element 7 ({row.name}: {row.text})" in answer.message
    last = supervised.events()[-1]
    assert (last.kind, last.severity) == (Event.KIND_REQUEST, Event.SEVERITY_WARNING)
    assert last.text == f"test asks for drive: {answer.message}"


def test_a_state_that_does_not_exist_is_refused_and_told(supervised: Supervised) -> None:
    answer = supervised.ask(99)
    assert (answer.success, answer.code) == (False, Code.CODE_UNKNOWN_STATE)
    told = supervised.events()[-1]
    assert told.text == "test asks for state 99: there is no pack state 99"


def test_a_fault_of_another_table_has_no_name_and_no_attempt_follows_it(
    supervised: Supervised,
) -> None:
    row = row_of(supervised, latched=False)
    supervised.ask(State.DRIVE)
    supervised.status.configuration_crc ^= 1
    supervised.fault(row.id, ProtectionStatus.REACTION_OPEN_NOW)
    state = supervised.run(0.1)
    assert state.state == PackState.STATE_ERROR
    assert state.cause == row.id
    assert row.name not in state.text


def test_an_attempt_follows_a_fault_that_recovers_by_itself(supervised: Supervised) -> None:
    row = row_of(supervised, latched=False)
    supervised.ask(State.DRIVE)
    supervised.fault(row.id, ProtectionStatus.REACTION_OPEN_NOW)
    state = supervised.run(0.05)
    assert (state.state, state.substate) == (PackState.STATE_PRECHARGE, "opening")
    failed = supervised.events()[-1]
    assert (failed.kind, failed.severity) == (Event.KIND_STATE_CHANGED, Event.SEVERITY_WARNING)
    assert "attempt 1 of 3" in failed.text
    assert supervised.run(0.1).substate == "pause before retry"


def test_a_weaker_fault_is_not_taken_for_one_that_opens(supervised: Supervised) -> None:
    row = row_of(supervised, latched=True)
    supervised.ask(State.DRIVE)
    supervised.run(0.5)
    supervised.fault(row.id, ProtectionStatus.REACTION_ISOLATE, element=3)
    assert supervised.run(1.0).state == PackState.STATE_DRIVE
    supervised.switch.break_current_hold = True
    assert "held closed" in supervised.run(0.1).text


def test_the_wish_is_repeated_ten_times_per_second(supervised: Supervised) -> None:
    supervised.alone.sent.clear()
    supervised.run(1.0)
    wishes = [m for topic, m in supervised.alone.sent if topic == "switch/request"]
    assert 10 <= len(wishes) <= 11
    assert len({wish.sequence for wish in wishes}) == 1
    assert not any(wish.arm for wish in wishes)


def test_what_is_not_active_says_so_and_wants_open(supervised: Supervised) -> None:
    supervised.ask(State.DRIVE)
    supervised.run(0.5)
    before = supervised.alone.newest("switch/request")
    supervised.alone.node.trigger_deactivate()
    wish = supervised.alone.newest("switch/request")
    assert wish.configuration == "open"
    assert wish.sequence > before.sequence
    answer = supervised.ask(State.DRIVE)
    assert (answer.success, answer.code) == (False, Code.CODE_NOT_ACTIVE)


def test_a_restarted_supervisor_begins_above_every_sequence_used_before(
    supervised: Supervised, start: Start
) -> None:
    for _ in range(5):
        supervised.ask(State.DRIVE)
        supervised.run(0.5)
        supervised.ask(State.STANDBY)
        supervised.run(0.5)
    used = supervised.alone.newest("switch/request").sequence
    restarted = start(PackSupervisorNode)
    restarted.clock.set(supervised.alone.clock.boot_ns())
    restarted.node.trigger_deactivate()
    restarted.node.trigger_cleanup()
    restarted.node.trigger_configure()
    restarted.node.trigger_activate()
    restarted.advance(0.1)
    assert restarted.newest("switch/request").sequence > used


def test_diagnostics_show_where_the_pack_is(supervised: Supervised) -> None:
    status = Status()
    supervised.alone.node._report_state(status)
    assert (status.values["state"], status.values["substate"]) == ("standby", "open")
    assert status.level == OK
    supervised.ask(State.DRIVE)
    supervised.fault(row_of(supervised, latched=True).id, ProtectionStatus.REACTION_OPEN_NOW)
    supervised.run(0.1)
    supervised.alone.node._report_state(status)
    assert status.level == ERROR
    assert status.message == supervised.state.text
