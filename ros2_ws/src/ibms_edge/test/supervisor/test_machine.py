# SPDX-License-Identifier: Apache-2.0
import math
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ibms_battery.pack import Pack, load_pack
from ibms_edge.supervisor.machine import (
    AUTOMATIC,
    REQUESTABLE,
    Code,
    PackSupervisor,
    State,
    Timing,
    Wish,
)
from ibms_edge.switching.controller import Reason
from ibms_msgs.msg import PackState
from ibms_msgs.srv import RequestPackState

MS = 1_000_000
ROOT = Path(__file__).resolve().parents[5]
PACK = load_pack(ROOT / "config" / "packs" / "robot_12s.yaml")
CONNECTED = (State.DRIVE, State.CHARGE)
# Longest time that any state which is not left by a request alone may take: PRECHARGE.
LONGEST_WAIT_S = 5.0


class World:
    """A supervisor among healthy inputs and switches that follow its wish."""

    def __init__(self, pack: Pack = PACK) -> None:
        self.now_ns = 1_000 * MS
        self.machine = PackSupervisor(pack, entered_ns=self.now_ns)
        self.status = self.switch = self.current = True
        self.follows = self.hears = True
        self.link_follows = True
        inputs = self.machine.inputs
        inputs.close_allowed = True
        inputs.configuration = "open"
        inputs.open_reason = Reason.REQUEST
        inputs.pack_voltage_v, inputs.link_voltage_v = 44.0, 0.0
        inputs.current_a = -30.0

    def tick(self, step_ms: int = 50) -> State:
        self.now_ns += step_ms * MS
        inputs = self.machine.inputs
        if self.status:
            inputs.status_boot_ns = self.now_ns
        if self.switch:
            inputs.switch_boot_ns = self.now_ns
            inputs.request_sequence = self.machine.wish.sequence if self.hears else None
        if self.current:
            inputs.current_boot_ns = self.now_ns
        if self.follows:
            inputs.configuration = self.machine.wish.configuration
        if self.link_follows:
            inputs.link_voltage_v = 0.0 if inputs.configuration == "open" else 44.0
        self.machine.step(self.now_ns)
        return self.machine.state

    def is_in(self, state: State) -> bool:
        return self.machine.state is state

    def run(self, seconds: float) -> State:
        for _ in range(round(seconds * 20)):
            self.tick()
        return self.machine.state

    def ask(self, state: State) -> tuple[Code, str]:
        return self.machine.request(int(state), self.now_ns)

    def go_to(self, state: State) -> None:
        self.run(0.2)
        if state is State.OFF:
            self.status = False
            self.run(1.0)
            self.status = True
        elif state is State.ERROR:
            self.go_to(State.DRIVE)
            self.machine.inputs.cause = 101
            self.machine.inputs.reaction = 4
            self.tick()
            self.machine.inputs.reaction = 0
            self.tick()
        elif state is State.PRECHARGE:
            self.follows = False
            assert self.ask(State.DRIVE)[0] is Code.OK
        elif state in CONNECTED:
            assert self.ask(state)[0] is Code.OK
            self.run(1.0)
        elif state is not State.STANDBY:
            assert self.ask(state)[0] is Code.OK
        assert self.is_in(state)


def at(state: State) -> World:
    world = World()
    world.go_to(state)
    return world


# Numbers shared with the interfaces


def test_states_and_codes_are_those_of_the_interfaces() -> None:
    for state in State:
        assert getattr(PackState, f"STATE_{state.name}") == state
    for code in Code:
        assert getattr(RequestPackState.Response, f"CODE_{code.name}") == code


# Every state and every request


@pytest.mark.parametrize("wanted", State)
@pytest.mark.parametrize("state", State)
def test_each_request_in_each_state_is_carried_out_or_refused_with_its_reason(
    state: State, wanted: State
) -> None:
    world = at(state)
    code, text = world.ask(wanted)
    if wanted not in REQUESTABLE[state]:
        assert code is Code.NOT_REACHABLE
        assert wanted.name.lower() in text
        assert state.name.lower() in text
        assert world.is_in(state)
        return
    assert code is Code.OK
    assert world.machine.requested is wanted
    world.follows = True
    assert world.run(LONGEST_WAIT_S) is wanted
    is_closed = wanted in CONNECTED
    assert world.machine.wish.configuration == ("closed" if is_closed else "open")


