# SPDX-License-Identifier: Apache-2.0
"""What opens the pack, and what it takes to close again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ibms_edge.switching.exchange import Permit, Reason

Bench = Any  # of conftest.py
MS = 1_000_000
OPEN, PRECHARGE, CLOSED, CLOSING = 0b000, 0b101, 0b011, 0b111


def _verdict_stale(bench: Bench) -> Any:
    return [bench.tick(verdict=False) for _ in range(10)][-1]


def _feedback_stale(bench: Bench) -> Any:
    return [bench.tick(feedback=False) for _ in range(10)][-1]


def _second_publisher(bench: Bench) -> Any:
    bench.controller.foreign_publishers(["cells/measurement"])
    return bench.tick()


def _supervisor_silent(bench: Bench) -> Any:
    return [bench.tick(request=False) for _ in range(151)][-1]


def _demand(bench: Bench) -> Any:
    return bench.demand()


def _loop_stood_still(bench: Bench) -> Any:
    return bench.tick(step_ms=1000)


OBSTACLES = [
    (_verdict_stale, Reason.STATUS_STALE),
    (_feedback_stale, Reason.FEEDBACK),
    (_second_publisher, Reason.PUBLISHERS),
    (_supervisor_silent, Reason.REQUEST_SILENT),
    (_demand, Reason.PROTECTION),
    (_loop_stood_still, Reason.STATUS_STALE),
]


@pytest.mark.parametrize(("obstacle", "reason"), OBSTACLES)
def test_each_obstacle_opens_at_once_and_says_why(
    closed: Bench, obstacle: Callable[[Bench], Any], reason: Reason
) -> None:
    last = obstacle(closed)
    assert closed.controller.commanded == "open"
    assert closed.controller.reason is reason
    opening = [a for a in closed.sent if a.command is not None and a.command.closed == OPEN]
    assert opening[0].command is not None
    assert opening[0].command.reason is reason
    assert opening[0] is last  # not a step later than the limit allows
    assert (last.permit is not None) == (reason is Reason.REQUEST_SILENT)


@pytest.mark.parametrize(("obstacle", "reason"), OBSTACLES)
def test_after_an_obstacle_the_old_wish_is_void_and_a_new_one_closes(
    closed: Bench, obstacle: Callable[[Bench], Any], reason: Reason
) -> None:
    obstacle(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False, close_allowed=True)
    closed.controller.foreign_publishers([])
    closed.run(20)
    assert closed.commands[-1] == OPEN
    assert closed.controller.commanded == "open"
    closed.ask("closed")
    closed.run(10)
    assert closed.commands[-3:] == [PRECHARGE, CLOSING, CLOSED]


def test_a_wish_that_arrives_during_an_obstacle_is_void(closed: Bench) -> None:
    closed.healthy = replace(closed.healthy, demands_opening=True)
    closed.tick()
    closed.ask("closed")
    closed.tick()
    closed.healthy = replace(closed.healthy, demands_opening=False, close_allowed=True)
    closed.run(20)
    assert closed.commands == [OPEN]


def test_an_old_wish_does_not_come_back_after_a_newer_one(closed: Bench) -> None:
    """Sequences of wishes only move forward, even if somebody repeats an earlier one."""
    old = closed.wish
    _demand(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False, close_allowed=True)
    closed.ask("closed")
    closed.run(10)
    _demand(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False, close_allowed=True)
    closed.sent.clear()
    closed.wish = old
    closed.run(10)
    assert closed.commands == [OPEN]


def test_a_request_from_the_past_is_rejected_and_counted(closed: Bench) -> None:
    past = replace(closed.wish, boot_ns=closed.now_ns - 500 * MS, configuration="open")
    closed.controller.request(past)
    closed.step()
    assert closed.controller.requests_rejected == 1
    assert closed.controller.commanded == "closed"


def test_status_becomes_stale_exactly_after_its_limit(closed: Bench) -> None:
    sampled_ns = closed.healthy.boot_ns
    for now_ms in (60, 120, 180):
        closed.now_ns = sampled_ns + now_ms * MS
        closed.controller.feedback(replace(closed.board, boot_ns=closed.now_ns))
        closed.controller.request(replace(closed.wish, boot_ns=closed.now_ns))
        assert closed.step().command is None or closed.controller.commanded == "closed"
    closed.now_ns = sampled_ns + 180 * MS + 1
    closed.controller.feedback(replace(closed.board, boot_ns=closed.now_ns))
    closed.step()
    assert closed.controller.reason is Reason.STATUS_STALE


def test_a_gap_between_verdicts_opens_even_if_no_step_fell_into_it(closed: Bench) -> None:
    closed.now_ns = closed.healthy.boot_ns + 170 * MS
    closed.controller.feedback(replace(closed.board, boot_ns=closed.now_ns))
    closed.step()
    closed.now_ns += 15 * MS
    actions = closed.tick(step_ms=0)
    assert actions.permit is None
    assert closed.controller.reason is Reason.STATUS_STALE


def test_a_loop_that_stood_still_opens_though_its_inputs_came_all_the_time(closed: Bench) -> None:
    for _ in range(10):
        closed.now_ns += 20 * MS
        closed.scan += 1
        closed.controller.verdict(
            replace(closed.healthy, boot_ns=closed.now_ns, scan_counter=closed.scan)
        )
    actions = closed.tick(step_ms=1)
    assert actions.permit is None
    assert closed.controller.reason is Reason.STATUS_STALE


def test_restart_of_the_afe_opens_and_counting_begins_anew(closed: Bench) -> None:
    closed.scan = 0
    for _ in range(10):
        assert closed.tick().permit is None
    assert closed.controller.commanded == "open"
    assert closed.controller.reason is Reason.STATUS_STALE
    closed.run(2)
    assert closed.tick().permit == Permit(closed.scan, True)


def test_a_verdict_from_the_future_is_not_fresh(closed: Bench) -> None:
    closed.controller.verdict(
        replace(closed.healthy, boot_ns=closed.now_ns + 50 * MS, scan_counter=closed.scan + 1)
    )
    assert closed.step().permit is None
    assert closed.controller.commanded == "open"
