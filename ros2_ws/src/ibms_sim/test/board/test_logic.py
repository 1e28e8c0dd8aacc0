# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_battery.pack import Switch
from ibms_sim.board.logic import OpenCause, SwitchBoard

MS = 1_000_000
DEAD_MAN = 120 * MS
SWITCHES = [Switch("main_negative"), Switch("main_positive"), Switch("precharge")]
MAXIMUM = 2**32


@dataclass
class Driver:
    """Feeds a board and moves time."""

    board: SwitchBoard
    now: int = 0
    scan: int = 0

    def permits(self, duration_ms: int, allowed: bool = True) -> None:
        for _ in range(duration_ms // 20):
            self.scan = (self.scan + 1) % MAXIMUM
            self.board.permit(self.scan, allowed, self.now)
            self.wait(20)

    def wait(self, duration_ms: int) -> None:
        for _ in range(duration_ms):
            self.now += MS
            self.board.advance(self.now)

    def command(self, closed: int, arm: bool = False, challenge: int | None = None) -> None:
        right = self.board.challenge
        self.board.command(closed, arm, right if challenge is None else challenge, self.now)

    def close(self) -> None:
        self.permits(60)
        self.command(0, arm=True)
        self.command(0b11)
        self.permits(60)
        assert self.board.conducting == 0b11


@pytest.fixture
def driver() -> Driver:
    return Driver(SwitchBoard(SWITCHES, 7, 0.12))


def test_starts_open_and_unarmed(driver: Driver) -> None:
    board = driver.board
    assert (board.armed, board.latched, board.conducting) == (False, False, 0)
    assert board.cause is OpenCause.START


def test_closing_without_arming_is_ignored_and_recorded(driver: Driver) -> None:
    driver.permits(60)
    driver.command(0b11)
    driver.permits(60)
    assert driver.board.conducting == 0
    assert driver.board.cause is OpenCause.CLOSE_WITHOUT_ARMING


def test_closes_after_its_closing_time_and_opens_after_its_opening_time(driver: Driver) -> None:
    driver.permits(60)
    driver.command(0, arm=True)
    driver.command(0b11)
    driver.wait(19)
    assert driver.board.conducting == 0
    driver.wait(1)
    assert driver.board.conducting == 0b11
    driver.command(0)
    assert driver.board.driven == 0
    driver.wait(14)
    assert driver.board.conducting == 0b11
    driver.wait(1)
    assert driver.board.conducting == 0
    assert driver.board.cause is OpenCause.COMMAND


@pytest.mark.parametrize(
    "reason", ["challenge", "bit", "closing", "allowed", "permits", "interlock"]
)
def test_does_not_arm(driver: Driver, reason: str) -> None:
    if reason != "permits":
        driver.permits(60, allowed=reason != "allowed")
    if reason == "interlock":
        driver.board.set_interlock(False, driver.now)
    driver.command(
        closed=1 if reason == "closing" else 0,
        arm=reason != "bit",
        challenge=driver.board.challenge + (1 if reason == "challenge" else 0),
    )
    assert not driver.board.armed


def test_a_single_or_repeated_permit_is_not_advancing(driver: Driver) -> None:
    for _ in range(10):
        driver.board.permit(500, True, driver.now)
        driver.wait(20)
    assert not driver.board.permit_fresh(driver.now)
    driver.command(0, arm=True)
    assert not driver.board.armed


def test_opens_and_latches_when_permits_stop(driver: Driver) -> None:
    driver.close()
    challenge = driver.board.challenge
    driver.wait(99)  # the last permit was 20 ms before
    assert driver.board.driven == 0b11
    driver.wait(1)
    assert driver.board.driven == 0
    assert (driver.board.armed, driver.board.latched) == (False, True)
    assert driver.board.cause is OpenCause.PERMIT_STOPPED
    assert driver.board.challenge != challenge
    driver.wait(15)
    assert driver.board.conducting == 0
    # Permits that come back close nothing, and the old challenge arms nothing.
    driver.permits(100)
    driver.command(0b11)
    driver.command(0, arm=True, challenge=challenge)
    driver.command(0b11)
    driver.permits(100)
    assert driver.board.conducting == 0
    driver.command(0, arm=True)
    driver.command(0b11)
    driver.permits(60)
    assert driver.board.conducting == 0b11


def test_old_scan_counters_do_not_hold_it_closed(driver: Driver) -> None:
    driver.close()
    for _ in range(10):
        driver.board.permit(driver.scan, True, driver.now)
        driver.board.permit(driver.scan - 1, True, driver.now)
        driver.wait(20)
    assert driver.board.conducting == 0
    assert driver.board.latched


def test_the_scan_counter_may_wrap(driver: Driver) -> None:
    driver.scan = MAXIMUM - 4
    driver.close()
    driver.permits(200)
    assert driver.scan < 20
    assert driver.board.conducting == 0b11


def test_a_scan_counter_that_starts_anew_is_taken_up_after_the_standstill(driver: Driver) -> None:
    driver.close()
    driver.wait(200)
    driver.scan = 0
    driver.close()


def test_a_permit_that_forbids_closing_opens_nothing_but_stops_closing(driver: Driver) -> None:
    driver.close()
    driver.permits(60, allowed=False)
    driver.command(0b111)
    driver.permits(60, allowed=False)
    assert driver.board.conducting == 0b11
    driver.command(0b01)
    driver.permits(60, allowed=False)
    driver.command(0b11)
    driver.permits(60, allowed=False)
    assert driver.board.conducting == 0b01


@pytest.mark.parametrize("cause", [OpenCause.INTERLOCK, OpenCause.EMERGENCY_STOP, OpenCause.CRASH])
def test_safety_inputs_open_latch_and_disarm(driver: Driver, cause: OpenCause) -> None:
    driver.close()

    def act(on: bool) -> None:
        if cause is OpenCause.INTERLOCK:
            driver.board.set_interlock(not on, driver.now)
        elif cause is OpenCause.CRASH:
            driver.board.set_crash(on, driver.now)
        else:
            driver.board.set_emergency_stop(on, driver.now)

    act(True)
    assert driver.board.driven == 0
    assert (driver.board.armed, driver.board.latched, driver.board.cause) == (False, True, cause)
    driver.permits(60)
    driver.command(0, arm=True)
    assert not driver.board.armed
    act(False)
    driver.command(0b11)
    driver.permits(60)
    assert driver.board.conducting == 0
    driver.close()


def test_a_contact_welds_that_cannot_break_its_current(driver: Driver) -> None:
    driver.close()
    board, contactor = driver.board, driver.board.contactors[0]
    seen = []

    def look() -> None:
        seen.append((board.conducting, board.auxiliary, contactor.arced))

    board.unbreakable = 0b01
    driver.command(0)
    driver.wait(14)
    look()
    driver.wait(1)
    look()
    board.unbreakable = 0  # the arc is gone, the weld is not
    driver.wait(100)
    look()
    for welded in (True, False):
        contactor.set_faults(welded, hides_weld=False, blocked=False, now_ns=driver.now)
        driver.wait(15)
        look()
    assert seen == [(3, 3, False), (1, 1, True), (1, 1, True), (1, 1, True), (0, 0, False)]


def test_what_counts_is_the_current_when_the_contacts_part(driver: Driver) -> None:
    driver.close()
    driver.board.unbreakable = 0b11
    driver.command(0)
    driver.wait(10)
    driver.board.unbreakable = 0  # the fuse was quicker
    driver.wait(5)
    assert driver.board.conducting == 0


@pytest.mark.parametrize("time_s", [0.0, -0.1, 0.2001])
def test_refuses_a_dead_man_time_out_of_range(time_s: float) -> None:
    with pytest.raises(ValueError, match="dead-man time"):
        SwitchBoard(SWITCHES, 0, time_s)


OPERATIONS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 150)),
    st.tuples(st.just("permit"), st.integers(-3, 4), st.booleans()),
    st.tuples(st.just("command"), st.integers(0, 7), st.booleans(), st.booleans()),
    st.tuples(st.just("arm")),
    st.tuples(st.just("stream"), st.integers(2, 8)),
    st.tuples(st.just("interlock"), st.booleans()),
    st.tuples(st.just("emergency_stop"), st.booleans()),
    st.tuples(st.just("crash"), st.booleans()),
)


