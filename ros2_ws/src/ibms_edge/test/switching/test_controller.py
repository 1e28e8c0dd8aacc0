# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Any

from ibms_edge.switching.exchange import Reason

Bench = Any  # of conftest.py
MS = 1_000_000
OPEN, CLOSED = 0b000, 0b011


def test_a_board_that_opens_by_itself_is_followed_and_told(closed: Bench) -> None:
    closed.board = replace(closed.board, closed=OPEN, armed=False, dead_man_latched=True)
    actions = closed.tick()
    assert closed.controller.commanded == "open"
    assert closed.controller.reason is Reason.NOT_ARMED
    assert "the switch board opened by itself" in [event.text for event in actions.events]
    closed.run(20)
    assert closed.commands == [OPEN]


def test_a_board_found_closed_after_a_restart_gets_no_permit(bench: Bench) -> None:
    bench.follows = False
    bench.board = replace(bench.board, closed=CLOSED, armed=True)
    for _ in range(10):
        assert bench.tick().permit is None
    assert bench.controller.reason is Reason.FEEDBACK


def test_older_feedback_does_not_replace_newer(closed: Bench) -> None:
    closed.controller.feedback(
        replace(closed.board, boot_ns=closed.now_ns - 50 * MS, armed=False, closed=0)
    )
    closed.step()
    assert closed.controller.commanded == "closed"


def test_opening_by_service_and_shutdown(closed: Bench) -> None:
    closed.controller.open_at_once()
    closed.tick()
    assert closed.commands == [OPEN]
    closed.run(20)
    assert closed.commands == [OPEN]
    closed.ask("closed")
    closed.run(10)
    assert closed.controller.commanded == "closed"
    command = closed.controller.shut_down(closed.now_ns).command
    assert command is not None
    assert (command.closed, command.reason) == (OPEN, Reason.SHUTDOWN)


def test_commands_are_repeated(closed: Bench) -> None:
    closed.run(50)
    repeated = [a.command for a in closed.sent if a.command is not None]
    assert 9 <= len(repeated) <= 11
    assert {c.closed for c in repeated} == {CLOSED}


def test_check_names_what_is_unknown_or_has_no_way(closed: Bench) -> None:
    assert closed.controller.check("open") is None
    assert closed.controller.check("closed") is None
    assert "sideways" in str(closed.controller.check("sideways"))
    assert "no way from 'closed' to 'precharge'" in str(closed.controller.check("precharge"))