def test_an_unknown_state_is_refused() -> None:
    assert at(State.STANDBY).machine.request(99, 0) == (
        Code.UNKNOWN_STATE,
        "there is no pack state 99",
    )


# Every state and every input event


def _open_now(world: World) -> None:
    world.machine.inputs.reaction, world.machine.inputs.close_allowed = 4, False
    world.machine.inputs.cause, world.machine.inputs.cause_element = 101, 7


def _zero_current_first(world: World) -> None:
    _open_now(world)
    world.machine.inputs.reaction = 3


def _protection_silent(world: World) -> None:
    world.status = False


def _switch_control_silent(world: World) -> None:
    world.switch = False


def _closing_not_allowed(world: World) -> None:
    world.machine.inputs.close_allowed = False


def _switches_stuck(world: World) -> None:
    world.follows = False
    world.machine.inputs.configuration = "transition"


def _voltages_lost(world: World) -> None:
    world.link_follows = False
    world.machine.inputs.pack_voltage_v = world.machine.inputs.link_voltage_v = math.nan


def _current_lost(world: World) -> None:
    world.current = False
    world.machine.inputs.current_a = math.nan


O, S, P, D, C, R, E, X = State  # noqa: E741 - one letter per column of the table below
EVENTS: list[tuple[Callable[[World], None], tuple[State, ...]]] = [
    # in state:              OFF STA PRE DRI CHA RES ERR SHU   where the pack is 5 s later
    (_open_now, (S, S, E, E, E, R, E, X)),
    (_zero_current_first, (S, S, E, E, E, R, E, X)),
    (_protection_silent, (O, O, E, E, E, O, E, X)),
    (_switch_control_silent, (O, O, E, E, E, O, E, X)),
    (_closing_not_allowed, (S, S, D, D, C, R, E, X)),  # holding back is switch control's part
    (_switches_stuck, (E, E, E, E, E, E, E, E)),
    (_voltages_lost, (S, S, E, D, C, R, E, X)),
    (_current_lost, (S, S, D, D, C, R, E, X)),
]


@pytest.mark.parametrize(
    ("event", "state", "after"),
    [
        (event, state, after)
        for event, row in EVENTS
        for state, after in zip(State, row, strict=True)
    ],
)
def test_each_event_in_each_state_ends_in_a_known_state_within_its_time(
    event: Callable[[World], None], state: State, after: State
) -> None:
    world = at(state)
    world.follows = True
    event(world)
    assert world.run(LONGEST_WAIT_S) is after
    if after not in CONNECTED:
        assert world.machine.wish.configuration == "open"
    if after is State.ERROR and event in (_open_now, _zero_current_first) and state is not E:
        assert (world.machine.cause, world.machine.cause_element) == (101, 7)
    assert world.run(LONGEST_WAIT_S) is after


@pytest.mark.parametrize("state", CONNECTED)
def test_opening_now_is_wanted_in_the_next_step(state: State) -> None:
    world = at(state)
    _open_now(world)
    world.tick()
    assert world.is_in(State.ERROR)
    assert world.machine.wish.configuration == "open"


def test_a_board_that_opened_is_noticed_in_the_next_step() -> None:
    world = at(State.DRIVE)
    world.follows = False
    world.machine.inputs.configuration = "open"
    assert world.tick() is State.ERROR
    assert "unasked" in world.machine.text


# The way to closed


def test_precharge_wants_a_new_sequence_once_and_closes_within_it() -> None:
    world = World()
    world.run(0.2)
    before = world.machine.wish
    assert not before.arm
    world.ask(State.DRIVE)
    assert world.machine.wish == Wish("precharge", before.sequence + 1, True)
    world.run(1.0)
    assert world.machine.wish == Wish("closed", before.sequence + 1, True)


@pytest.mark.parametrize(
    ("pack_v", "link_v"), [(math.nan, 44.0), (44.0, math.nan), (0.0, 0.0), (44.0, 40.0)]
)
def test_it_never_wants_closed_before_the_link_is_precharged(pack_v: float, link_v: float) -> None:
    world = World()
    world.run(0.2)
    world.link_follows = False
    world.machine.inputs.pack_voltage_v = pack_v
    world.machine.inputs.link_voltage_v = link_v
    world.ask(State.DRIVE)
    while world.machine.state is State.PRECHARGE:
        assert world.machine.wish.configuration == "precharge"
        world.tick()
    assert world.machine.text == "precharge was not complete after 3.5 s"


