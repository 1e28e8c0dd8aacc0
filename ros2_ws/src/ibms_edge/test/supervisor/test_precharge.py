# SPDX-License-Identifier: Apache-2.0
"""Precharge: complete by voltage and current; tried again for what passes, not for what stands."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ibms_battery.pack import load_pack
from ibms_edge.supervisor.inputs import Fault, Wish
from ibms_edge.supervisor.states import Code, Place, State, Substate
from ibms_edge.switching.exchange import Reason

World = Any
Worlds = Callable[..., Any]
PASSING = Fault(101, 7, "cell_overvoltage: a cell's voltage is too high", latched=False)
LATCHED = Fault(171, -1, "interlock_open: the interlock loop is open", latched=True)
PAUSE = (State.PRECHARGE, Substate.PAUSE)
ARMING = (State.PRECHARGE, Substate.ARMING)


def precharging(worlds: Worlds, substate: Substate = Substate.PRECHARGING) -> World:
    """In precharge, with switches that follow and a link that stays empty."""
    world = worlds()
    world.go_to(Place(State.PRECHARGE, substate))
    world.follows = True
    return world


def test_precharge_wants_a_new_sequence_once_and_closes_within_it(world: World) -> None:
    world.run(0.2)
    before = world.machine.course.wish
    assert not before.arm
    world.ask(State.DRIVE)
    assert world.machine.course.wish == Wish("precharge", before.sequence + 1, True)
    world.run(1.0)
    assert world.machine.course.wish == Wish("closed", before.sequence + 1, True)
    assert world.is_in(State.DRIVE)
    assert world.machine.attempt == 0


@pytest.mark.parametrize(
    ("pack_v", "link_v", "current_a", "complete"),
    [
        (44.0, 44.0, 0.0, True),
        (44.0, 43.0, -0.5, True),  # 1 V over 20 ohm lets 50 mA flow, beside the sensor's 0.5 A
        (44.0, 43.0, -0.6, False),
        (44.0, 43.0, 0.6, False),
        (44.0, 44.0, 2.2, False),  # something else than the resistor connects both sides
        (44.0, 40.0, 0.0, False),
        (44.0, 50.0, 0.0, False),
        (math.nan, 44.0, 0.0, False),
        (44.0, math.nan, 0.0, False),
        (44.0, 44.0, math.nan, False),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_precharge_is_complete_by_voltage_and_current(
    worlds: Worlds, pack_v: float, link_v: float, current_a: float, complete: bool
) -> None:
    world = precharging(worlds)
    inputs = world.machine.inputs
    inputs.pack_voltage_v, inputs.link_voltage_v = pack_v, link_v
    inputs.current_a = current_a
    world.run(0.5)
    assert world.wanted == ("closed" if complete else "precharge")


def test_an_old_sample_of_current_completes_nothing(worlds: Worlds) -> None:
    world = precharging(worlds)
    world.current = False
    world.run(0.6)
    world.machine.inputs.link_voltage_v = 44.0
    world.run(0.6)
    assert world.wanted == "precharge"


def test_too_slow_is_tried_again_after_a_pause_and_then_fails_with_its_cause(
    worlds: Worlds,
) -> None:
    world = precharging(worlds)
    pack = world.pack
    sequences = []
    for attempt in range(1, pack.precharge.attempts + 1):
        assert world.machine.attempt == attempt
        sequences.append(world.machine.course.wish.sequence)
        world.run(pack.precharge.timeout_s + 0.1)
        if attempt == pack.precharge.attempts:
            break
        assert world.wanted == "open"
        assert world.machine.text == (
            "precharge was not complete after 2.0 s: the link has 0.0 V of 44.0 V "
            f"(attempt {attempt} of 3)"
        )
        world.tick()
        assert world.place == PAUSE
        paused_s = world.run_until_moved(10.0)
        assert paused_s == pytest.approx(pack.precharge.pause_s, abs=0.06)
        assert world.place == ARMING
        world.tick()
    assert world.is_in(State.ERROR)
    assert "precharge was not complete" in world.machine.text
    assert "(attempt 3 of 3)" in world.machine.text
    # Each attempt is a new wish, else switch control would take it for one that was overtaken.
    assert sequences == sorted(set(sequences))


def test_a_pack_may_ask_for_one_attempt_only(worlds: Worlds) -> None:
    pack = worlds().pack
    once = msgspec.structs.replace(
        pack, precharge=msgspec.structs.replace(pack.precharge, attempts=1)
    )
    world = worlds(once)
    world.run(0.2)
    world.follows = False
    world.ask(State.DRIVE)
    assert world.run(1.7) is State.ERROR
    assert "(attempt 1 of 1)" in world.machine.text


def test_what_held_it_back_is_said(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(*ARMING))
    world.judge(0, close_allowed=False)
    world.machine.inputs.waiting_for = "the link to discharge"
    world.run(1.6)
    assert world.machine.text == (
        "the switches did not begin to close within 1.5 s, protection did not allow closing, "
        "switch control waits for the link to discharge (attempt 1 of 3)"
    )


def test_a_pending_diagnosis_only_holds_closing_back(world: World) -> None:
    world.run(0.2)
    world.ask(State.DRIVE)
    world.judge(0, close_allowed=False)
    world.tick()
    world.judge(0, close_allowed=True)
    assert world.run(1.0) is State.DRIVE


@pytest.mark.parametrize("reaction", [4, 5])
@pytest.mark.parametrize("substate", [Substate.ARMING, Substate.PRECHARGING, Substate.CLOSING])
def test_a_fault_opens_in_the_next_step_and_one_that_passes_is_waited_for(
    worlds: Worlds, substate: Substate, reaction: int
) -> None:
    world = precharging(worlds, substate)
    world.judge(reaction, PASSING)
    world.tick()
    assert world.wanted == "open"
    assert world.place == (State.PRECHARGE, Substate.OPENING)
    world.run(5.0)  # longer than the pause: the fault still stands
    assert world.place == PAUSE
    world.heal()
    assert world.run(0.5) is State.DRIVE
    assert world.machine.course.cause == (0, -1)


def test_a_fault_that_does_not_pass_in_time_ends_it(worlds: Worlds) -> None:
    world = precharging(worlds)
    world.judge(5, PASSING)
    assert world.run(9.0) is State.ERROR
    assert world.machine.text.startswith("no further attempt: protection forbids closing: diag")
    assert world.machine.course.cause == (101, 7)


@pytest.mark.parametrize(
    "substate",
    [
        Substate.ARMING,
        Substate.PRECHARGING,
        Substate.CLOSING,
        Substate.OPENING,
        Substate.PAUSE,
    ],
)
@pytest.mark.parametrize("faults", [(LATCHED,), (PASSING, LATCHED), ()])
def test_no_attempt_follows_a_fault_that_needs_a_person(
    worlds: Worlds, substate: Substate, faults: tuple[Fault, ...]
) -> None:
    """Latched; or demanded by protection without a name, so that nothing is known about it."""
    world = precharging(worlds, substate)
    world.judge(5, *faults)
    world.tick()
    assert world.is_in(State.ERROR)
    assert world.wanted == "open"
    world.judge(0, close_allowed=True)
    assert world.run(20.0) is State.ERROR


@pytest.mark.parametrize(
    "reason", sorted(set(Reason) - {Reason.REQUEST, Reason.NOT_ARMED, Reason.PROTECTION})
)
def test_a_broken_chain_ends_precharge_once_switch_control_had_the_wish(
    worlds: Worlds, reason: Reason
) -> None:
    """After a loss in the chain somebody has to ask again; the supervisor does not by itself."""
    world = worlds()
    world.go_to(Place(*ARMING))
    world.hears = False
    world.machine.inputs.open_reason = reason
    assert world.tick() is State.PRECHARGE
    world.hears = True
    assert world.tick() is State.ERROR
    assert reason.name.lower().replace("_", " ") in world.machine.text


def test_a_bypass_during_precharge_is_no_opening(worlds: Worlds) -> None:
    world = precharging(worlds)
    world.machine.inputs.open_reason = Reason.ISOLATE
    world.tick()
    assert world.place == (State.PRECHARGE, Substate.PRECHARGING)


def test_an_opening_for_protection_that_was_seen_first_may_pass(worlds: Worlds) -> None:
    world = precharging(worlds)
    world.show("open", "open", Reason.PROTECTION)
    world.tick()
    assert world.place == (State.PRECHARGE, Substate.OPENING)
    world.heal()
    assert world.run(4.0) is State.DRIVE


@pytest.mark.parametrize("substate", [Substate.PRECHARGING, Substate.CLOSING])
def test_a_board_that_opens_by_itself_ends_precharge(worlds: Worlds, substate: Substate) -> None:
    world = precharging(worlds, substate)
    world.show("open", "open", Reason.NOT_ARMED)
    assert world.tick() is State.ERROR
    assert "opened by itself" in world.machine.text


@pytest.mark.parametrize("what", ["status", "switch"])
def test_silence_ends_precharge_before_its_time(worlds: Worlds, what: str) -> None:
    world = precharging(worlds)
    setattr(world, what, False)
    assert world.run(0.6) is State.ERROR
    assert "silence of" in world.machine.text


def test_contactors_that_do_not_close_are_tried_again_and_then_fail(worlds: Worlds) -> None:
    world = worlds()
    world.run(0.2)
    world.ask(State.DRIVE)
    for _ in range(3):
        while world.wanted != "closed":
            world.tick()
        world.show("transition")
        world.run(0.6)
        assert world.wanted == "open"
        world.heal()
        world.tick()
    assert world.is_in(State.ERROR)
    assert "the contactors did not close within 0.5 s (attempt 3 of 3)" in world.machine.text


def test_contactors_that_do_not_open_before_the_retry_end_in_error(worlds: Worlds) -> None:
    world = precharging(worlds)
    world.follows = False
    assert world.run(2.1 + 0.9) is State.PRECHARGE
    assert world.run(0.3) is State.ERROR
    assert "did not open in time" in world.machine.text


def test_the_resistor_cools_before_a_user_may_try_again(worlds: Worlds) -> None:
    world = precharging(worlds)
    assert world.ask(State.STANDBY)[0] is Code.OK
    world.run(1.0)
    code, text = world.ask(State.DRIVE)
    assert code is Code.NOT_REACHABLE
    assert text == "the precharge resistor has to cool for another 2.0 s"
    world.run(2.1)
    assert world.ask(State.DRIVE)[0] is Code.OK


def test_a_successful_precharge_needs_no_cooling(worlds: Worlds) -> None:
    world = worlds()
    world.go_to(Place(State.DRIVE, Substate.CONNECTED))
    world.heal()
    world.ask(State.STANDBY)
    world.run(0.5)
    assert world.is_in(State.STANDBY)
    assert world.ask(State.DRIVE)[0] is Code.OK


def test_a_new_request_begins_with_the_first_attempt(worlds: Worlds) -> None:
    world = precharging(worlds)
    world.run(15.0)
    assert world.is_in(State.ERROR)
    assert world.machine.attempt == 0
    world.heal()
    world.run(3.0)
    world.ask(State.STANDBY)
    world.run(0.1)
    assert world.ask(State.DRIVE)[0] is Code.OK
    assert world.machine.attempt == 1


def test_a_link_that_must_be_empty_is_waited_for(worlds: Worlds, root: Path) -> None:
    """Else the weld test of the topology would take its charge for a welded contactor."""
    world = worlds(load_pack(root / "config" / "packs" / "robot_12s_modular.yaml"))
    world.run(0.2)
    world.link_follows = False
    inputs = world.machine.inputs
    inputs.pack_voltage_v = 0.0  # its modules are not in the circuit while it is open
    inputs.string_voltage_v, inputs.link_voltage_v = [44.0], 40.0
    assert world.ask(State.DRIVE) == (
        Code.NOT_REACHABLE,
        "the link has to discharge below 22 V, it has 40 V",
    )
    inputs.string_voltage_v = []
    inputs.link_voltage_v = 5.0
    assert world.ask(State.DRIVE)[0] is Code.NOT_REACHABLE
    inputs.string_voltage_v = [44.0]
    assert world.ask(State.DRIVE)[0] is Code.OK
    # An attempt that failed leaves a charge: the next one waits for it as well.
    inputs.link_voltage_v = 40.0
    world.judge(5, PASSING)
    world.run(0.2)
    world.heal()
    world.link_follows = False
    assert world.run(7.0) is State.PRECHARGE
    assert world.place == PAUSE
    assert world.run(2.0) is State.ERROR
    assert world.machine.text == (
        "no further attempt: the link has to discharge below 22 V, it has 40 V"
    )


def test_waits_that_the_topology_asks_for_lengthen_arming(worlds: Worlds) -> None:
    pack = worlds().pack
    switching = pack.switching
    waiting = msgspec.structs.replace(switching.transitions[0], after_s=0.7)
    slow = msgspec.structs.replace(
        pack,
        switching=msgspec.structs.replace(
            switching, transitions=[waiting, *switching.transitions[1:]]
        ),
    )
    assert worlds(slow).machine.course.limits.arming_s == pytest.approx(
        worlds(pack).machine.course.limits.arming_s + 0.7
    )
