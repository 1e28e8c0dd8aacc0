# SPDX-License-Identifier: Apache-2.0
"""Levels, states, directions, counters, inverse time, isolation and lock-outs of the engine."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_edge.protection.signals import SIGNALS, Signal
from ibms_edge.protection.table import Level, Reaction

MS = 1_000_000
NAN = math.nan
LEVELS = {"operating": 4.1, "recommended": 4.2, "safety": 4.3}


def test_each_level_demands_more_and_lower_ones_recover_by_themselves(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(above=LEVELS, recovery_s=0.0))
    assert guard.scan(4.15, 4.0, 4.0).reaction is Reaction.INFORM
    assert guard.scan(4.25, 4.0, 4.0).reaction is Reaction.DERATE
    verdict = guard.scan(4.35, 4.0, 4.0)
    assert verdict.reaction is Reaction.OPEN_NOW
    assert [fault.level for fault in verdict.active] == [
        Level.SAFETY,
        Level.RECOMMENDED,
        Level.OPERATING,
    ]
    verdict = guard.scan(4.0, 4.0, 4.0)
    assert [fault.level for fault in verdict.cleared_now] == [Level.OPERATING, Level.RECOMMENDED]
    assert [fault.level for fault in verdict.active] == [Level.SAFETY]  # latched
    assert guard.engine.acknowledge() == ([1], [])


def test_a_row_that_only_informs_informs_at_every_level(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(above=LEVELS, reaction="inform"))
    assert guard.scan(4.35, 4.0, 4.0).reaction is Reaction.INFORM


def test_a_row_applies_in_its_states_only_and_everywhere_while_the_state_is_unknown(
    guard_of: Any,
) -> None:
    guard = guard_of(guard_of.row(states=["charge", "drive"]))
    guard.engine.set_context("standby", None)
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.NONE
    guard.engine.set_context("drive", None)
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW
    other = guard_of(guard_of.row(states=["charge"]))
    other.engine.set_context(None, None)
    assert other.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW


def test_leaving_its_state_ends_a_pending_fault_and_lets_a_standing_one_recover(
    guard_of: Any,
) -> None:
    guard = guard_of(guard_of.row(states=["drive"], samples=3, latched=False, recovery_s=0.05))
    guard.engine.set_context("drive", None)
    guard.scan(4.3, 4.0, 4.0)
    guard.scan(4.3, 4.0, 4.0)
    guard.engine.set_context("standby", None)
    guard.scan(NAN, 4.0, 4.0)  # nothing stands whatever it measures
    guard.engine.set_context("drive", None)
    guard.scan(4.3, 4.0, 4.0)
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.NONE
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW
    guard.engine.set_context("error", None)
    for _ in range(4):
        verdict = guard.scan(NAN, 4.0, 4.0)
    assert verdict.reaction is Reaction.NONE


def test_a_row_of_a_direction_applies_only_while_current_flows_that_way(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(direction="charge"))
    for direction in (None, "discharge"):
        guard.engine.set_context("drive", direction)
        assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.NONE
    guard.engine.set_context("drive", "charge")
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW


# Counter


@settings(max_examples=100, deadline=None, derandomize=True)
@given(trips_at=st.integers(1, 5), bad=st.lists(st.sampled_from([True, False, None]), max_size=60))
def test_a_counter_goes_up_and_down(guard_of: Any, trips_at: int, bad: list[bool | None]) -> None:
    guard = guard_of(guard_of.row(debounce="counter", samples=trips_at, latched=False))
    count, active = 0, False
    for one in bad:
        if one is not None:
            count = min(count + 1, trips_at) if one else max(count - 1, 0)
        if count == trips_at:
            active = True
        elif count == 0:
            active = False
        value = NAN if one is None else 4.3 if one else 4.0
        assert bool(guard.scan(value, 4.0, 4.0).active) == active


# Inverse time

CURVE = [[100.0, 60.0], [200.0, 10.0], [400.0, 1.0]]


@pytest.mark.parametrize(
    ("current_a", "seconds"),
    # In between by the logarithms: 60 * (10 / 60) ** (log(1.5) / log(2)).
    [(110.0, 46.9), (150.0, 21.0), (200.0, 10.0), (400.0, 1.0), (1000.0, 1.0)],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_curve_trips_after_its_time(
    guard_of: Any, current_a: float, seconds: float, sign: float
) -> None:
    limit = {"above" if sign > 0 else "below": 100.0 * sign}
    curve = [[a * sign, s] for a, s in CURVE]
    guard = guard_of(guard_of.row(signal="pack_current", curve=curve, **({"above": None} | limit)))
    guard.scan(pack_current=0.0)
    begin_ns = guard.now_ns
    while guard.scan(pack_current=current_a * sign, step_ms=50).reaction is Reaction.NONE:
        assert guard.now_ns - begin_ns < 70e9
    # The first bad sample, 50 ms after the last good one, is where its time begins.
    assert (guard.now_ns - begin_ns) / 1e9 - 0.05 == pytest.approx(seconds, rel=0.01, abs=0.01)


def test_a_curve_remembers_pulses_and_forgets_them_slowly(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(signal="pack_current", above=100.0, curve=CURVE))
    guard.scan(pack_current=0.0)

    def hold(current_a: float, seconds: float) -> Reaction:
        for _ in range(round(seconds * 20)):
            verdict = guard.scan(pack_current=current_a, step_ms=50)
        return Reaction(verdict.reaction)

    assert hold(200.0, 6.0) is Reaction.NONE
    assert hold(0.0, 6.0) is Reaction.NONE  # a tenth is forgotten
    assert hold(200.0, 4.5) is Reaction.NONE
    assert hold(200.0, 1.0) is Reaction.OPEN_NOW
    assert guard.engine.acknowledge() == ([], [1])
    hold(0.0, 40.0)
    assert guard.engine.acknowledge() == ([1], [])


def test_a_gap_between_samples_is_no_time_of_overload(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(signal="pack_current", above=100.0, curve=CURVE))
    guard.scan(pack_current=200.0)
    assert guard.scan(pack_current=200.0, step_ms=9_000).reaction is Reaction.NONE
    assert guard.scan(pack_current=200.0, step_ms=9_000).reaction is Reaction.NONE


# Isolation


def isolating(guard_of: Any, **changes: Any) -> Any:
    rows = guard_of.row(reaction="isolate", samples=2, isolate_s=0.1, recovery_s=0.0, **changes)
    guard = guard_of(rows, guard_of.row(2, above=4.4, samples=2, recovery_s=0.0))
    guard.engine.set_isolated(np.zeros(3, np.bool_))
    guard.scan(4.0, 4.0, 4.0)
    guard.scan(4.3, 4.0, 4.0)
    return guard


def test_isolation_is_demanded_of_the_cells_that_tripped(guard_of: Any) -> None:
    guard = isolating(guard_of)
    verdict = guard.scan(4.3, 4.0, 4.3)
    assert (verdict.reaction, verdict.isolate_cells) == (Reaction.ISOLATE, [0])
    verdict = guard.scan(4.3, 4.0, 4.3)
    assert verdict.isolate_cells == [0, 2]
    assert verdict.first_cause is None


def test_a_cell_that_is_not_shown_isolated_in_its_time_opens_the_pack(guard_of: Any) -> None:
    guard = isolating(guard_of)
    guard.scan(4.3, 4.0, 4.0)
    assert guard.silence(step_ms=99).reaction is Reaction.ISOLATE
    verdict = guard.silence(step_ms=1)
    assert verdict.reaction is Reaction.OPEN_NOW
    assert verdict.first_cause is not None
    guard.engine.set_isolated(np.array([True, False, False]))  # too late
    assert guard.silence().reaction is Reaction.OPEN_NOW


def test_the_second_cell_has_its_own_time(guard_of: Any) -> None:
    guard = isolating(guard_of)
    guard.scan(4.3, 4.0, 4.0)
    guard.engine.set_isolated(np.array([True, False, False]))
    for _ in range(50):
        assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.ISOLATE
    guard.scan(4.3, 4.3, 4.0)
    assert guard.scan(4.3, 4.3, 4.0).isolate_cells == [0, 1]
    assert guard.silence(step_ms=99).reaction is Reaction.ISOLATE
    assert guard.silence(step_ms=1).reaction is Reaction.OPEN_NOW


def test_an_isolation_that_is_lost_opens_at_once(guard_of: Any) -> None:
    guard = isolating(guard_of)
    guard.scan(4.3, 4.0, 4.0)
    guard.engine.set_isolated(np.array([True, False, False]))
    guard.silence(step_ms=500)
    guard.engine.set_isolated(np.zeros(3, np.bool_))
    assert guard.silence().reaction is Reaction.OPEN_NOW


def test_without_an_isolating_topology_isolation_means_opening(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(reaction="isolate"))
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW


def test_an_isolated_cell_trips_nothing_electrical_and_does_not_forbid_closing(
    guard_of: Any,
) -> None:
    guard = isolating(guard_of)
    guard.scan(4.3, 4.0, 4.0)
    guard.engine.set_isolated(np.array([True, False, False]))
    for _ in range(10):
        verdict = guard.scan(4.5, 4.0, 4.0)
    assert [fault.diagnosis.id for fault in verdict.active] == [1]
    assert verdict.close_allowed
    assert guard.engine.acknowledge() == ([], [1])  # its voltage still is too high
    guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([1], [])
    assert guard.scan(4.0, 4.0, 4.0).isolate_cells == []


@pytest.mark.parametrize(
    ("signal", "limit", "bad"),
    [
        ("thermal_runaway_rate", {"above": 1.0}, 2.0),
        ("cell_temperature", {"above": 60.0}, 70.0),
        ("cell_temperature_rate", {"above": 1.0}, 2.0),
        ("gas", {"above": 500.0}, 900.0),
        ("insulation_per_volt", {"above": None, "below": 100.0}, 50.0),
    ],
)
def test_an_isolated_cell_keeps_what_it_can_do_to_its_surroundings(
    guard_of: Any, signal: Signal, limit: dict[str, float | None], bad: float
) -> None:
    guard = guard_of(guard_of.row(signal=signal, samples=3, **limit))
    guard.engine.set_isolated(np.array([True, True, True]))
    for _ in range(3):
        guard.put(**{signal: bad})
        guard.now_ns += 20 * MS
        verdict = guard.engine.evaluate({SIGNALS[signal].source: guard.now_ns}, guard.now_ns)
    assert verdict.reaction is Reaction.OPEN_NOW


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([4.0, 4.3, NAN]), st.booleans(), st.sampled_from([5, 20, 60])),
        min_size=1,
        max_size=40,
    )
)
def test_nothing_extends_the_time_of_an_isolation(
    guard_of: Any, steps: list[tuple[float, bool, int]]
) -> None:
    guard = isolating(guard_of)
    guard.scan(4.3, 4.0, 4.0)
    tripped_ns, opened = guard.now_ns, False
    for voltage_v, isolated, step_ms in steps:
        guard.engine.set_isolated(np.array([isolated, False, False]))
        reaction = guard.scan(voltage_v, 4.0, 4.0, step_ms=step_ms).reaction
        opened = opened or (not isolated and guard.now_ns - tripped_ns >= 100 * MS)
        assert (reaction is Reaction.OPEN_NOW) == opened


# Lock-outs


def test_a_lock_out_is_restored_and_cleared_only_by_its_name(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(lockout=True, recovery_s=0.0))
    assert not guard.scan(4.0, 4.0, 4.0).close_allowed  # the memory was not heard yet
    guard.engine.waits_for_lockouts = False
    assert guard.scan(4.0, 4.0, 4.0).close_allowed
    assert guard.engine.restore(1, 2, 4.4, guard.now_ns)
    assert not guard.engine.restore(9, 2, 4.4, guard.now_ns)
    verdict = guard.scan(4.0, 4.0, 4.0)
    assert verdict.reaction is Reaction.OPEN_NOW
    assert [(fault.element, fault.value) for fault in verdict.active] == [(2, 4.4)]
    guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([], [1])
    assert guard.engine.acknowledge([1]) == ([1], [])
    assert guard.scan(4.0, 4.0, 4.0).close_allowed


def test_a_restored_lock_out_has_to_be_seen_good_first(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(lockout=True, recovery_s=0.0))
    guard.engine.restore(1, 2, 4.4, guard.now_ns)
    assert guard.engine.acknowledge([1]) == ([], [1])  # nothing was measured yet
    guard.scan(4.0, NAN, 4.0)
    assert guard.engine.acknowledge([1]) == ([], [1])
    guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge([1]) == ([1], [])


def test_while_all_is_open_nothing_is_to_be_isolated_and_closing_gives_new_time(
    guard_of: Any,
) -> None:
    guard = isolating(guard_of)
    guard.engine.set_all_open(True, guard.now_ns)
    guard.scan(4.3, 4.0, 4.0)
    for _ in range(50):
        verdict = guard.scan(4.3, 4.0, 4.0)
    assert (verdict.reaction, verdict.isolate_cells) == (Reaction.ISOLATE, [0])
    guard.engine.set_all_open(False, guard.now_ns)
    assert guard.silence(step_ms=99).reaction is Reaction.ISOLATE
    assert guard.silence(step_ms=1).reaction is Reaction.OPEN_NOW


def test_a_cell_about_to_be_isolated_does_not_hold_back_its_bypass(guard_of: Any) -> None:
    guard = isolating(guard_of)  # the second row, above 4.4 V, opens after its second sample
    verdict = guard.scan(4.5, 4.0, 4.0)
    assert verdict.isolate_cells == [0]
    assert verdict.close_allowed
    verdict = guard.scan(4.3, 4.5, 4.0)
    assert not verdict.close_allowed  # that of another cell does
