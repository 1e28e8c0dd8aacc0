# SPDX-License-Identifier: Apache-2.0
"""A supervisor in a world that can be healthy, faulty, slow or silent."""

from pathlib import Path

import msgspec
import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_edge.supervisor.inputs import Fault
from ibms_edge.supervisor.machine import PackSupervisor
from ibms_edge.supervisor.states import CONNECTED, Code, Place, State, Substate
from ibms_edge.switching.exchange import Reason

MS = 1_000_000
ROOT = Path(__file__).resolve().parents[5]
ROBOT = load_pack(ROOT / "config" / "packs" / "robot_12s.yaml")
PASSING = Fault(101, 7, "cell_overvoltage: a cell's voltage is too high", latched=False)
LATCHED = Fault(171, -1, "interlock_open: the interlock loop is open", latched=True)


class World:
    """A supervisor among healthy inputs, and switches that follow its wish.

    ``follows`` says whether they do; ``status``, ``switch`` and ``current`` whether protection,
    switch control and the pack sensor are heard; ``hears`` whether switch control hears the wish.
    """

    def __init__(self, pack: Pack = ROBOT) -> None:
        self.now_ns = 1_000 * MS
        self.pack = pack
        self.machine = PackSupervisor(pack, self.now_ns)
        self.status = self.switch = self.current = True
        self.follows = self.hears = self.link_follows = True
        self.moves: list[tuple[Place, Place]] = []
        inputs = self.machine.inputs
        inputs.close_allowed = True
        inputs.configuration = "open"
        inputs.open_reason = Reason.REQUEST
        inputs.pack_voltage_v, inputs.link_voltage_v = 44.0, 0.0
        inputs.current_a = 0.0

    @property
    def place(self) -> Place:
        return self.machine.course.place

    @property
    def wanted(self) -> str:
        return self.machine.course.wish.configuration

    def is_in(self, state: State) -> bool:
        return self.machine.state is state

    def tick(self, step_ms: int = 50) -> State:
        """Time passes, inputs arrive, the machine steps."""
        self.now_ns += step_ms * MS
        inputs = self.machine.inputs
        if self.status:
            inputs.status_boot_ns = self.now_ns
        if self.switch:
            inputs.switch_boot_ns = self.now_ns
            inputs.request_sequence = self.machine.course.wish.sequence if self.hears else None
        if self.current:
            inputs.current_boot_ns = self.now_ns
        if self.follows:
            inputs.configuration = inputs.commanded = self.wanted
        if self.link_follows:
            inputs.link_voltage_v = 0.0 if inputs.configuration == "open" else 44.0
        before = self.place
        self.machine.step(self.now_ns)
        if self.place != before:
            self.moves.append((before, self.place))
        return self.machine.state

    def run(self, seconds: float) -> State:
        for _ in range(round(seconds * 20)):
            self.tick()
        return self.machine.state

    def run_until_moved(self, seconds: float) -> float | None:
        """Time until the place changed [s]; ``None`` if it did not."""
        count = len(self.moves)
        for index in range(round(seconds * 20)):
            self.tick()
            if len(self.moves) > count:
                return (index + 1) / 20
        return None

    def ask(self, state: int) -> tuple[Code, str]:
        return self.machine.request(int(state), self.now_ns)

    def judge(self, reaction: int, *faults: Fault, close_allowed: bool = False) -> None:
        """Protection's verdict."""
        inputs = self.machine.inputs
        inputs.reaction, inputs.faults = reaction, faults
        inputs.close_allowed = close_allowed
        first = faults[0] if faults else None
        inputs.cause = first.identifier if first else 0
        inputs.cause_element = first.element if first else -1

    def heal(self) -> None:
        """Everything works and no fault stands."""
        self.status = self.switch = self.current = True
        self.follows = self.hears = self.link_follows = True
        self.judge(0, close_allowed=True)
        self.machine.inputs.open_reason = Reason.REQUEST
        self.machine.inputs.break_current_hold = False
        self.machine.inputs.current_a = 0.0

    def show(self, configuration: str, commanded: str = "", reason: int = Reason.REQUEST) -> None:
        """Feedback from now on; the switches do not follow the wish any more."""
        self.follows = False
        inputs = self.machine.inputs
        inputs.configuration, inputs.open_reason = configuration, Reason(reason)
        inputs.commanded = commanded or inputs.commanded

    def go_to(self, place: Place, target: State = State.DRIVE) -> None:
        """Lead a new supervisor to a place; the switches then stay as they are.

        ``target`` is what precharge is for.
        """
        state, substate = place
        if substate is Substate.WAITING:
            self.status = False
            self.tick()
        elif state in CONNECTED:
            self._go_to_connected(state, substate)
        elif state is State.PRECHARGE:
            self._go_to_precharge(substate, target)
        elif state is State.ERROR:
            self._go_to_connected(State.DRIVE, Substate.CONNECTED)
            self.show("closed")
            self.judge(5, PASSING)
            self.tick()
            if substate is Substate.NOT_OPEN:
                self.run(1.2)
            elif substate is Substate.OPEN:
                self.show("open", "open")
                self.run(0.1)
        else:
            self.run(0.2)
            if state is not State.STANDBY:
                assert self.ask(state)[0] is Code.OK
                self.tick()
            if substate is Substate.OPENING:
                self.show("transition")
                self.tick()
        self.follows = False
        assert self.place == place, (self.place, self.machine.text)

    def _go_to_precharge(self, substate: Substate, target: State) -> None:
        self.run(0.2)
        self.follows = False
        assert self.ask(target)[0] is Code.OK
        if substate is Substate.ARMING:
            return
        self.link_follows = False
        self.show("precharge", "precharge")
        self.tick()
        if substate is Substate.CLOSING:
            self.machine.inputs.link_voltage_v = 44.0
            self.tick()
        elif substate in (Substate.OPENING, Substate.PAUSE):
            self.judge(5, PASSING)
            self.tick()
            if substate is Substate.PAUSE:
                self.show("open", "open")
                self.tick()
                self.judge(0, close_allowed=True)

    def _go_to_connected(self, state: State, substate: Substate) -> None:
        self.run(0.2)
        assert self.ask(state)[0] is Code.OK
        self.run(0.3)
        self.machine.inputs.current_a = -30.0
        if substate is Substate.REWIRING:
            self.show("transition")
            self.tick()
        elif substate in (Substate.ZERO_CURRENT, Substate.OPENING):
            assert self.ask(State.STANDBY)[0] is Code.OK
            if substate is Substate.OPENING:
                self.show("closed")
                self.run(2.1)


def two_strings() -> Pack:
    """The robot's pack as two strings of six; the right one joins where its voltage fits."""
    document = msgspec.to_builtins(ROBOT)
    switching = document["switching"]
    switching["switches"].append({"name": "right_string"})
    switching["configurations"]["both"] = ["main_negative", "main_positive", "right_string"]
    switching["transitions"].append(
        {
            "source": "closed",
            "target": "both",
            "requires_string": {"name": "right", "tolerance_v": 0.5},
        }
    )
    document["strings"] = [
        {"name": "left", "first_cell": 0, "cells": 6},
        {"name": "right", "first_cell": 6, "cells": 6},
    ]
    return msgspec.convert(document, Pack)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def worlds() -> type[World]:
    """Creates worlds: ``worlds()``, ``worlds(pack)``."""
    return World


@pytest.fixture(scope="session")
def parallel_pack() -> Pack:
    return two_strings()


@pytest.fixture
def world() -> World:
    return World()
