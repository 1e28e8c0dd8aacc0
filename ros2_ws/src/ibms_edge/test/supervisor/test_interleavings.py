# SPDX-License-Identifier: Apache-2.0
"""Random inputs, silences, odd values, requests and jumps of time against what must always hold."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ibms_battery.pack import Pack
from ibms_edge.supervisor.inputs import Fault
from ibms_edge.supervisor.states import (
    CONNECTED,
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
PASSING, LATCHED = Fault(101, 7, "too high", latched=False), Fault(171, -1, "interlock")
VOLTAGES = st.sampled_from([44.0, 44.0, 43.9, 20.0, 0.0, -1.0, math.nan, math.inf])
CONFIGURATIONS = ["open", "precharge", "closing", "closed", "both", "transition", "unknown", ""]


class AnyOrder(RuleBasedStateMachine):
    """The model remembers what was handed over, not how the machine decides."""

    worlds: ClassVar[list[Callable[[], World]]]  # one of them is begun with

    @initialize(index=st.integers(0, 1))
    def begin(self, index: int) -> None:
        self.world = self.worlds[index]()
        self.asked: set[Place] = set()  # where accepted requests may have led to
        self.before = self.world.place
        self.arms = 0
        self.sequences_of_openings: set[int] = set()
        self.sequences_of_closings: set[int] = set()
        self.condemned = False  # protection has demanded opening since the pack was connected
        self.demanded_ns: int | None = None

    # What happens

    @rule(ticks=st.integers(1, 30))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.world.tick()
            self._stepped()

    @rule(jump_ms=st.sampled_from([0, 1, 700, 5_000, 3_600_000]))
    def time_jumps(self, jump_ms: int) -> None:
        self.world.tick(jump_ms)
        self._stepped()

    @rule(wanted=st.one_of(st.sampled_from(State), st.integers(-300, 300)))
    def user_asks(self, wanted: int) -> None:
        place, wish = self.world.place, self.world.machine.course.wish
        code, text = self.world.ask(wanted)
        assert isinstance(code, Code)
        assert text
        if code is Code.OK:
            assert wanted in REQUESTABLE[place.state]
            self._check_request(place, State(wanted))
        else:
            assert (self.world.place, self.world.machine.course.wish) == (place, wish)
        self._look()

    @rule(
        reaction=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]),
        faults=st.sampled_from([(), (PASSING,), (LATCHED,), (PASSING, LATCHED)]),
        allowed=st.booleans(),
    )
    def protection_judges(self, reaction: int, faults: tuple[Fault, ...], allowed: bool) -> None:
        demands = reaction >= 4
        self.world.judge(
            reaction, *(faults if demands else ()), close_allowed=allowed and not demands
        )

    @rule(status=st.booleans(), switch=st.booleans(), current=st.booleans(), hears=st.booleans())
    def inputs_come_and_go(self, status: bool, switch: bool, current: bool, hears: bool) -> None:
        world = self.world
        world.status, world.switch, world.current, world.hears = status, switch, current, hears

    @rule(
        configuration=st.sampled_from(CONFIGURATIONS),
        commanded=st.sampled_from(CONFIGURATIONS),
        reason=st.sampled_from(Reason),
        holds=st.booleans(),
    )
    def switches_do_as_they_like(
        self, configuration: str, commanded: str, reason: Reason, holds: bool
    ) -> None:
        self.world.show(configuration, commanded, reason)
        self.world.machine.inputs.break_current_hold = holds

    @rule(pack_v=VOLTAGES, link_v=VOLTAGES, strings_v=st.lists(VOLTAGES, max_size=3))
    def voltages_are_odd(self, pack_v: float, link_v: float, strings_v: list[float]) -> None:
        inputs = self.world.machine.inputs
        self.world.link_follows = False
        inputs.pack_voltage_v, inputs.link_voltage_v = pack_v, link_v
        inputs.string_voltage_v = strings_v

    @rule(current_a=st.sampled_from([0.0, 0.3, -30.0, 1e9, math.nan, math.inf]))
    def current_flows(self, current_a: float) -> None:
        self.world.machine.inputs.current_a = current_a

    @rule(
        stamp=st.sampled_from(["status_boot_ns", "switch_boot_ns", "current_boot_ns"]),
        value=st.one_of(st.none(), st.integers(0, 1 << 63)),
        sequence=st.integers(0, 0xFFFFFFFF),
    )
    def stamps_are_odd(self, stamp: str, value: int | None, sequence: int) -> None:
        setattr(self.world.machine.inputs, stamp, value)
        self.world.machine.inputs.request_sequence = sequence
        self.world.machine.step(self.world.now_ns)
        self._stepped()

    @rule()
    def everything_heals(self) -> None:
        self.world.heal()
        self.world.machine.inputs.pack_voltage_v = 44.0

    @rule(wanted=st.sampled_from([State.DRIVE, State.CHARGE]))
    def user_drives(self, wanted: State) -> None:
        """So that the machine gets somewhere at all."""
        self.everything_heals()
        self.time_passes(4)
        for step in (State.STANDBY, wanted):
            self.user_asks(step)
            self.time_passes(8)

    # What must hold

    def _check_request(self, place: Place, wanted: State) -> None:
        after = self.world.place
        if wanted in CONNECTED and wanted is not place.state:
            inputs = self.world.machine.inputs
            assert inputs.close_allowed
            assert inputs.reaction < 4
            assert inputs.configuration == "open"
            assert after == (State.PRECHARGE, Substate.ARMING)
            self.arms = 0
        elif place.state in CONNECTED and wanted is not place.state:
            leaving = place.substate in LEAVING
            assert after == (place if leaving else (place.state, Substate.ZERO_CURRENT))
        else:
            expected = place if wanted is place.state else (wanted, Substate.OPENING)
            assert after == expected
        self.before = after

    def _stepped(self) -> None:
        """After a step of the machine."""
        machine, world = self.world.machine, self.world
        after = world.place
        if after != self.before:
            assert after in STAYS[self.before].ways, (self.before, after)
        demands = machine.inputs.reaction >= 4
        if self.condemned:
            assert after.state not in (State.PRECHARGE, State.STANDBY, State.REST, State.SHUTDOWN)
        if after.state in CONNECTED:
            self.condemned |= demands
        elif after.state in (State.ERROR, State.OFF):
            self.condemned = False
        self._check_demand(demands)
        # No substate is stayed in beyond its limit. A step comes 50 ms later, or after a jump.
        limit_s = machine.course.limits.longest_s(STAYS[after].limits, held=True)
        assert world.now_ns - machine.course.since_ns <= limit_s * 1e9
        self._look()

    def _check_demand(self, demands: bool) -> None:
        """Closed is not wanted while protection demands opening, but for the zero-current time."""
        machine, now_ns = self.world.machine, self.world.now_ns
        if not demands:
            self.demanded_ns = None
            return
        if self.demanded_ns is None:
            self.demanded_ns = now_ns
        if machine.course.wish.configuration == "open":
            return
        assert machine.inputs.reaction == 4
        assert machine.state in CONNECTED
        assert now_ns - self.demanded_ns <= machine.course.limits.zero_current_s * 1e9

    def _look(self) -> None:
        """At the wish: a closing never carries the sequence of an opening, nor the other way."""
        wish = self.world.machine.course.wish
        if wish.configuration == "open":
            assert wish.sequence not in self.sequences_of_closings
            self.sequences_of_openings.add(wish.sequence)
        else:
            assert wish.arm
            assert wish.sequence not in self.sequences_of_openings
            if wish.sequence not in self.sequences_of_closings:
                self.arms += 1
            self.sequences_of_closings.add(wish.sequence)
        # One request brings no more attempts than the pack asks for.
        assert self.arms <= self.world.pack.precharge.attempts
        self.before = self.world.place

    @invariant()
    def only_precharge_and_connected_states_want_switches_closed(self) -> None:
        machine = self.world.machine
        if machine.course.wish.configuration != "open":
            assert machine.state in (State.PRECHARGE, *CONNECTED)

    @invariant()
    def zero_current_is_asked_for_before_a_connected_pack_opens(self) -> None:
        machine = self.world.machine
        if machine.state in CONNECTED and machine.course.wish.configuration == "open":
            assert machine.zero_current_requested

    @invariant()
    def everything_is_said(self) -> None:
        machine = self.world.machine
        assert machine.text
        assert machine.course.place in STAYS
        assert (machine.attempt > 0) == (machine.state is State.PRECHARGE)


@pytest.fixture
def model(worlds: Callable[..., World], parallel_pack: Pack) -> type[AnyOrder]:
    begins: list[Callable[[], World]] = [worlds, lambda: worlds(parallel_pack)]
    return type("Model", (AnyOrder,), {"worlds": begins})


def test_any_order(model: type[AnyOrder]) -> None:
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
        ),
    )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_any_order_for_long(model: type[AnyOrder]) -> None:
    run_state_machine_as_test(
        model, settings=settings(max_examples=1_500, stateful_step_count=60, deadline=None)
    )


@pytest.mark.parametrize("index", [0, 1])
def test_the_model_reaches_drive(model: type[AnyOrder], index: int) -> None:
    """The machine above would prove nothing if it never closed."""
    run = model()
    run.begin(index)
    run.user_drives(State.DRIVE)
    assert run.world.is_in(State.DRIVE)
    assert run.arms == 1
