# SPDX-License-Identifier: Apache-2.0
"""The supervisor with the real switch control and a board that obeys: their wishes fit together."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.supervisor.inputs import Fault
from ibms_edge.supervisor.machine import PackSupervisor
from ibms_edge.supervisor.states import Code, Place, State, Substate
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import FeedbackInput, Reason, RequestInput, VerdictInput

MS = 1_000_000
PASSING = Fault(101, 7, "too high", latched=False)
CONNECTED = Place(State.DRIVE, Substate.CONNECTED)


class Loop:
    """20 ms steps: protection says what it is told to, switch control acts, the machine leads."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.now_ns = 10_000 * MS
        self.controller = SwitchController(pack)
        self.machine = PackSupervisor(pack, self.now_ns)
        self.board = FeedbackInput(
            self.now_ns, 0, False, True, 7, pack_voltage_v=44.0, link_voltage_v=0.0
        )
        self.verdict = VerdictInput(
            self.now_ns, 100, True, False, True, 1, string_voltage_v=(44.0, 44.0)
        )
        self.reaction, self.faults = 0, [PASSING]
        self.current_a = 0.0
        self.charges = True  # the link, through the resistor
        self.wished: list[str] = []

    def judge(self, reaction: int, *faults: Fault) -> None:
        self.reaction, self.faults = reaction, list(faults)
        self.verdict = replace(
            self.verdict, demands_opening=reaction == 5, close_allowed=reaction < 4
        )

    def strings_have(self, *voltage_v: float) -> None:
        self.verdict = replace(self.verdict, string_voltage_v=voltage_v)

    def ask(self, state: State) -> None:
        code, text = self.machine.request(state, self.now_ns)
        assert code is Code.OK, text

    def run(self, seconds: float) -> Place:
        for _ in range(round(seconds * 50)):
            self._tick()
        return self.machine.course.place

    def _tick(self) -> None:
        self.now_ns += 20 * MS
        controller, wish = self.controller, self.machine.course.wish
        self.verdict = replace(
            self.verdict, boot_ns=self.now_ns, scan_counter=self.verdict.scan_counter + 1
        )
        controller.verdict(self.verdict)
        if self.wished[-1:] != [wish.configuration]:
            self.wished.append(wish.configuration)
        controller.request(RequestInput(self.now_ns, wish.sequence, wish.configuration, wish.arm))
        self.board = replace(self.board, boot_ns=self.now_ns)
        controller.feedback(self.board)
        controller.current(self.now_ns, self.current_a)
        command = controller.step(self.now_ns).command
        if command is not None:
            self._obey(command)
        self._tell()
        self.machine.step(self.now_ns)

    def _obey(self, command: Any) -> None:
        if command.arm:
            self.board = replace(self.board, armed=True, dead_man_latched=False)
        if self.board.armed:
            link_v = 44.0 if command.closed and self.charges else 0.0
            self.board = replace(self.board, closed=command.closed, link_voltage_v=link_v)

    def _tell(self) -> None:
        inputs, controller = self.machine.inputs, self.controller
        inputs.status_boot_ns = inputs.switch_boot_ns = inputs.current_boot_ns = self.now_ns
        inputs.reaction, inputs.close_allowed = self.reaction, self.verdict.close_allowed
        inputs.faults = self.faults if self.reaction >= 4 else ()
        inputs.cause = self.faults[0].identifier if inputs.faults else 0
        inputs.request_sequence = controller.newest_sequence
        inputs.configuration = controller.verified(self.now_ns)
        inputs.commanded, inputs.open_reason = controller.commanded, controller.reason
        inputs.break_current_hold = controller.is_held
        inputs.waiting_for = controller.waiting_for
        inputs.pack_voltage_v = self.board.pack_voltage_v
        inputs.link_voltage_v = self.board.link_voltage_v
        inputs.string_voltage_v = self.verdict.string_voltage_v
        inputs.current_a = self.current_a


