# SPDX-License-Identifier: Apache-2.0
"""Permits: which verdicts vouch, and how often."""

from dataclasses import replace
from typing import Any

import pytest

from ibms_edge.switching.exchange import Permit, Reason

Bench = Any  # of conftest.py
MS = 1_000_000
OPEN, PRECHARGE = 0b000, 0b101


def test_a_permit_carries_each_new_verdict_once(bench: Bench) -> None:
    first = bench.tick()
    assert first.permit == Permit(bench.scan, True)
    assert bench.tick(verdict=False).permit is None
    assert bench.step().permit is None
    assert bench.tick().permit == Permit(bench.scan, True)


def test_a_permit_passes_on_that_closing_is_not_allowed(bench: Bench) -> None:
    bench.healthy = replace(bench.healthy, close_allowed=False)
    assert bench.tick().permit == Permit(bench.scan, False)


def test_a_replayed_or_older_verdict_gives_no_permit(bench: Bench) -> None:
    bench.tick()
    replayed = bench.healthy
    bench.controller.verdict(replayed)
    assert bench.step().permit is None
    bench.tick()
    bench.controller.verdict(replayed)
    bench.controller.verdict(replace(replayed, scan_counter=replayed.scan_counter + 7))
    bench.controller.verdict(replace(replayed, boot_ns=bench.now_ns + 1))
    assert bench.step().permit is None
    assert bench.controller.verdicts_rejected == 4


def test_the_scan_counter_advances_over_its_wrap(bench: Bench) -> None:
    bench.scan = 0xFFFFFFFD
    permits = [bench.tick().permit for _ in range(4)]
    counters = [permit.scan_counter for permit in permits if permit is not None]
    assert counters == [0xFFFFFFFE, 0xFFFFFFFF, 0, 1]


@pytest.mark.parametrize(
    "spoil",
    [
        {"complete": False},
        {"demands_opening": True, "close_allowed": False},
    ],
)
def test_a_verdict_that_does_not_vouch_gives_no_permit(
    closed: Bench, spoil: dict[str, bool]
) -> None:
    closed.healthy = replace(closed.healthy, **spoil)
    actions = closed.tick()
    assert actions.permit is None
    assert actions.command is not None
    assert (actions.command.closed, actions.command.reason) == (OPEN, Reason.PROTECTION)


def test_two_verdicts_in_one_step_give_one_permit_for_the_newer(bench: Bench) -> None:
    bench.tick()
    bench.now_ns += 40 * MS
    for age_ms in (20, 0):
        bench.scan += 1
        bench.controller.verdict(
            replace(bench.healthy, boot_ns=bench.now_ns - age_ms * MS, scan_counter=bench.scan)
        )
    assert bench.step().permit == Permit(bench.scan, True)


def test_a_demand_to_open_is_not_lost_behind_a_newer_verdict(closed: Bench) -> None:
    closed.now_ns += 20 * MS
    bad = replace(
        closed.healthy,
        boot_ns=closed.now_ns - 5 * MS,
        scan_counter=closed.scan + 1,
        demands_opening=True,
    )
    closed.controller.verdict(bad)
    closed.scan += 2
    closed.controller.verdict(
        replace(closed.healthy, boot_ns=closed.now_ns, scan_counter=closed.scan)
    )
    actions = closed.step()
    assert actions.permit is None
    assert actions.command is not None
    assert actions.command.reason is Reason.PROTECTION


def test_a_changed_verdict_on_the_known_scan_takes_back_but_never_gives(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    bench.tick()  # armed
    bench.now_ns += 5 * MS
    bench.controller.verdict(replace(bench.healthy, close_allowed=False))
    bench.step()
    bench.tick(verdict=False)
    assert bench.commands == [OPEN]
    bench.controller.verdict(bench.healthy)
    bench.tick(verdict=False)
    assert bench.commands == [OPEN]
    bench.tick()
    assert bench.commands == [OPEN, PRECHARGE]


def test_a_changed_verdict_on_the_known_scan_opens(closed: Bench) -> None:
    closed.controller.verdict(replace(closed.healthy, demands_opening=True, close_allowed=False))
    assert closed.step().command is not None
    assert closed.controller.reason is Reason.PROTECTION
    # It stays so until a newer scan says otherwise.
    closed.ask("open", arm=False)
    assert closed.tick(verdict=False).permit is None
    assert closed.controller.reason is Reason.PROTECTION


def test_another_table_of_diagnoses_opens_and_is_taken_over_only_while_open(closed: Bench) -> None:
    closed.healthy = replace(closed.healthy, configuration_crc=1)
    actions = closed.tick()
    assert actions.permit is None
    assert actions.command is not None
    assert (actions.command.closed, actions.command.reason) == (OPEN, Reason.STATUS_STALE)
    closed.run(3)
    assert closed.tick().permit is not None
    assert closed.commands == [OPEN]
    closed.ask("closed")
    closed.run(10)
    assert closed.controller.commanded == "closed"
