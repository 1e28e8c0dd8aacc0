# SPDX-License-Identifier: Apache-2.0
import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_battery.pack import Charger
from ibms_edge.charging.elcon import NO_OUTPUT, ChargerStatus, Report, Request
from ibms_edge.charging.session import (
    Allowed,
    Cells,
    ChargeSession,
    PackNow,
    Rules,
    Severity,
    State,
)
from ibms_edge.limits.power_limits import LimitedBy
from ibms_msgs.msg import ChargerState, Event

S = 1_000_000_000
STEP_NS = S // 10
CHARGER = Charger(protocol="elcon", maximum_voltage_v=420.0, maximum_current_a=16.0)
CAPACITY_AH = 140.0
GROUPS, CELL_V = 96, 4.2
RULES = Rules()


class Bench:
    """A session with a pack, and a charger that follows requests by 5 A per step."""

    def __init__(self) -> None:
        self.session = ChargeSession(CHARGER, CAPACITY_AH, GROUPS, CELL_V)
        self.now_ns = 1000 * S
        self.news: list[tuple[Severity, str]] = []
        self.asked = NO_OUTPUT
        # The charger
        self.plugged = True
        self.status = ChargerStatus(0)
        self.factor = 1.0
        self.stuck_a: float | None = None
        self.output_a = 0.0
        # The pack
        self.in_charge = True
        self.leaving = False
        self.limit_a = 95.0
        self.limited_by = LimitedBy.RATING
        self.cell_v = 3.8
        self.excess_v = 0.0  # what the switch board measures more than the cells
        self.speaks = {"limits", "pack", "cells"}

    def state(self) -> State:
        return self.session.state

    def run(self, seconds: float, **changes: Any) -> Request:
        for name, value in changes.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        for _ in range(round(seconds * 10)):
            self._step()
        return self.asked

    def _step(self) -> None:
        session, now = self.session, self.now_ns
        target_a = self.asked.current_a if self.plugged else 0.0
        self.output_a += min(max(target_a - self.output_a, -5.0), 5.0)
        if not self.plugged:
            self.output_a = 0.0
        delivered_a = self.output_a * self.factor if self.stuck_a is None else self.stuck_a
        if self.plugged and now % S == 0:
            volts = GROUPS * self.cell_v
            session.take_report(Report(now, volts, delivered_a, self.status))
        if "pack" in self.speaks:
            session.take_pack_state(PackNow(now, self.in_charge, self.leaving))
        if "limits" in self.speaks:
            limit = Allowed(now, self.limit_a, GROUPS * CELL_V, self.limited_by)
            session.take_allowed(limit)
        if "cells" in self.speaks:
            session.take_cells(Cells(now, delivered_a, self.cell_v))
            session.take_pack_voltage(GROUPS * self.cell_v + self.excess_v)
        self.asked = session.step(now)
        self.news += session.news
        session.news.clear()
        self.now_ns += STEP_NS


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def charging(bench: Bench) -> Bench:
    bench.run(5.0)
    assert bench.state() is State.CHARGING
    bench.news.clear()
    return bench


def test_states_and_severities_are_those_of_the_interfaces() -> None:
    for state in State:
        assert getattr(ChargerState, f"STATE_{state.name}") == state
    for severity in Severity:
        assert getattr(Event, f"SEVERITY_{severity.name}") == severity


def test_without_a_charger_nothing_is_asked_for(bench: Bench) -> None:
    assert bench.run(10.0, plugged=False) == NO_OUTPUT
    assert bench.state() is State.UNPLUGGED
    assert not bench.news


def test_plugging_alone_starts_nothing(bench: Bench) -> None:
    assert bench.run(60.0, in_charge=False) == NO_OUTPUT
    assert bench.state() is State.PLUGGED
    assert bench.session.text == "plugged in; the pack is not in state charge"
    assert [text for _, text in bench.news] == ["a charger is plugged in"]