def test_precharge_fails_after_its_time_and_says_if_protection_held_it_back() -> None:
    world = World()
    world.run(0.2)
    world.follows = False
    world.ask(State.DRIVE)
    world.machine.inputs.close_allowed = False
    assert world.run(3.4) is State.PRECHARGE
    assert world.run(0.3) is State.ERROR
    assert "protection did not allow closing" in world.machine.text


def test_a_pending_diagnosis_only_holds_closing_back() -> None:
    world = World()
    world.run(0.2)
    world.ask(State.DRIVE)
    world.machine.inputs.close_allowed = False
    world.tick()
    world.machine.inputs.close_allowed = True
    assert world.run(1.0) is State.DRIVE


@pytest.mark.parametrize("event", [_open_now, _zero_current_first])
def test_a_fault_ends_precharge_in_the_next_step(event: Callable[[World], None]) -> None:
    world = at(State.PRECHARGE)
    event(world)
    assert world.tick() is State.ERROR
    assert world.machine.wish.configuration == "open"


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.REQUEST, Reason.NOT_ARMED}))
def test_an_opening_by_switch_control_ends_precharge_once_it_had_the_wish(reason: Reason) -> None:
    world = at(State.PRECHARGE)
    world.hears = False
    world.machine.inputs.open_reason = reason
    assert world.tick() is State.PRECHARGE
    world.hears = True
    assert world.tick() is State.ERROR
    assert reason.name.lower().replace("_", " ") in world.machine.text


@pytest.mark.parametrize("event", [_protection_silent, _switch_control_silent])
def test_silence_ends_precharge_before_its_time(event: Callable[[World], None]) -> None:
    world = at(State.PRECHARGE)
    event(world)
    assert world.run(0.6) is State.ERROR
    assert "silent" in world.machine.text


def test_contactors_that_do_not_close_fail_after_their_time() -> None:
    world = World()
    world.run(0.2)
    world.ask(State.DRIVE)
    world.tick()
    assert world.machine.wish.configuration == "closed"
    world.follows = False
    world.machine.inputs.configuration = "transition"
    assert world.run(3.7) is State.PRECHARGE
    assert world.run(0.4) is State.ERROR
    assert "did not close in time" in world.machine.text


@pytest.mark.parametrize("wanted", CONNECTED)
@pytest.mark.parametrize("state", [State.STANDBY, State.REST])
def test_closing_is_refused_with_the_reason(state: State, wanted: State) -> None:
    world = at(state)
    inputs = world.machine.inputs
    inputs.close_allowed = False
    assert world.ask(wanted) == (
        Code.FAULT_STANDS,
        "protection forbids closing: not everything is measured yet",
    )
    inputs.cause = 171
    assert "diagnosis 171" in world.ask(wanted)[1]
    inputs.close_allowed = True
    inputs.configuration = "unknown"
    assert "not open but unknown" in world.ask(wanted)[1]
    inputs.configuration = "open"
    inputs.open_reason = Reason.STATUS_STALE
    assert world.ask(wanted)[1] == "switch control holds the pack open: status stale"
    inputs.open_reason = Reason.REQUEST
    inputs.request_sequence = None  # started anew: the first wish that it hears is void
    assert "has not heard" in world.ask(wanted)[1]
    assert world.is_in(state)
    assert world.machine.wish.configuration == "open"


# The way back over zero current


@pytest.mark.parametrize("state", CONNECTED)
def test_leaving_waits_for_zero_current(state: State) -> None:
    world = at(state)
    assert world.ask(State.STANDBY)[0] is Code.OK
    world.run(1.0)
    assert world.machine.zero_current_requested
    assert world.is_in(state)
    assert world.machine.wish.configuration == "closed"
    world.machine.inputs.current_a = 1.0
    world.run(0.2)
    assert world.is_in(State.STANDBY)
    assert not world.machine.zero_current_requested


@pytest.mark.parametrize(("is_heard", "current_a"), [(True, -30.0), (True, math.nan), (False, 0.0)])
def test_it_opens_after_its_time_whatever_flows(is_heard: bool, current_a: float) -> None:
    world = at(State.DRIVE)
    world.current = is_heard
    world.machine.inputs.current_a = current_a
    world.run(1.0)  # what was heard before is old by now
    world.ask(State.STANDBY)
    world.run(1.9)
    assert world.is_in(State.DRIVE)
    assert world.machine.wish.configuration == "closed"
    world.run(0.3)
    assert world.is_in(State.STANDBY)


