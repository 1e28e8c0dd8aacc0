# SPDX-License-Identifier: Apache-2.0
"""Closing: arming, steps along the topology, their verification."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ibms_battery.pack import Pack
from ibms_edge.switching.contradictions import STAYS_CLOSED, STAYS_OPEN
from ibms_edge.switching.exchange import Reason

Bench = Any  # of conftest.py
MS = 1_000_000
OPEN, PRECHARGE, CLOSED, CLOSING = 0b000, 0b101, 0b011, 0b111


def test_closing_goes_along_the_topology_and_each_step_waits_for_feedback(bench: Bench) -> None:
    bench.close()
    assert bench.commands == [OPEN, PRECHARGE, CLOSING, CLOSED]


def test_an_unverified_step_holds_the_sequence(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "precharge":
        bench.tick()
    bench.board = replace(bench.board, closed=OPEN)  # still on its way
    bench.follows = False
    bench.tick()
    assert bench.controller.commanded == "precharge"
    assert bench.controller.verified(bench.now_ns) == "open"
    bench.board = replace(bench.board, closed=0b001)
    bench.tick()
    assert bench.controller.commanded == "precharge"
    assert bench.controller.verified(bench.now_ns) == "transition"
    bench.board = replace(bench.board, closed=PRECHARGE)
    bench.run(2)
    assert bench.controller.commanded == "precharge"  # the link is not known well enough
    bench.tick()
    assert bench.controller.commanded == "closing"


@pytest.mark.parametrize(
    ("pack_v", "link_v"),
    [
        (math.nan, 44.0),
        (44.0, math.nan),
        (math.nan, math.nan),
        (44.0, 42.0),
        (44.0, 60.0),  # a charger far above the pack
        (0.0, 0.0),
        (0.5, 0.5),  # a broken sense line reads nearly nothing on both sides
        (-44.0, -44.0),
    ],
)
def test_main_contactors_wait_for_a_precharged_link(
    bench: Bench, pack_v: float, link_v: float
) -> None:
    bench.run(3)
    bench.ask("closed")
    for _ in range(30):
        bench.tick()
        bench.board = replace(bench.board, pack_voltage_v=pack_v, link_voltage_v=link_v)
    assert bench.commands == [OPEN, PRECHARGE]
    bench.board = replace(bench.board, pack_voltage_v=44.0, link_voltage_v=43.5)
    bench.run(7)  # three samples before each of both steps
    assert bench.commands == [OPEN, PRECHARGE, CLOSING, CLOSED]


def test_one_frame_with_a_wrong_link_voltage_closes_nothing(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "precharge":
        bench.tick()
    for tick in range(30):
        wrong = tick % 3 != 0  # two in succession
        bench.board = replace(bench.board, link_voltage_v=44.0 if wrong else 12.0)
        bench.tick(step_ms=10)
    assert bench.commands == [OPEN, PRECHARGE]


def test_a_frame_that_is_repeated_with_its_stamp_is_no_further_sample(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "precharge":
        bench.tick()
    bench.tick()
    for _ in range(5):
        bench.controller.feedback(bench.board)
        bench.step()
    assert bench.commands == [OPEN, PRECHARGE]
    bench.run(2)
    assert bench.commands == [OPEN, PRECHARGE, CLOSING]


def test_voltages_from_before_a_silence_are_no_samples(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "precharge":
        bench.tick()
    bench.run(2)
    # The silence itself opens; here no step falls into it that could tell.
    bench.now_ns += 181 * MS
    bench.controller.feedback(replace(bench.board, boot_ns=bench.now_ns))
    assert len(bench.controller._link) == 1


def test_precharge_is_dropped_only_from_a_link_that_still_has_the_packs_voltage(
    pack: Pack, make_bench: Callable[[Pack], Bench]
) -> None:
    bench = make_bench(pack)
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "closing":
        bench.tick()
    for _ in range(30):
        bench.board = replace(bench.board, link_voltage_v=30.0)
        bench.tick()
    assert bench.commands == [OPEN, PRECHARGE, CLOSING]
    assert bench.controller.waiting_for == "closed: precharge of the link"
    bench.board = replace(bench.board, link_voltage_v=44.0)
    bench.run(5)
    assert bench.commands == [OPEN, PRECHARGE, CLOSING, CLOSED]


@pytest.mark.parametrize(
    ("period_s", "closes"),
    [(0.02, True), (0.05, True), (0.06, False), (0.1, False), (0.15, False), (0.25, False)],
)
def test_with_scans_too_slow_for_the_budget_nothing_is_armed_or_closed(
    pack: Pack, make_bench: Callable[[Pack], Bench], period_s: float, closes: bool
) -> None:
    bench = make_bench(msgspec.structs.replace(pack, scan_period_s=period_s))
    bench.run(3)
    bench.ask("closed")
    bench.run(40)
    assert (bench.controller.commanded == "closed") is closes
    assert bench.has_armed is closes
    why = f"a scan each {period_s:g} s is too slow for closing, the pack is monitored only"
    assert bench.controller.monitored_only == ("" if closes else why)
    allowed = {a.permit.close_allowed for a in bench.sent if a.permit is not None}
    assert allowed == {closes}
    if not closes:
        assert bench.controller.waiting_for == f"faster scans: {why}"
        assert bench.told == [f"'closed' requested, but {why}"]
        assert bench.controller.check("closed") == why
        assert bench.controller.check("open") is None


def test_a_board_found_armed_is_not_closed_with_scans_too_slow(
    pack: Pack, make_bench: Callable[[Pack], Bench]
) -> None:
    bench = make_bench(msgspec.structs.replace(pack, scan_period_s=0.1))
    bench.board = replace(bench.board, armed=True)
    bench.run(3)
    bench.ask("closed")
    bench.run(40)
    assert bench.commands == [OPEN]


def test_the_first_request_after_a_start_is_void(bench: Bench) -> None:
    bench.wish = replace(bench.wish, configuration="closed", arm=True)
    bench.run(20)
    assert bench.commands == [OPEN]
    bench.ask("closed")
    bench.run(10)
    assert bench.controller.commanded == "closed"


@pytest.mark.parametrize("is_armed", [False, True])
def test_nothing_closes_without_a_users_request_behind_it(bench: Bench, is_armed: bool) -> None:
    bench.run(3)
    bench.board = replace(bench.board, armed=is_armed)
    bench.ask("closed", arm=False)
    bench.run(20)
    assert bench.commands == [OPEN]
    assert not bench.has_armed


def test_closing_waits_while_protection_does_not_allow_it(bench: Bench) -> None:
    bench.healthy = replace(bench.healthy, close_allowed=False)
    bench.run(3)
    bench.ask("closed")
    bench.run(20)
    assert bench.commands == [OPEN]
    assert not bench.has_armed
    bench.healthy = replace(bench.healthy, close_allowed=True)
    bench.run(10)
    assert bench.controller.commanded == "closed"


def test_losing_the_permission_to_close_opens_nothing(closed: Bench) -> None:
    closed.healthy = replace(closed.healthy, close_allowed=False)
    closed.run(20)
    assert closed.controller.commanded == "closed"


def test_opening_on_request_needs_no_permission_and_ends_the_wish(closed: Bench) -> None:
    closed.healthy = replace(closed.healthy, close_allowed=False)
    closed.ask("open", arm=False)
    actions = closed.tick()
    assert actions.command is not None
    assert (actions.command.closed, actions.command.reason) == (OPEN, Reason.REQUEST)
    closed.healthy = replace(closed.healthy, close_allowed=True)
    closed.wish = replace(closed.wish, configuration="closed", arm=True)  # same sequence
    closed.run(10)
    assert closed.commands == [OPEN]


def test_an_unknown_configuration_opens_and_is_told(closed: Bench) -> None:
    closed.ask("sideways")
    actions = closed.tick()
    assert closed.controller.commanded == "open"
    assert "sideways" in actions.events[0].text


def test_a_configuration_without_a_way_is_told_once_and_changes_nothing(closed: Bench) -> None:
    closed.ask("precharge")
    closed.run(5)
    assert closed.controller.commanded == "closed"
    assert len(closed.told) == 1
    assert "no way from 'closed'" in closed.told[0]
    assert "no way from 'closed'" in closed.controller.waiting_for


def test_a_switch_that_does_not_close_opens_all_and_is_named(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "precharge":
        bench.tick()
    bench.follows = False
    bench.board = replace(bench.board, closed=0b001)  # the precharge contactor stays open
    bench.run(3)
    assert bench.controller.commanded == "precharge"  # within its switching time
    bench.run(1)
    assert bench.controller.commanded == "open"
    assert bench.controller.reason is Reason.FEEDBACK
    bench.board = replace(bench.board, closed=OPEN)
    bench.run(10)
    assert bench.controller.mismatch(bench.now_ns) == 0
    assert bench.controller.shown_mismatch(bench.now_ns) == [0, 0, STAYS_OPEN]
    bench.run(50)
    assert bench.controller.shown_mismatch(bench.now_ns) == [0, 0, 0]


def test_a_weld_stops_the_permits_for_as_long_as_it_lasts(closed: Bench) -> None:
    closed.demand()
    closed.healthy = replace(closed.healthy, demands_opening=False, close_allowed=True)
    closed.follows = False
    closed.board = replace(closed.board, closed=0b001)
    closed.ask("open", arm=False)
    closed.run(5)
    closed.sent.clear()
    for _ in range(100):
        assert closed.tick().permit is None
        assert closed.controller.mismatch(closed.now_ns) == 0b001
        assert closed.controller.shown_mismatch(closed.now_ns) == [STAYS_CLOSED, 0, 0]
    assert closed.controller.reason is Reason.FEEDBACK
    closed.ask("closed")
    closed.run(20)
    assert closed.commands == [OPEN]


def test_arming_carries_the_challenge_and_ends_after_its_time(bench: Bench) -> None:
    bench.follows = False
    bench.run(3)
    bench.ask("closed")
    bench.run(60)
    arming = [a.command for a in bench.sent if a.command is not None and a.command.arm]
    assert 40 < len(arming) <= 51
    assert {(c.closed, c.arm_challenge) for c in arming} == {(OPEN, 7)}
    assert bench.sent[-1].command is None or not bench.sent[-1].command.arm
    assert "the switch board did not arm in time" in bench.told
    bench.follows = True
    bench.run(10)
    assert bench.controller.commanded == "open"  # the wish is void by now
    bench.ask("closed")
    bench.run(10)
    assert bench.controller.commanded == "closed"