def test_state_charge_asks_for_the_least_of_limit_and_ratings(bench: Bench) -> None:
    assert bench.run(2.0) == Request(pytest.approx(403.2), 16.0)  # type: ignore[arg-type]
    assert bench.run(1.0, limit_a=7.25).current_a == pytest.approx(7.2)
    small = Charger(protocol="elcon", maximum_voltage_v=380.0, maximum_current_a=3.0)
    bench.session = ChargeSession(small, CAPACITY_AH, GROUPS, CELL_V)
    bench.asked = NO_OUTPUT
    asked = bench.run(2.0, limit_a=95.0, output_a=0.0)
    assert asked == Request(pytest.approx(380.0), pytest.approx(3.0))  # type: ignore[arg-type]


def test_a_pack_that_takes_no_current_is_told_and_waits(bench: Bench) -> None:
    assert bench.run(5.0, limit_a=0.0, limited_by=LimitedBy.TEMPERATURE) == NO_OUTPUT
    assert bench.state() is State.PLUGGED
    assert "too cold or too hot" in bench.session.text
    assert bench.run(1.0, limit_a=20.0).current_a == 16.0


def test_current_ends_when_the_limit_does(charging: Bench) -> None:
    assert charging.run(0.1, limit_a=0.0, limited_by=LimitedBy.FAULT) == NO_OUTPUT
    assert charging.state() is State.PLUGGED


@pytest.mark.parametrize("silent", ["limits", "pack"])
def test_stale_inputs_stop_at_once(charging: Bench, silent: str) -> None:
    charging.speaks.discard(silent)
    assert charging.run(0.3).current_a == 16.0
    assert charging.run(0.1) == NO_OUTPUT
    assert "not known" in charging.session.text
    charging.speaks.add(silent)
    assert charging.run(0.1).current_a == 16.0


def test_leaving_charge_ramps_down_first(charging: Bench) -> None:
    charging.leaving = True
    asked = [charging.run(0.1).current_a for _ in range(12)]
    assert charging.state() is State.RAMP_DOWN
    assert asked == sorted(asked, reverse=True)
    fall = [before - after for before, after in zip([16.0, *asked], asked, strict=False)]
    assert max(fall) <= 16.0 * 0.1 / RULES.ramp_down_s + 0.11
    assert asked[-1] == 0.0
    charging.run(2.0)
    assert charging.state() is State.PLUGGED
    assert charging.run(3.0, in_charge=False, leaving=False) == NO_OUTPUT
    assert not charging.session.over_delivery


def test_a_pack_that_opens_without_asking_stops_at_once(charging: Bench) -> None:
    assert charging.run(0.1, in_charge=False) == NO_OUTPUT
    assert charging.state() is State.PLUGGED


def test_a_ramp_is_over_in_bounded_time_even_if_the_charger_goes_on(charging: Bench) -> None:
    charging.run(1.5, leaving=True)
    charging.stuck_a = 16.0
    charging.run(RULES.settle_s + 0.5)
    assert charging.state() is State.FAULT
    assert charging.session.over_delivery


def taper(bench: Bench) -> None:
    """The highest cell has reached its voltage, and the limit follows it down."""
    bench.run(5.0, cell_v=4.19, limited_by=LimitedBy.CELL_VOLTAGE, limit_a=10.0)
    assert bench.state() is State.CHARGING
    bench.run(RULES.full_s - 0.5, limit_a=4.0)
    assert bench.state() is State.CHARGING
    bench.run(4.0)


def test_a_small_current_at_full_voltage_for_long_enough_ends_the_charge(charging: Bench) -> None:
    taper(charging)
    assert charging.state() is State.COMPLETE
    assert charging.asked == NO_OUTPUT
    assert charging.news[-1] == (Severity.INFO, "the pack is full")


def test_constant_voltage_of_the_charger_ends_the_charge_as_well(charging: Bench) -> None:
    charging.run(15.0, cell_v=4.199, factor=3.0 / 16.0)
    assert charging.state() is State.COMPLETE