def test_protection_gives_the_same_time_and_then_the_pack_is_in_error() -> None:
    world = at(State.DRIVE)
    _zero_current_first(world)
    world.tick()
    assert world.machine.zero_current_requested
    assert world.is_in(State.DRIVE)
    world.run(2.2)
    assert world.is_in(State.ERROR)
    assert world.machine.cause == 101


def test_a_second_request_changes_the_target_but_lengthens_nothing() -> None:
    world = at(State.DRIVE)
    world.ask(State.STANDBY)
    for _ in range(4):
        world.run(0.45)
        assert world.ask(State.REST)[0] is Code.OK
    assert world.is_in(State.DRIVE)
    world.run(0.4)
    assert world.is_in(State.REST)


def test_a_request_cannot_call_off_an_opening_that_protection_demands() -> None:
    world = at(State.DRIVE)
    _zero_current_first(world)
    world.tick()
    for wanted in (State.STANDBY, State.REST, State.DRIVE, State.SHUTDOWN):
        code, text = world.ask(wanted)
        assert code is Code.NOT_REACHABLE
        assert "protection asks for opening" in text
    world.run(2.2)
    assert world.is_in(State.ERROR)


def test_protection_takes_over_a_wait_that_a_user_began() -> None:
    world = at(State.DRIVE)
    world.ask(State.STANDBY)
    world.run(1.5)
    _zero_current_first(world)
    world.run(0.7)  # counted from the user's request on
    assert world.is_in(State.ERROR)
    assert world.machine.cause == 101


def test_a_request_to_stay_is_refused_once_opening_has_begun() -> None:
    world = at(State.DRIVE)
    world.ask(State.STANDBY)
    code, text = world.ask(State.DRIVE)
    assert code is Code.NOT_REACHABLE
    assert "opening for standby has begun" in text
    assert world.machine.requested is State.STANDBY


def test_contactors_that_do_not_open_end_in_error() -> None:
    world = at(State.DRIVE)
    world.machine.inputs.current_a = 0.0
    world.ask(State.STANDBY)
    world.run(0.2)
    world.follows = False
    assert world.run(1.0) is State.DRIVE
    assert world.run(0.3) is State.ERROR
    assert "did not open in time" in world.machine.text


# Error, shutdown, end


def test_error_is_left_only_when_faults_are_cleared_and_all_is_open() -> None:
    world = at(State.ERROR)
    world.machine.inputs.reaction = 4
    code, text = world.ask(State.STANDBY)
    assert code is Code.FAULT_STANDS
    assert "clear_faults" in text
    world.machine.inputs.reaction = 0
    world.machine.inputs.configuration = "transition"
    code, text = world.ask(State.STANDBY)
    assert code is Code.FAULT_STANDS
    assert "not open but transition" in text
    world.machine.inputs.configuration = "open"
    assert world.ask(State.STANDBY)[0] is Code.OK
    assert world.machine.cause == 0


def test_shutdown_is_no_way_round_the_faults() -> None:
    world = at(State.ERROR)
    world.machine.inputs.reaction = 4
    assert world.ask(State.SHUTDOWN)[0] is Code.OK
    assert world.ask(State.STANDBY)[0] is Code.FAULT_STANDS
    world.machine.inputs.reaction = 0
    assert world.ask(State.STANDBY)[0] is Code.OK


def test_a_supervisor_that_falls_silent_begins_anew_from_off() -> None:
    world = at(State.DRIVE)
    sequence = world.machine.wish.sequence
    world.machine.fall_silent(world.now_ns)
    assert world.machine.wish == Wish("open", sequence + 1, False)
    assert world.run(1.0) is State.STANDBY


def test_sequences_wrap() -> None:
    world = World()
    world.machine.wish = Wish("open", 0xFFFFFFFF, False)
    world.run(0.2)
    world.ask(State.DRIVE)
    assert world.machine.wish.sequence == 0


def test_a_pack_without_the_way_to_closed_is_refused() -> None:
    switching = msgspec.structs.replace(PACK.switching, transitions=PACK.switching.transitions[:2])
    with pytest.raises(ValueError, match="no way from 'precharge' to 'closed'"):
        PackSupervisor(msgspec.structs.replace(PACK, switching=switching))
    switching = msgspec.structs.replace(PACK.switching, configurations={"open": []})
    with pytest.raises(ValueError, match="no way from 'open' to 'precharge'"):
        PackSupervisor(msgspec.structs.replace(PACK, switching=switching))


