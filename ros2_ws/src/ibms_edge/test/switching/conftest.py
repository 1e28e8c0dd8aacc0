# SPDX-License-Identifier: Apache-2.0
"""A controller between a chain and a board that do as they are told."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ibms_battery.pack import Pack
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import Actions, FeedbackInput, Reason, RequestInput, VerdictInput

MS = 1_000_000
OPEN = 0b000


class Bench:
    """A controller between a healthy chain and an obedient board, in steps of 20 ms."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.controller = SwitchController(pack)
        self.now_ns = 10_000 * MS
        self.scan = 100
        self.board = FeedbackInput(self.now_ns, OPEN, False, True, 7, pack_voltage_v=44.0)
        self.wish = RequestInput(self.now_ns, 1, "open", False)
        self.healthy = VerdictInput(self.now_ns, self.scan, True, False, True, 0xC0FFEE)
        self.follows = True
        self.current_a: float | None = None  # as the pack sensor says; None: it is silent
        self.sent: list[Actions] = []

    def tick(
        self,
        verdict: bool = True,
        request: bool = True,
        feedback: bool = True,
        step_ms: int = 20,
    ) -> Actions:
        """Pass time, hand over what is not held back, step, let the board act."""
        self.now_ns += step_ms * MS
        if verdict:
            self.scan = (self.scan + 1) & 0xFFFFFFFF
            self.healthy = replace(self.healthy, boot_ns=self.now_ns, scan_counter=self.scan)
            self.controller.verdict(self.healthy)
        if request:
            self.wish = replace(self.wish, boot_ns=self.now_ns)
            self.controller.request(self.wish)
        if feedback:
            self.board = replace(self.board, boot_ns=self.now_ns)
            self.controller.feedback(self.board)
        if self.current_a is not None:
            self.controller.current(self.now_ns, self.current_a)
        return self.step()

    def step(self) -> Actions:
        actions = self.controller.step(self.now_ns)
        self.sent.append(actions)
        command = actions.command
        if command is not None and self.follows:
            if command.arm and command.arm_challenge == self.board.arm_challenge:
                self.board = replace(self.board, armed=True, dead_man_latched=False)
            if self.board.armed:
                self.board = replace(self.board, closed=command.closed)
                path = self.pack.switching.mask_of(["main_negative", "precharge"])
                if command.closed & path == path:
                    self.board = replace(self.board, link_voltage_v=44.0)
        return actions

    def ask(self, configuration: str, arm: bool = True) -> None:
        """A user's new wish."""
        self.wish = RequestInput(
            self.now_ns, (self.wish.sequence + 1) & 0xFFFFFFFF, configuration, arm
        )

    def demand(self) -> Actions:
        """Protection demands opening from now on."""
        self.healthy = replace(self.healthy, demands_opening=True, close_allowed=False)
        return self.tick()

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    def close(self) -> None:
        self.run(3)
        self.ask("closed")
        self.run(20)
        assert self.controller.verified(self.now_ns) == "closed"

    @property
    def commands(self) -> list[int]:
        """Commanded masks in order, repetitions left out."""
        masks: list[int] = []
        for actions in self.sent:
            if actions.command is not None and [actions.command.closed] != masks[-1:]:
                masks.append(actions.command.closed)
        return masks

    @property
    def reasons(self) -> list[Reason]:
        """Reasons of the commands in order, repetitions left out."""
        reasons: list[Reason] = []
        for actions in self.sent:
            if actions.command is not None and [actions.command.reason] != reasons[-1:]:
                reasons.append(actions.command.reason)
        return reasons

    @property
    def told(self) -> list[str]:
        """Texts of all events."""
        return [event.text for actions in self.sent for event in actions.events]

    @property
    def has_armed(self) -> bool:
        """Whether an arming command was sent."""
        return any(a.command is not None and a.command.arm for a in self.sent)


@pytest.fixture
def make_bench() -> Callable[[Pack], Bench]:
    return Bench


@pytest.fixture
def bench(pack: Pack) -> Bench:
    return Bench(pack)


@pytest.fixture
def closed(pack: Pack) -> Bench:
    bench = Bench(pack)
    bench.close()
    bench.sent.clear()
    return bench