def test_a_full_pack_is_charged_again_when_its_voltage_has_fallen(charging: Bench) -> None:
    taper(charging)
    charging.run(60.0, cell_v=4.11, limit_a=50.0)
    assert charging.state() is State.COMPLETE
    charging.run(2.0, cell_v=4.08)
    assert charging.state() is State.CHARGING


def test_a_full_pack_asked_to_charge_anew_is_found_full(bench: Bench) -> None:
    bench.run(5.0, cell_v=4.19, limit_a=0.5, limited_by=LimitedBy.CELL_VOLTAGE)
    assert bench.state() is State.COMPLETE
    bench.run(1.0, in_charge=False)
    assert bench.state() is State.PLUGGED


def test_an_empty_cold_pack_is_not_taken_for_full(bench: Bench) -> None:
    """The tighter side is then the discharge of an empty cell."""
    bench.run(30.0, cell_v=2.7, limit_a=3.0, limited_by=LimitedBy.CELL_VOLTAGE)
    assert bench.state() is State.CHARGING


def test_silence_while_charging_is_a_fault_then_unplugged(charging: Bench) -> None:
    charging.run(RULES.silent_s - 1.0, plugged=False)
    assert charging.state() is State.CHARGING
    assert charging.run(1.2) == NO_OUTPUT
    assert charging.state() is State.FAULT
    assert charging.news == [(Severity.WARNING, "the charger fell silent while charging")]
    charging.run(2.0)
    assert charging.state() is State.UNPLUGGED
    charging.run(2.0, plugged=True)
    assert charging.state() is State.CHARGING


def test_unplugging_at_rest_is_no_fault(bench: Bench) -> None:
    bench.run(3.0, in_charge=False)
    bench.run(4.0, plugged=False)
    assert bench.state() is State.UNPLUGGED
    assert [severity for severity, _ in bench.news] == [Severity.INFO, Severity.INFO]


@pytest.mark.parametrize("source", ["charger", "pack sensor"])
def test_more_than_asked_for_stops_at_once_with_an_error(charging: Bench, source: str) -> None:
    if source == "charger":
        charging.speaks.discard("cells")
    took_s = 0.0
    charging.factor = 1.2
    while charging.state() is State.CHARGING and took_s < 5.0:
        charging.run(0.1)
        took_s += 0.1
    assert charging.session.over_delivery
    assert charging.asked == NO_OUTPUT
    assert took_s <= (0.35 if source == "pack sensor" else 3.0)
    (severity, text) = charging.news[-1]
    assert severity is Severity.ERROR
    assert text.startswith(f"over-delivery: the {source} shows 19.2 A, at most 16.0 A")


def test_more_voltage_than_asked_for_stops_as_well(charging: Bench) -> None:
    charging.run(2.0, cell_v=4.19, excess_v=10.0)
    assert charging.state() is State.CHARGING
    charging.run(1.0, excess_v=20.0)
    assert charging.state() is State.FAULT
    assert charging.news[-1][1].startswith("over-delivery: the pack shows 422.2 V, at most 403.2 V")


def test_what_gave_too_much_is_not_asked_again_without_a_new_wish(charging: Bench) -> None:
    charging.run(2.0, factor=1.2)
    assert charging.run(60.0, factor=1.0) == NO_OUTPUT
    assert charging.state() is State.FAULT
    charging.run(6.0, in_charge=False)
    assert charging.state() is State.PLUGGED
    assert not charging.session.over_delivery
    charging.run(2.0, in_charge=True)
    assert charging.state() is State.CHARGING


def test_two_samples_too_high_are_no_over_delivery(charging: Bench) -> None:
    charging.run(0.2, stuck_a=60.0)
    charging.run(5.0, stuck_a=None)
    assert charging.state() is State.CHARGING


