# SPDX-License-Identifier: Apache-2.0
"""Random interleavings of inputs, silences, faults and steps against what must always hold."""

import math
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ibms_battery.pack import load_pack
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import (
    Actions,
    FeedbackInput,
    RequestInput,
    Timing,
    VerdictInput,
)

MS = 1_000_000
PACK = load_pack(
    Path(__file__).resolve().parents[5] / "config" / "packs" / "robot_12s_modular.yaml"
)
TIMING = Timing()
SWITCHING = PACK.switching
MASKS = {name: SWITCHING.mask(name) for name in SWITCHING.configurations}
WAYS = {(way.source, way.target): way for way in SWITCHING.transitions}
BYPASSES = [(SWITCHING.mask_of(b.opens), SWITCHING.mask_of(b.closes)) for b in SWITCHING.bypasses]
LINK_PATH = SWITCHING.mask_of(["main_negative", "precharge"])
assert PACK.fuse is not None
# The longest that a demanded opening may take: the fuse's time, then the order of the contactors.
OPENING_NS = round((PACK.fuse.clearing_time_s + TIMING.order_limit_s) * 1e9)
COUNTER = 1 << 32


class Chain(RuleBasedStateMachine):
    """The controller among a protection, a supervisor and a board that may do anything.

    The model keeps only what was handed over; it knows nothing of how the controller decides.
    """

    @initialize(start=st.integers(0, COUNTER - 1), sequence=st.integers(0, COUNTER - 1))
    def begin(self, start: int, sequence: int) -> None:
        self.controller = SwitchController(PACK)
        self.now_ns = 5_000 * MS
        self.scan = start
        self.verdicts: list[VerdictInput] = []
        self.requests: list[RequestInput] = []
        self.sequence = sequence
        self.wish = RequestInput(self.now_ns, sequence, "open", False)
        self.board = FeedbackInput(self.now_ns, 0, False, True, 1, pack_voltage_v=44.0)
        self.foreign: list[str] = []
        self.permitted: list[int] = []
        self.commanded = 0
        self.demanded = False  # a verdict since the last step demands opening
        self.demanded_ns: int | None = None  # step that first knew it, while something is closed
        self.opened_at = sequence  # highest sequence known when it last opened
        self.highest = sequence

    # Time and inputs

    @rule(step_ms=st.sampled_from([1, 5, 20, 20, 20, 60, 150, 400, 3500]))
    def time_passes(self, step_ms: int) -> None:
        self.now_ns += step_ms * MS

    @rule(
        ahead=st.sampled_from([1, 1, 1, 1, 2, 0, -1, -1000, 1 << 31]),
        age_ms=st.sampled_from([0, 0, 0, 30, 300]),
        complete=st.sampled_from([True] * 7 + [False]),
        demands=st.sampled_from([False] * 7 + [True]),
        allowed=st.sampled_from([True] * 5 + [False]),
        crc=st.sampled_from([1] * 9 + [2]),
        isolate=st.sampled_from([(), (), (), (5,), (0, 11)]),
    )
    def verdict_arrives(
        self,
        ahead: int,
        age_ms: int,
        complete: bool,
        demands: bool,
        allowed: bool,
        crc: int,
        isolate: tuple[int, ...] = (),
    ) -> None:
        self.scan = (self.scan + ahead) % COUNTER
        self._judge(
            VerdictInput(
                self.now_ns - age_ms * MS,
                self.scan,
                complete,
                demands,
                allowed and not demands,
                crc,
                frozenset(isolate),
            )
        )

    @rule(data=st.data())
    def verdict_is_replayed(self, data: st.DataObject) -> None:
        if self.verdicts:
            self._judge(data.draw(st.sampled_from(self.verdicts[-20:])))

    def _judge(self, verdict: VerdictInput) -> None:
        self.verdicts.append(verdict)
        self.demanded |= verdict.demands_opening
        self.controller.verdict(verdict)

    @rule(
        configuration=st.sampled_from(["closed", "closed", "closed", "open", "precharge", "odd"]),
        arm=st.sampled_from([True, True, True, False]),
        is_new=st.booleans(),
    )
    def request_arrives(self, configuration: str, arm: bool, is_new: bool) -> None:
        if is_new:
            self.sequence = (self.sequence + 1) % COUNTER
        self.wish = RequestInput(self.now_ns, self.sequence, configuration, arm)
        self._ask(self.wish)

    @rule()
    def request_is_repeated(self) -> None:
        self.wish = replace(self.wish, boot_ns=self.now_ns)
        self._ask(self.wish)

    @rule(data=st.data(), as_if_new=st.booleans())
    def request_is_replayed(self, data: st.DataObject, as_if_new: bool) -> None:
        if self.requests:
            old = data.draw(st.sampled_from(self.requests[-20:]))
            self._ask(replace(old, boot_ns=self.now_ns) if as_if_new else old)

    def _ask(self, request: RequestInput) -> None:
        self.requests.append(request)
        self.controller.request(request)
        if 0 < (request.sequence - self.highest) % COUNTER < COUNTER // 2:
            self.highest = request.sequence

    @rule(
        closed=st.sampled_from([None] * 4 + [0, 1, 3, MASKS["closed"], MASKS["precharge"]]),
        armed=st.sampled_from([True, True, False]),
        emergency_stop=st.sampled_from([False] * 5 + [True]),
    )
    def board_does_as_it_likes(self, closed: int | None, armed: bool, emergency_stop: bool) -> None:
        mask = self.controller.commanded_mask if closed is None else closed
        self.board = replace(self.board, closed=mask, armed=armed, emergency_stop=emergency_stop)
        self._feed_back()

    @rule(
        current_a=st.sampled_from([0.0, 20.0, -20.0, 300.0, -300.0, -3000.0, math.nan]),
        age_ms=st.sampled_from([0, 0, 0, 50, 200]),
    )
    def current_is_measured(self, current_a: float, age_ms: int) -> None:
        self.controller.current(self.now_ns - age_ms * MS, current_a)

    @rule(
        pack_v=st.sampled_from([44.0, 44.0, math.nan, 0.0]),
        link_v=st.sampled_from([44.0, 44.0, 43.0, 20.0, math.nan]),
    )
    def voltages_change(self, pack_v: float, link_v: float) -> None:
        self.board = replace(self.board, pack_voltage_v=pack_v, link_voltage_v=link_v)
        self._feed_back()

    def _feed_back(self) -> None:
        self.board = replace(self.board, boot_ns=self.now_ns)
        self.controller.feedback(self.board)

    @rule(topics=st.sampled_from([[], [], [], ["protection/status"]]))
    def publishers_are_counted(self, topics: list[str]) -> None:
        self.foreign = topics
        self.controller.foreign_publishers(topics)

    @rule()
    def service_opens(self) -> None:
        self.controller.open_at_once()
        self.opened_at = self.highest

    @rule(ticks=st.integers(1, 12))
    def healthy_run(self, ticks: int) -> None:
        """The chain works and the board obeys, so that the machine gets to closed at all."""
        self.publishers_are_counted([])
        for _ in range(ticks):
            self.now_ns += 20 * MS
            self.verdict_arrives(1, 0, True, False, True, 1)
            self.request_is_repeated()
            mask = self.controller.commanded_mask
            link_v = 44.0 if mask & LINK_PATH == LINK_PATH else 0.0
            if mask == MASKS["closed"]:
                link_v = 44.0
            self.board = replace(
                self.board,
                closed=mask,
                emergency_stop=False,
                pack_voltage_v=44.0,
                link_voltage_v=link_v,
            )
            self._feed_back()
            self.step()

    @rule()
    def user_drives(self) -> None:
        self.healthy_run(12)
        self.request_arrives("closed", True, True)
        self.healthy_run(20)

    @rule(current_a=st.sampled_from([-20.0, 20.0, -300.0, 3000.0]), ticks=st.integers(1, 70))
    def protection_demands_opening(self, current_a: float, ticks: int) -> None:
        """A demand that stands, in an otherwise healthy chain with a board that obeys."""
        for _ in range(ticks):
            self.now_ns += 20 * MS
            self.verdict_arrives(1, 0, True, True, False, 1)
            self.request_is_repeated()
            self.current_is_measured(current_a, 0)
            self.board = replace(self.board, closed=self.controller.commanded_mask)
            self._feed_back()
            self.step()

    # Steps and what must hold

    @rule()
    def step(self) -> None:
        before, name = self.commanded, self.controller.commanded
        actions = self.controller.step(self.now_ns)
        self.commanded = self.controller.commanded_mask
        if self.commanded == 0 and before != 0:
            self.opened_at = self.highest
        self._check_permit(actions)
        self._check_command(actions)
        if self.commanded & ~before:
            assert not self.demanded, "closed while opening is demanded"
            self._check_closing(before, name, self.board)
        self._check_that_it_opens()
        for opens, closes in BYPASSES:
            assert not (self.commanded & opens and self.commanded & closes), "a module is shorted"
        if actions.command is not None and actions.command.arm:
            assert actions.command.closed == 0
            self.board = replace(self.board, armed=True)

    def _check_permit(self, actions: Actions) -> None:
        permit = actions.permit
        if permit is None:
            return
        vouching = [
            verdict
            for verdict in self.verdicts[-200:]
            if verdict.scan_counter == permit.scan_counter
            and verdict.complete
            and (self.controller.is_held or not verdict.demands_opening)
            and -MS <= self.now_ns - verdict.boot_ns <= TIMING.status_stale_s * 1e9
        ]
        assert vouching, "a permit without a fresh, complete, healthy verdict of its scan"
        assert vouching[-1].boot_ns not in self.permitted, "two permits for one verdict"
        assert permit.close_allowed <= any(verdict.close_allowed for verdict in vouching)
        assert not (permit.close_allowed and self.controller.is_held)
        self.permitted.append(vouching[-1].boot_ns)
        assert not self.foreign
        assert self._feedback_is_fresh()

    def _check_command(self, actions: Actions) -> None:
        if actions.command is not None:
            assert actions.command.closed == self.commanded

    def _check_that_it_opens(self) -> None:
        """From the first step that knew of a demand on, whatever came in between."""
        if self.commanded == 0:
            self.demanded_ns = None
        elif self.demanded and self.demanded_ns is None:
            self.demanded_ns = self.now_ns
        self.demanded = False
        if self.demanded_ns is not None:
            assert self.now_ns - self.demanded_ns < OPENING_NS
            if self.board.emergency_stop:
                raise AssertionError("waits though the emergency stop is pressed")

    def _check_closing(self, before: int, name: str, feedback: FeedbackInput) -> None:
        assert feedback.armed
        assert feedback.closed == before, "a step before the last one was verified"
        assert any(
            v.close_allowed and v.complete and self.now_ns - v.boot_ns <= 180 * MS
            for v in self.verdicts[-200:]
        ), "closed without permission"
        if self.controller.commanded == name:
            closing = self.commanded & ~before
            assert any(
                closing == closes and not before & opens and not feedback.closed & opens
                for opens, closes in BYPASSES
            ), "a bypass that was not broken before"
            return
        newest = self.controller._requests.newest  # the wish that it acts upon
        assert newest is not None
        assert newest.arm or before != 0
        ahead = (newest.sequence - self.opened_at) % COUNTER
        assert 0 < ahead < COUNTER // 2, "closed on a wish from before the last opening"
        way = WAYS.get((name, self.controller.commanded))
        assert way is not None, "closed past the topology"
        if way.requires_precharged:
            assert feedback.link_voltage_v >= 0.97 * feedback.pack_voltage_v
        if way.requires_link_discharged:
            assert feedback.link_voltage_v <= 0.5 * feedback.pack_voltage_v

    def _feedback_is_fresh(self) -> bool:
        return self.now_ns - self.board.boot_ns <= TIMING.feedback_stale_s * 1e9

    @invariant()
    def commanded_closed_means_a_healthy_chain_at_the_last_step(self) -> None:
        if self.commanded == 0 or self.controller._last_step_ns != self.now_ns:
            return
        limit_ns = TIMING.status_stale_s * 1e9
        # Held or in order: bounded, see above.
        controller = self.controller
        opens = self.demanded_ns is not None or controller.is_held or controller.commanded == "open"
        assert any(
            v.complete and (opens or not v.demands_opening) and self.now_ns - v.boot_ns <= limit_ns
            for v in self.verdicts[-200:]
        )
        if self.board.boot_ns != self.now_ns:  # not changed since the step
            assert self._feedback_is_fresh()
        assert opens or any(
            self.now_ns - request.boot_ns <= TIMING.request_silent_s * 1e9
            for request in self.requests[-200:]
        )


Chain.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestInterleavings = Chain.TestCase


def test_the_model_reaches_closed() -> None:
    """The machine above would prove nothing if it never closed."""
    chain = Chain()
    chain.begin(start=COUNTER - 5, sequence=COUNTER - 1)
    chain.user_drives()
    assert chain.commanded == MASKS["closed"]
    assert len(chain.permitted) > 20
    chain.protection_demands_opening(-300.0, 20)
    assert chain.commanded == MASKS["closed"]
    chain.protection_demands_opening(-300.0, 50)
    assert chain.commanded == 0