# The drawing


def test_the_drawing_shows_what_the_machine_does() -> None:
    text = (ROOT / "docs" / "pack_states.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^ +([A-Z]+) --> ([A-Z]+): (request|auto)", text, re.MULTILINE))
    expected = set()
    for state, targets in REQUESTABLE.items():
        for wanted in targets - {state}:
            to = State.PRECHARGE if wanted in CONNECTED else wanted
            expected.add((state.name, to.name, "request"))
    for state, targets in AUTOMATIC.items():
        expected |= {(state.name, target.name, "auto") for target in targets}
    assert drawn == expected


# Random interleavings


class AnyOrder(RuleBasedStateMachine):
    """Inputs, requests and silences in any order against what must always hold."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.before = self.world.machine.state
        self.requested = False
        self.closed_sequences: set[int] = set()

    @rule(ticks=st.integers(1, 30))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.world.tick()
            self._observe()

    @rule(wanted=st.sampled_from(State))
    def user_asks(self, wanted: State) -> None:
        self.requested = self.world.ask(wanted)[0] is Code.OK
        self._observe()

    @rule(reaction=st.sampled_from([0, 0, 0, 1, 2, 3, 4]), allowed=st.booleans())
    def protection_judges(self, reaction: int, allowed: bool) -> None:
        self.world.machine.inputs.reaction = reaction
        self.world.machine.inputs.close_allowed = allowed and reaction < 3

    @rule(status=st.booleans(), switch=st.booleans(), current=st.booleans())
    def inputs_come_and_go(self, status: bool, switch: bool, current: bool) -> None:
        self.world.status, self.world.switch, self.world.current = status, switch, current

    @rule()
    def everything_heals(self) -> None:
        self.inputs_come_and_go(True, True, True)
        self.protection_judges(0, True)
        self.world.follows = True

    @rule(configuration=st.sampled_from(["open", "precharge", "closed", "transition", "unknown"]))
    def switches_do_as_they_like(self, configuration: str) -> None:
        self.world.follows = False
        self.world.machine.inputs.configuration = configuration

    @rule(current_a=st.sampled_from([0.0, -30.0, math.nan]))
    def current_flows(self, current_a: float) -> None:
        self.world.machine.inputs.current_a = current_a

    def _observe(self) -> None:
        machine = self.world.machine
        if machine.state is not self.before:
            allowed = AUTOMATIC[self.before] | REQUESTABLE[self.before]
            assert machine.state in allowed or (
                machine.state is State.PRECHARGE and set(CONNECTED) & REQUESTABLE[self.before]
            )
            self.before = machine.state
        if machine.wish.configuration != "open":
            assert machine.wish.arm
            self.closed_sequences.add(machine.wish.sequence)
        else:
            # A wish to open never carries the sequence of a wish to close.
            assert machine.wish.sequence not in self.closed_sequences

    @invariant()
    def only_precharge_and_connected_states_want_switches_closed(self) -> None:
        machine = self.world.machine
        if machine.wish.configuration != "open":
            assert machine.state in (State.PRECHARGE, *CONNECTED)

    @invariant()
    def no_wait_hangs(self) -> None:
        """From wherever it is: once all heals, every pending wait ends."""
        machine = self.world.machine
        waited_s = (self.world.now_ns - machine.entered_ns) / 1e9
        timing = Timing()
        if machine.state is State.PRECHARGE:
            limit_s = timing.arming_s + PACK.precharge.timeout_s + timing.closing_s
            assert waited_s <= limit_s + 0.1
        since_ns = machine._zero_current_since_ns
        if since_ns is not None:
            assert (self.world.now_ns - since_ns) / 1e9 <= (
                timing.zero_current_s + timing.opening_s + 0.2
            )


AnyOrder.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
TestAnyOrder = AnyOrder.TestCase


def test_nothing_can_be_asked_before_switch_control_has_heard_the_supervisor() -> None:
    world = World()
    world.hears = False
    assert world.run(2.0) is State.OFF
    assert world.ask(State.DRIVE)[0] is Code.NOT_REACHABLE
    world.hears = True
    assert world.tick() is State.STANDBY
