# SPDX-License-Identifier: Apache-2.0
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from ibms_battery.pack import Pack
from ibms_edge.switching.controller import (
    Actions,
    FeedbackInput,
    Permit,
    Reason,
    RequestInput,
    SwitchController,
    VerdictInput,
    route,
)

MS = 1_000_000
OPEN, PRECHARGE, CLOSED, CLOSING = 0b000, 0b101, 0b011, 0b111


class Bench:
    """A controller between a healthy chain and an obedient board, in steps of 20 ms."""

    def __init__(self, pack: Pack) -> None:
        self.controller = SwitchController(pack)
        self.now_ns = 10_000 * MS
        self.scan = 100
        self.board = FeedbackInput(self.now_ns, OPEN, False, True, 7, pack_voltage_v=44.0)
        self.wish = RequestInput(self.now_ns, 1, "open", False)
        self.healthy = VerdictInput(self.now_ns, self.scan, True, False, True, 0xC0FFEE)
        self.follows = True
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
                if command.closed == PRECHARGE:
                    self.board = replace(self.board, link_voltage_v=44.0)
        return actions

    def ask(self, configuration: str, arm: bool = True) -> None:
        """A user's new wish."""
        self.wish = RequestInput(
            self.now_ns, (self.wish.sequence + 1) & 0xFFFFFFFF, configuration, arm
        )

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    def close(self) -> None:
        self.run(3)
        self.ask("closed")
        self.run(10)
        assert self.controller.commanded == "closed"
        assert self.board.closed == CLOSED

    @property
    def commands(self) -> list[int]:
        """Commanded masks in order, repetitions left out."""
        masks: list[int] = []
        for actions in self.sent:
            if actions.command is not None and [actions.command.closed] != masks[-1:]:
                masks.append(actions.command.closed)
        return masks

    @property
    def has_armed(self) -> bool:
        """Whether an arming command was sent."""
        return any(a.command is not None and a.command.arm for a in self.sent)


@pytest.fixture
def bench(pack: Pack) -> Bench:
    return Bench(pack)


@pytest.fixture
def closed(pack: Pack) -> Bench:
    bench = Bench(pack)
    bench.close()
    bench.sent.clear()
    return bench


# Permits


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


# Obstacles


def _verdict_stale(bench: Bench) -> Actions:
    return [bench.tick(verdict=False) for _ in range(10)][-1]


def _feedback_stale(bench: Bench) -> Actions:
    return [bench.tick(feedback=False) for _ in range(6)][-1]


def _second_publisher(bench: Bench) -> Actions:
    bench.controller.foreign_publishers(["cells/measurement"])
    return bench.tick()


def _weld(bench: Bench) -> Actions:
    bench.follows = False
    bench.board = replace(bench.board, closed=0b001)
    return [bench.tick() for _ in range(6)][-1]


def _supervisor_silent(bench: Bench) -> Actions:
    return [bench.tick(request=False) for _ in range(151)][-1]


def _demand(bench: Bench) -> Actions:
    bench.healthy = replace(bench.healthy, demands_opening=True)
    return bench.tick()


def _loop_stood_still(bench: Bench) -> Actions:
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
    closed: Bench, obstacle: Callable[[Bench], Actions], reason: Reason
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
    closed: Bench, obstacle: Callable[[Bench], Actions], reason: Reason
) -> None:
    obstacle(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False)
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
    closed.healthy = replace(closed.healthy, demands_opening=False)
    closed.run(20)
    assert closed.commands == [OPEN]


def test_an_old_wish_does_not_come_back_after_a_newer_one(closed: Bench) -> None:
    """Sequences of wishes only move forward, even if somebody repeats an earlier one."""
    old = closed.wish
    _demand(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False)
    closed.ask("closed")
    closed.run(10)
    _demand(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False)
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


# Closing


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
    assert "sideways" in actions.events[0]


def test_a_configuration_without_a_way_is_told_once_and_changes_nothing(closed: Bench) -> None:
    closed.ask("precharge")
    closed.run(5)
    assert closed.controller.commanded == "closed"
    events = [event for actions in closed.sent for event in actions.events]
    assert len(events) == 1
    assert "no way from 'closed'" in events[0]


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
    _demand(closed)
    closed.healthy = replace(closed.healthy, demands_opening=False)
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


def test_a_board_that_opens_by_itself_is_followed_and_told(closed: Bench) -> None:
    closed.board = replace(closed.board, closed=OPEN, armed=False, dead_man_latched=True)
    actions = closed.tick()
    assert closed.controller.commanded == "open"
    assert closed.controller.reason is Reason.NOT_ARMED
    assert actions.events == ["the switch board opened by itself"]
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
    assert "the switch board did not arm in time" in [e for a in bench.sent for e in a.events]
    bench.follows = True
    bench.run(10)
    assert bench.controller.commanded == "open"  # the wish is void by now
    bench.ask("closed")
    bench.run(10)
    assert bench.controller.commanded == "closed"


def test_a_board_found_closed_after_a_restart_gets_no_permit(pack: Pack) -> None:
    bench = Bench(pack)
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


def test_route(pack: Pack) -> None:
    assert route(pack.switching, "open", "closed") == ["precharge", "closing", "closed"]
    assert route(pack.switching, "closed", "open") == ["open"]
    assert route(pack.switching, "closed", "closed") == []
    assert route(pack.switching, "closed", "precharge") is None
