# SPDX-License-Identifier: Apache-2.0
"""Openings of a healthy chain: held for the fuse, then in order of the current's direction."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.pack import Fuse, MeltingPoint, Pack
from ibms_edge.switching.exchange import Permit, Reason, Timing
from ibms_edge.switching.opening import Opening, break_current_a

Bench = Any  # of conftest.py
MS = 1_000_000
OPEN, CLOSED = 0b000, 0b011
NEGATIVE, POSITIVE = 0b001, 0b010  # open first at charge, at discharge
BREAK_A = 150.0  # of the robot's contactors
HOLD_MS = 1000  # its fuse's clearing_time_s


@pytest.fixture
def closed(closed: Bench) -> Bench:
    assert break_current_a(closed.pack.switching, CLOSED) == BREAK_A
    assert closed.pack.fuse.clearing_time_s == HOLD_MS / 1000
    return closed


class Blowing:
    """A fuse in the circuit of a bench: it melts by its curve while the contactors conduct."""

    def __init__(self, bench: Bench, current_a: float) -> None:
        self.bench, self.current_a = bench, current_a
        self.melted = 0.0
        self.is_blown = False

    def tick(self, step_ms: int = 10) -> None:
        flows = self.bench.board.closed == CLOSED and not self.is_blown
        self.bench.current_a = self.current_a if flows else 0.0
        if flows:
            self.melted += step_ms / 1000 / self.bench.pack.fuse.melting_time_s(self.current_a)
            self.is_blown = self.melted >= 1.0
        self.bench.tick(step_ms=step_ms)


# At half of the break current nothing is held. At the break current itself it is still broken. At
# twice, the fuse clears within 180 ms, at twenty times within a sample: they open afterwards.
@pytest.mark.parametrize(
    ("times", "held_ms", "is_blown"),
    [(0.5, 0, False), (1.0, 0, False), (1.01, 850, True), (2.0, 180, True), (20.0, 10, True)],
)
def test_contactors_hold_above_the_break_current_until_the_fuse_has_cleared(
    closed: Bench, times: float, held_ms: int, is_blown: bool
) -> None:
    plant = Blowing(closed, -times * BREAK_A)
    began_ns = closed.now_ns
    closed.healthy = replace(closed.healthy, demands_opening=True, close_allowed=False)
    closed.sent.clear()
    while closed.board.closed != OPEN and closed.now_ns - began_ns < 3_000 * MS:
        plant.tick()
    opened_ms = (closed.now_ns - began_ns) / MS
    assert opened_ms == pytest.approx(held_ms + 20, abs=30)
    assert plant.is_blown is is_blown
    held = [a for a in closed.sent if a.command and a.command.reason is Reason.BREAK_CURRENT_HOLD]
    assert bool(held) is (held_ms > 0)
    if held:
        assert closed.sent[0] is held[0]  # told at once
        assert [e.is_warning for e in held[0].events] == [True]
        assert "held for the fuse" in held[0].events[0].text
        assert held[0].events[0].value == -times * BREAK_A
    assert closed.controller.reason is Reason.PROTECTION


def test_a_fuse_that_does_not_clear_is_waited_for_as_long_as_allowed(closed: Bench) -> None:
    closed.current_a = -2 * BREAK_A
    closed.tick()
    began_ns = closed.now_ns
    closed.demand()
    while closed.controller.is_held:
        assert closed.board.closed == CLOSED
        closed.tick(step_ms=10)
    assert 0 <= (closed.now_ns - began_ns) / MS - HOLD_MS <= 30
    closed.run(3)
    assert closed.board.closed == OPEN
    above = [e for a in closed.sent for e in a.events if e.element >= 0]
    assert {e.element for e in above} == {0, 1}
    assert any("more than the 150 A that it breaks" in e.text and e.is_warning for e in above)


def test_permits_go_on_during_the_hold_but_allow_no_closing(closed: Bench) -> None:
    closed.current_a = -300.0
    closed.tick()
    for _ in range(20):
        assert closed.demand().permit == Permit(closed.scan, False)
    closed.current_a = 0.0
    assert closed.tick().permit is None
    assert closed.controller.commanded == "open"


def test_neither_a_repeated_demand_nor_its_end_changes_the_hold(closed: Bench) -> None:
    closed.current_a = -300.0
    closed.tick()
    began_ns = closed.now_ns
    closed.demand()
    for tick in range(100):
        demands = tick % 3 == 0
        closed.healthy = replace(closed.healthy, demands_opening=demands, close_allowed=not demands)
        closed.ask("closed" if tick % 2 else "open")
        closed.tick()
        if not closed.controller.is_held:
            break
    assert (closed.now_ns - began_ns) / MS == pytest.approx(HOLD_MS, abs=40)
    assert closed.controller.commanded == "open"
    assert sum("held for the fuse" in text for text in closed.told) == 1


def _without_feedback(bench: Bench) -> None:
    for _ in range(12):
        bench.tick(feedback=False)


def _without_status(bench: Bench) -> None:
    for _ in range(12):
        bench.tick(verdict=False)


def _without_current(bench: Bench) -> None:
    bench.current_a = None
    bench.run(6)


def _unmeasured_current(bench: Bench) -> None:
    bench.current_a = math.nan
    bench.tick()


def _emergency_stop(bench: Bench) -> None:
    bench.board = replace(bench.board, emergency_stop=True)
    bench.tick()


def _second_publisher(bench: Bench) -> None:
    bench.controller.foreign_publishers(["pack/measurement"])
    bench.tick()


def _incomplete_verdict(bench: Bench) -> None:
    bench.healthy = replace(bench.healthy, complete=False)
    bench.tick()


def _shutdown(bench: Bench) -> None:
    bench.sent.append(bench.controller.shut_down(bench.now_ns))


@pytest.mark.parametrize(
    "event",
    [
        _without_feedback,
        _without_status,
        _without_current,
        _unmeasured_current,
        _emergency_stop,
        _second_publisher,
        _incomplete_verdict,
        _shutdown,
    ],
)
def test_what_is_unconditional_ends_a_hold_at_once_with_all_contactors(
    closed: Bench, event: Callable[[Bench], None]
) -> None:
    closed.current_a = -300.0
    closed.tick()
    closed.demand()
    assert closed.controller.is_held
    closed.sent.clear()
    event(closed)
    assert not closed.controller.is_held
    masks = [a.command.closed for a in closed.sent if a.command is not None]
    assert set(masks) <= {CLOSED, OPEN}  # nothing in between: no order
    assert masks[-1] == OPEN


def test_a_request_to_open_waits_for_the_current_as_well(closed: Bench) -> None:
    closed.current_a = 200.0
    closed.tick()
    closed.ask("open", arm=False)
    closed.run(10)
    assert closed.controller.is_held
    closed.current_a = 100.0
    closed.run(4)
    assert closed.commands == [CLOSED, POSITIVE, OPEN]
    assert closed.controller.reason is Reason.REQUEST


def test_without_a_fuse_nothing_is_held(pack: Pack, make_bench: Callable[[Pack], Bench]) -> None:
    bench = make_bench(msgspec.structs.replace(pack, fuse=None))
    bench.close()
    bench.current_a = -3000.0
    bench.tick()
    bench.demand()
    assert bench.controller.commanded == "open"


def test_a_current_older_than_100_ms_is_unknown(closed: Bench) -> None:
    closed.current_a = -300.0
    closed.tick()
    closed.current_a = None
    closed.run(5)
    closed.demand()
    assert not closed.controller.is_held
    assert closed.controller.commanded_mask == OPEN


# Order


@pytest.mark.parametrize(
    ("current_a", "between"), [(20.0, POSITIVE), (-20.0, NEGATIVE), (0.0, None), (math.nan, None)]
)
def test_the_contactor_that_suits_the_current_opens_first(
    closed: Bench, current_a: float, between: int | None
) -> None:
    closed.current_a = current_a
    closed.tick()
    closed.sent.clear()
    closed.demand()
    closed.run(2)
    assert closed.commands == ([OPEN] if between is None else [between, OPEN])


def test_the_second_contactor_does_not_wait_for_a_feedback_that_does_not_come(
    closed: Bench,
) -> None:
    closed.current_a = -20.0
    closed.tick()
    closed.follows = False  # the first one is welded, or its auxiliary contact hangs
    closed.demand()
    began_ns = closed.now_ns
    assert closed.controller.commanded_mask == NEGATIVE
    while closed.controller.commanded_mask:
        closed.tick(step_ms=5)
    assert (closed.now_ns - began_ns) / MS == 25  # opening time and margin
    closed.run(5)
    assert closed.controller.reason is Reason.PROTECTION
    assert closed.controller.mismatch(closed.now_ns) == CLOSED


def test_the_second_contactor_follows_as_soon_as_the_first_is_seen_open(closed: Bench) -> None:
    closed.current_a = -20.0
    closed.tick()
    closed.follows = False
    closed.demand()
    closed.tick(step_ms=5)
    assert closed.controller.commanded_mask == NEGATIVE
    closed.board = replace(closed.board, closed=NEGATIVE)
    closed.tick(step_ms=5)
    assert closed.controller.commanded_mask == OPEN


def test_a_broken_chain_between_the_two_opens_at_once(closed: Bench) -> None:
    closed.current_a = -20.0
    closed.tick()
    closed.follows = False
    closed.demand()
    closed.controller.foreign_publishers(["switch/request"])
    closed.tick(step_ms=1)
    assert closed.controller.commanded_mask == OPEN
    assert closed.controller.reason is Reason.PUBLISHERS


def test_the_precharge_contactor_opens_with_the_first(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "closing":
        bench.tick()
    bench.current_a = 20.0
    bench.tick(verdict=False, feedback=False, step_ms=1)
    bench.sent.clear()
    bench.demand()
    assert bench.commands == [POSITIVE]


def test_nothing_closes_again_between_the_two(closed: Bench) -> None:
    closed.current_a = -20.0
    closed.tick()
    closed.follows = False
    closed.demand()
    closed.healthy = replace(closed.healthy, demands_opening=False, close_allowed=True)
    closed.ask("closed")
    closed.tick(step_ms=5)
    closed.tick(step_ms=20)
    assert closed.commands[-2:] == [NEGATIVE, OPEN]


def test_each_opening_is_told_with_the_current_that_was_broken(closed: Bench) -> None:
    closed.current_a = -20.0
    for _ in range(10):
        closed.tick(step_ms=10)
    closed.sent.clear()
    closed.demand()  # the first parts within this step
    closed.current_a = 0.0
    for _ in range(6):
        closed.tick(step_ms=10)
    opened = {e.element: e.value for a in closed.sent for e in a.events}
    assert opened == {1: -20.0, 0: 0.0}
    assert "main_positive opened at -20.0 A" in closed.told


# The core by itself


def _opening(pack: Pack) -> Opening:
    return Opening(pack, Timing(), Reason.PROTECTION)


@given(
    currents=st.lists(
        st.one_of(st.floats(-5000, 5000), st.just(math.nan), st.sampled_from([-300.0, 300.0])),
        min_size=1,
        max_size=300,
    ),
    step_ms=st.integers(1, 40),
    seen=st.sampled_from([CLOSED, NEGATIVE, POSITIVE, OPEN]),
)
def test_whatever_flows_and_is_seen_an_opening_ends_in_time(
    pack: Pack, currents: list[float], step_ms: int, seen: int
) -> None:
    opening, now_ns, mask = _opening(pack), 0, CLOSED
    limit_ms = HOLD_MS + 30 + 2 * step_ms
    for tick in range(math.ceil(limit_ms / step_ms) + 1):
        kept = opening.keeps_closed(mask, currents[tick % len(currents)], seen, now_ns)
        assert kept & ~mask == 0, "an opening closed something"
        mask = kept
        if mask == 0:
            break
        now_ns += step_ms * MS
    assert mask == 0
    assert now_ns <= limit_ms * MS


def test_the_smallest_break_current_of_those_that_are_closed_counts(pack: Pack) -> None:
    switches = list(pack.switching.switches)
    switches[1] = msgspec.structs.replace(switches[1], maximum_break_current_a=90.0)
    switching = msgspec.structs.replace(pack.switching, switches=switches)
    assert break_current_a(switching, CLOSED) == 90.0
    assert break_current_a(switching, NEGATIVE) == BREAK_A
    assert break_current_a(switching, 0b100) == math.inf  # the precharge contactor has no limit
    assert break_current_a(switching, OPEN) == math.inf


def test_a_slow_contactor_delays_its_partner_no_longer_than_the_limit(pack: Pack) -> None:
    slow = [msgspec.structs.replace(s, opening_time_s=0.1) for s in pack.switching.switches]
    fuse = Fuse(40.0, [MeltingPoint(80.0, 4.0), MeltingPoint(160.0, 1.0)], 1.0)
    changed = msgspec.structs.replace(
        pack, switching=msgspec.structs.replace(pack.switching, switches=slow), fuse=fuse
    )
    opening = _opening(changed)
    assert opening.keeps_closed(CLOSED, -20.0, CLOSED, 0) == NEGATIVE
    assert opening.keeps_closed(NEGATIVE, -20.0, CLOSED, 29 * MS) == NEGATIVE
    assert opening.keeps_closed(NEGATIVE, -20.0, CLOSED, 30 * MS) == OPEN
