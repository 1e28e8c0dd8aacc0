# SPDX-License-Identifier: Apache-2.0
"""Closing: arming, steps along the topology, their verification."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ibms_edge.switching.exchange import Reason

Bench = Any  # of conftest.py
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
    bench.run(5)
    assert bench.commands == [OPEN, PRECHARGE, CLOSING, CLOSED]


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
    assert bench.controller.shown_mismatch(bench.now_ns) == 0b100
    bench.run(50)
    assert bench.controller.shown_mismatch(bench.now_ns) == 0


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
        assert closed.controller.shown_mismatch(closed.now_ns) == 0b001
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