@pytest.fixture
def loop(worlds: Callable[[], Any]) -> Loop:
    loop = Loop(worlds().pack)
    assert loop.run(0.2) == (State.STANDBY, Substate.OPEN)
    return loop


@pytest.fixture
def parallel(parallel_pack: Pack) -> Loop:
    loop = Loop(parallel_pack)
    assert loop.run(0.2) == (State.STANDBY, Substate.OPEN)
    return loop


def connected(loop: Loop, strings_v: Sequence[float] = (44.0, 44.0)) -> Loop:
    loop.strings_have(*strings_v)
    loop.ask(State.DRIVE)
    assert loop.run(1.5) == CONNECTED
    return loop


def test_to_drive_and_back_again_and_again(loop: Loop) -> None:
    for _ in range(3):
        connected(loop)
        loop.current_a = -30.0
        loop.ask(State.STANDBY)
        assert loop.run(1.0).substate is Substate.ZERO_CURRENT
        loop.current_a = 0.0
        assert loop.run(0.5) == (State.STANDBY, Substate.OPEN)
        assert loop.controller.reason is Reason.REQUEST


def test_a_second_attempt_is_a_wish_that_switch_control_takes(loop: Loop) -> None:
    loop.charges = False
    loop.ask(State.DRIVE)
    loop.run(2.5)
    loop.charges = True
    assert loop.run(6.0) == CONNECTED
    assert loop.wished == ["open", "precharge", "open", "precharge", "closed"]


def test_an_attempt_after_a_fault_that_recovers(loop: Loop) -> None:
    loop.charges = False
    loop.ask(State.DRIVE)
    loop.run(0.5)
    loop.judge(5, PASSING)
    assert loop.run(0.2) == (State.PRECHARGE, Substate.PAUSE)
    assert loop.board.closed == 0
    loop.judge(0)
    loop.charges = True
    assert loop.run(3.5) == CONNECTED


def test_what_protection_opens_stays_open_until_somebody_asks_again(loop: Loop) -> None:
    connected(loop)
    loop.judge(5, PASSING)
    assert loop.run(0.2) == (State.ERROR, Substate.OPEN)
    loop.judge(0)
    assert loop.run(5.0) == (State.ERROR, Substate.OPEN)
    assert loop.board.closed == 0
    loop.ask(State.STANDBY)
    loop.run(0.2)
    connected(loop)


def test_a_board_that_opens_by_itself_is_not_closed_again(loop: Loop) -> None:
    connected(loop)
    loop.board = replace(loop.board, closed=0, armed=False, dead_man_latched=True)
    assert loop.run(5.0) == (State.ERROR, Substate.OPEN)
    assert loop.board.closed == 0


def test_held_for_the_fuse_and_then_open(loop: Loop) -> None:
    connected(loop)
    loop.current_a = -200.0  # above the 150 A that the contactors break
    loop.judge(5, PASSING)
    assert loop.run(0.5) == (State.ERROR, Substate.OPENING)
    assert "held closed" in loop.machine.text
    assert loop.run(0.8) == (State.ERROR, Substate.OPEN)


def test_all_strings_join(parallel: Loop) -> None:
    connected(parallel)
    assert parallel.controller.commanded == "both"
    assert parallel.machine.text == "drive as requested"


def test_a_string_joins_later_at_rest_within_the_same_request(parallel: Loop) -> None:
    connected(parallel, (44.0, 42.0))
    assert parallel.controller.commanded == "closed"
    assert "without right" in parallel.machine.text
    parallel.current_a = -30.0
    parallel.strings_have(44.0, 43.8)  # it fits under load: switch control would take it at once
    assert parallel.run(3.0) == CONNECTED
    assert parallel.controller.commanded == "closed"
    parallel.current_a = 0.0
    assert parallel.run(2.0) == CONNECTED
    assert parallel.controller.commanded == "both"
    assert parallel.machine.text == "drive as requested"
    parallel.ask(State.STANDBY)
    assert parallel.run(1.0) == (State.STANDBY, Substate.OPEN)