@pytest.mark.parametrize(
    "bit",
    [
        ChargerStatus.HARDWARE_FAILURE,
        ChargerStatus.OVERTEMPERATURE,
        ChargerStatus.INPUT_VOLTAGE,
    ],
)
def test_a_charger_that_reports_a_fault_is_left_until_it_is_well(
    charging: Bench, bit: ChargerStatus
) -> None:
    assert charging.run(1.1, status=bit) == NO_OUTPUT
    assert charging.state() is State.FAULT
    assert charging.session.text.startswith("the charger says ")
    charging.run(RULES.recovery_s + 2.0, status=ChargerStatus(0))
    assert charging.state() is State.CHARGING


def test_a_charger_may_take_a_while_to_see_the_battery_but_not_forever(bench: Bench) -> None:
    bench.run(3.0, status=ChargerStatus.STARTING, stuck_a=0.0)
    assert bench.state() is State.CHARGING
    bench.run(3.0)
    assert bench.state() is State.FAULT
    assert bench.session.text == "the charger says that it sees no battery"
    bench.run(60.0, status=ChargerStatus(0))
    assert bench.state() is State.FAULT  # until somebody asks for charge again


EVENTS = st.sampled_from(
    [
        {"plugged": True},
        {"plugged": False},
        {"in_charge": True, "leaving": False},
        {"in_charge": False},
        {"leaving": True},
        {"status": ChargerStatus.OVERTEMPERATURE},
        {"status": ChargerStatus.STARTING},
        {"status": ChargerStatus(0)},
        {"factor": 1.3},
        {"factor": 1.0},
        {"stuck_a": 12.0},
        {"stuck_a": None},
        {"limit_a": 0.0, "limited_by": LimitedBy.FAULT},
        {"limit_a": 3.0, "limited_by": LimitedBy.CELL_VOLTAGE, "cell_v": 4.19},
        {"limit_a": 95.0, "limited_by": LimitedBy.RATING, "cell_v": 3.9},
        {"speaks": {"limits", "pack", "cells"}},
        {"speaks": {"pack", "cells"}},
        {"speaks": {"limits", "cells"}},
        {"speaks": set()},
    ]
)


@given(script=st.lists(st.tuples(EVENTS, st.sampled_from([0.1, 0.5, 3.0, 11.0])), max_size=25))
@settings(max_examples=100, deadline=None)
def test_whatever_happens_no_more_is_asked_for_than_is_allowed(
    script: list[tuple[dict[str, Any], float]],
) -> None:
    bench = Bench()
    spoken = dict.fromkeys(("limits", "pack"), -S)
    for changes, seconds in script:
        bench.run(0.0, **changes)
        for _ in range(round(seconds * 10)):
            spoken |= dict.fromkeys(bench.speaks & spoken.keys(), bench.now_ns)
            now_ns = bench.now_ns
            asked = bench.run(0.1)
            if asked == NO_OUTPUT:
                continue
            assert bench.state() in (State.CHARGING, State.RAMP_DOWN)
            assert asked.current_a <= min(CHARGER.maximum_current_a, bench.limit_a) + 1e-6 or (
                now_ns - spoken["limits"] > 0
            )
            assert asked.voltage_v <= GROUPS * CELL_V + 1e-6
            assert min(now_ns - spoken[name] for name in spoken) <= 0.3 * S
            assert bench.in_charge or now_ns > spoken["pack"]
    # A pack and a charger that are well again always come back to charging, after a new wish.
    healthy = Bench()
    for field in ("plugged", "status", "factor", "stuck_a", "limit_a", "limited_by", "cell_v"):
        setattr(bench, field, getattr(healthy, field))
    bench.run(15.0, in_charge=False, leaving=False, speaks={"limits", "pack", "cells"})
    bench.run(5.0, in_charge=True)
    assert bench.state() is State.CHARGING


def test_rules_keep_the_order_of_their_times() -> None:
    assert RULES.silent_s < RULES.gone_s
    assert dataclasses.replace(RULES).ramp_down_s < 2.0  # the supervisor's patience