@given(st.lists(OPERATIONS, max_size=60), st.integers(0, MAXIMUM - 1))
@settings(max_examples=300, deadline=None)
def test_never_holds_closed_without_advancing_permits_nor_closes_unarmed(
    operations: list[tuple[str, int, bool, bool]], first_scan: int
) -> None:
    board = SwitchBoard(SWITCHES, 0, 0.12)
    now, newest, advanced_at = 0, first_scan, -DEAD_MAN
    armed_since_trip = False
    driven_before, opened_at = 0, 0
    board.permit(newest, True, now)

    def invariants() -> None:
        nonlocal armed_since_trip, driven_before, opened_at
        board.advance(now)
        if board.latched:
            armed_since_trip = False
        if board.driven:
            assert now - advanced_at < DEAD_MAN
            assert armed_since_trip
            assert board.armed
            assert board.interlock_closed
            assert not board.emergency_stop
            assert not board.crash
        if driven_before and not board.driven:
            opened_at = now
        if not board.driven and now - opened_at >= 15 * MS:
            assert board.conducting == 0
        driven_before = board.driven

    for name, *values in operations:
        if name == "wait":
            for _ in range(int(values[0])):
                now += MS
                invariants()
            continue
        if name in {"permit", "stream"}:
            steps = [int(values[0])] if name == "permit" else [1] * int(values[0])
            for step in steps:
                counter = (newest + step) % MAXIMUM
                if step > 0:
                    newest, advanced_at = counter, now
                board.permit(counter, name == "stream" or bool(values[1]), now)
                invariants()
                if name == "stream":
                    now += 20 * MS
                    invariants()
            continue
        if name == "command":
            closed, arm, right = int(values[0]), bool(values[1]), bool(values[2])
            armed_since_trip |= arm and right and closed == 0
            board.command(closed, arm, board.challenge ^ (0 if right else 1), now)
        elif name == "arm":
            armed_since_trip = True
            board.command(0, True, board.challenge, now)
        elif name == "interlock":
            board.set_interlock(bool(values[0]), now)
        elif name == "crash":
            board.set_crash(bool(values[0]), now)
        else:
            board.set_emergency_stop(bool(values[0]), now)
        invariants()
