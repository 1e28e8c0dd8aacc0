# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_edge.protection.engine import Verdict
from ibms_edge.protection.table import Diagnosis, Reaction

MS = 1_000_000
NAN = math.nan


# Debounce


def test_it_trips_with_the_third_fresh_sample_and_names_the_worst_cell(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=3))
    assert guard.scan(4.0, 4.0, 4.0).close_allowed
    for _ in range(2):
        verdict = guard.scan(4.30, 4.31, 4.0)
        assert verdict.reaction is Reaction.NONE
        assert not verdict.close_allowed  # a fault that may come blocks closing
    verdict = guard.scan(4.30, 4.31, 4.0)
    assert verdict.reaction is Reaction.OPEN_NOW
    (fault,) = verdict.set_now
    assert (fault.element, fault.value, fault.tripped_ns) == (1, 4.31, guard.now_ns)
    assert guard.scan(4.30, 4.31, 4.0).set_now == []


def test_calls_without_a_fresh_sample_count_nothing(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=2))
    guard.scan(4.3, 4.0, 4.0)
    for _ in range(10):
        assert guard.silence().reaction is Reaction.NONE
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW


def test_each_cell_counts_for_itself(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=2))
    for _ in range(5):
        assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.NONE
        assert guard.scan(4.0, 4.3, 4.0).reaction is Reaction.NONE


def test_a_good_sample_begins_the_count_anew(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=2))
    guard.scan(4.3, 4.0, 4.0)
    guard.scan(4.0, 4.0, 4.0)
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.NONE
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW


def test_the_worst_is_chosen_among_those_that_tripped(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=2))
    guard.scan(4.3, 4.0, 4.0)
    (fault,) = guard.scan(4.3, 4.9, 4.0).set_now  # the second cell is bad for the first time
    assert fault.element == 0


def test_debounce_time_is_the_time_between_samples_not_of_the_calls(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=1, time_s=0.1))
    sampled_ns = guard.now_ns
    guard.engine.values["cell_voltage"][:] = 4.3, 4.0, 4.0

    def judge(sample_ms: int, now_ms: int) -> Verdict:
        verdict: Verdict = guard.engine.evaluate(
            {"cells": sampled_ns + sample_ms * MS}, sampled_ns + now_ms * MS
        )
        return verdict

    assert judge(0, 50).reaction is Reaction.NONE
    assert judge(99, 140).reaction is Reaction.NONE  # 99 ms lie between the samples
    assert judge(100, 141).reaction is Reaction.OPEN_NOW


@pytest.mark.parametrize(
    ("limits", "value", "is_bad"),
    [
        ({"above": 4.25}, 4.25, False),
        ({"above": 4.25}, 4.2501, True),
        ({"above": None, "below": 2.4}, 2.4, False),
        ({"above": None, "below": 2.4}, 2.3999, True),
        ({"above": None, "below": 0.0}, -0.1, True),
    ],
)
def test_the_limit_itself_is_good(
    guard_of: Any, limits: dict[str, Any], value: float, is_bad: bool
) -> None:
    verdict = guard_of(guard_of.row(**limits)).scan(value, 3.0, 3.0)
    assert (verdict.reaction is Reaction.OPEN_NOW) == is_bad


# Unmeasured


def test_nan_neither_trips_nor_clears(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=2, latched=False, recovery_s=0.0))
    guard.scan(4.3, 4.0, 4.0)
    verdict = guard.scan(NAN, 4.0, 4.0)
    assert verdict.reaction is Reaction.NONE
    assert not verdict.close_allowed  # still pending
    assert guard.scan(4.3, 4.0, 4.0).reaction is Reaction.OPEN_NOW
    for _ in range(100):
        assert guard.scan(NAN, 4.0, 4.0).reaction is Reaction.OPEN_NOW
        assert guard.scan(NAN, NAN, NAN).reaction is Reaction.OPEN_NOW
    assert guard.scan(4.0, 4.0, 4.0).reaction is Reaction.NONE


def test_a_cell_that_falls_silent_does_not_recover_by_its_neighbours(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(recovery_s=0.1))
    guard.scan(4.0, 4.3, 4.0)
    for _ in range(50):
        guard.scan(4.0, NAN, 4.0)
    assert guard.engine.acknowledge() == ([], [1])
    for _ in range(10):
        guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([1], [])


def test_a_fault_stands_while_its_source_is_silent(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(latched=False, recovery_s=0.1))
    guard.scan(4.3, 4.0, 4.0)
    for _ in range(100):
        assert guard.silence().reaction is Reaction.OPEN_NOW
    assert guard.engine.acknowledge() == ([], [1])


def test_nan_interrupts_a_recovery(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(latched=False, recovery_s=0.1))
    guard.scan(4.3, 4.0, 4.0)
    for _ in range(10):
        for voltage_v in (4.0, 4.0, NAN):
            assert guard.scan(voltage_v, 4.0, 4.0).reaction is Reaction.OPEN_NOW


def test_inputs_that_never_come_forbid_closing(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(), guard_of.row(2, signal="cells_age", above=0.15))
    verdict = guard.silence(cells_age=-1.0)
    assert verdict.reaction is Reaction.NONE
    assert not verdict.close_allowed
    assert guard.silence(cells_age=0.16).reaction is Reaction.OPEN_NOW


def test_cells_without_the_pack_sensor_forbid_closing(guard_of: Any) -> None:
    guard = guard_of(guard_of.row())
    guard.engine.values["cell_voltage"][:] = 4.0
    assert not guard.engine.evaluate({"cells": guard.now_ns}, guard.now_ns).close_allowed


# Recovery and acknowledgement


def test_recovery_needs_the_hysteresis_and_its_time(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(latched=False, hysteresis=0.05, recovery_s=0.1))
    guard.scan(4.3, 4.0, 4.0)
    for _ in range(20):
        assert guard.scan(4.22, 4.0, 4.0).active  # between
    for _ in range(5):
        assert guard.scan(4.19, 4.0, 4.0).active
    verdict = guard.scan(4.19, 4.0, 4.0)
    assert verdict.active == []
    assert [fault.diagnosis.id for fault in verdict.cleared_now] == [1]
    assert verdict.close_allowed
    assert guard.scan(4.19, 4.0, 4.0).cleared_now == []


def test_recovery_begins_anew_with_each_bad_sample(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(latched=False, recovery_s=0.1))
    guard.scan(4.3, 4.0, 4.0)
    for _ in range(10):
        for voltage_v in (4.0, 4.0, 4.0, 4.3):
            assert guard.scan(voltage_v, 4.0, 4.0).active


def test_every_cell_that_was_bad_has_to_recover(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(latched=False, recovery_s=0.04))
    guard.scan(4.3, 4.0, 4.0)
    guard.scan(4.3, 4.3, 4.0)
    for _ in range(10):
        assert guard.scan(4.0, 4.3, 4.0).active
        assert guard.scan(4.0, NAN, 4.0).active
    for _ in range(3):
        verdict = guard.scan(4.0, 4.0, 4.0)
    assert verdict.active == []


def test_a_cell_that_recovered_does_not_hinder_the_next_one(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(recovery_s=0.0))
    guard.scan(4.3, 4.0, 4.0)
    guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([1], [])
    guard.scan(4.0, 4.3, 4.0)
    guard.scan(NAN, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([1], [])


def test_a_latched_fault_stays_until_acknowledged_and_that_needs_its_condition_gone(
    guard_of: Any,
) -> None:
    guard = guard_of(guard_of.row(hysteresis=0.05, recovery_s=0.1))
    guard.scan(4.3, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([], [1])
    for _ in range(3):
        guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([], [1])  # good, but not for long enough
    for _ in range(10):
        verdict = guard.scan(4.0, 4.0, 4.0)
    assert verdict.reaction is Reaction.OPEN_NOW
    assert verdict.cleared_now == []
    guard.scan(4.3, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([], [1])  # it came back
    for _ in range(10):
        guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge() == ([1], [])
    assert guard.scan(4.0, 4.0, 4.0).close_allowed
    assert guard.engine.acknowledge() == ([], [])


def test_after_an_acknowledgement_it_trips_anew(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(samples=2, recovery_s=0.0))
    for _ in range(3):
        guard.scan(4.3, 4.0, 4.0)
        assert guard.scan(4.3, 4.0, 4.0).set_now
        guard.scan(4.0, 4.0, 4.0)
        assert guard.engine.acknowledge() == ([1], [])


def test_acknowledging_chosen_faults_leaves_the_others(guard_of: Any) -> None:
    guard = guard_of(
        guard_of.row(recovery_s=0.0),
        guard_of.row(2, above=4.26, recovery_s=0.0),
        guard_of.row(3, above=9),
    )
    guard.scan(4.3, 4.0, 4.0)
    guard.scan(4.0, 4.0, 4.0)
    assert guard.engine.acknowledge([2]) == ([2], [])
    assert [fault.diagnosis.id for fault in guard.engine.active] == [1]
    assert guard.engine.acknowledge([3]) == ([], [])
    with pytest.raises(KeyError, match="77"):
        guard.engine.acknowledge([1, 77])
    assert guard.engine.acknowledge([]) == ([1], [])


# Reactions and the first cause


def test_the_strongest_reaction_counts_and_active_faults_are_ordered(guard_of: Any) -> None:
    guard = guard_of(
        guard_of.row(1, reaction="inform", above=4.1),
        guard_of.row(2, reaction="derate", above=4.2),
        guard_of.row(3, reaction="open_now", above=4.3),
    )
    assert guard.scan(4.15, 4.0, 4.0).reaction is Reaction.INFORM
    verdict = guard.scan(4.25, 4.0, 4.0)
    assert (verdict.reaction, verdict.close_allowed) == (Reaction.DERATE, True)
    assert verdict.first_cause is None
    verdict = guard.scan(4.35, 4.0, 4.0)
    assert verdict.reaction is Reaction.OPEN_NOW
    assert [fault.diagnosis.id for fault in verdict.active] == [3, 2, 1]


def test_opening_after_zero_current_becomes_opening_at_its_time(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(reaction="open_after_zero_current", zero_current_s=0.1))
    verdict = guard.scan(4.3, 4.0, 4.0)
    assert verdict.reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    assert not verdict.close_allowed
    assert guard.silence(step_ms=99).reaction is Reaction.OPEN_AFTER_ZERO_CURRENT
    assert guard.silence(step_ms=1).reaction is Reaction.OPEN_NOW
    assert guard.scan(4.0, 4.0, 4.0).reaction is Reaction.OPEN_NOW


def test_the_first_cause_is_the_first_that_demanded_opening(guard_of: Any) -> None:
    guard = guard_of(
        guard_of.row(1, reaction="inform", above=4.1, recovery_s=0.0),
        guard_of.row(2, reaction="open_after_zero_current", above=4.2, recovery_s=0.0),
        guard_of.row(3, reaction="open_now", above=4.3, recovery_s=0.0),
    )
    guard.scan(4.15, 4.0, 4.0)
    first = guard.scan(4.25, 4.0, 4.0).first_cause
    assert first is not None
    assert (first.diagnosis.id, first.element) == (2, 0)
    assert guard.scan(4.35, 4.0, 4.0).first_cause is first
    for _ in range(120):
        guard.scan(4.0, 4.0, 4.0)
    guard.engine.acknowledge([2])
    left = guard.engine.first_cause
    assert left is not None
    assert left.diagnosis.id == 3  # never one that is cleared already
    guard.engine.acknowledge([3])
    assert guard.engine.first_cause is None


def test_of_faults_that_trip_together_the_strongest_is_the_first_cause(guard_of: Any) -> None:
    guard = guard_of(
        guard_of.row(1, reaction="open_after_zero_current"),
        guard_of.row(9, reaction="open_now"),
        guard_of.row(5, reaction="open_now"),
    )
    first = guard.scan(4.3, 4.0, 4.0).first_cause
    assert first is not None
    assert first.diagnosis.id == 5


def test_a_first_cause_that_recovers_by_itself_is_forgotten(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(latched=False, recovery_s=0.0))
    assert guard.scan(4.3, 4.0, 4.0).first_cause is not None
    assert guard.scan(4.0, 4.0, 4.0).first_cause is None


def test_a_signal_of_the_whole_pack_names_no_element(guard_of: Any) -> None:
    guard = guard_of(guard_of.row(signal="foreign_publisher", above=0.5))
    (fault,) = guard.silence(foreign_publisher=1.0).set_now
    assert fault.element == -1


# Against a plain model, one element at a time


class Model:
    """One cell, one diagnosis, written down without vectors."""

    def __init__(self, row: Diagnosis) -> None:
        self.row = row
        self.bad: list[int] = []  # times of bad samples in a row
        self.good: list[int] = []  # times of recovered samples in a row since it was last bad
        self.was_bad = False
        self.is_active = False

    def sample(self, value: float, now_ns: int) -> None:
        row = self.row
        assert isinstance(row.above, float)
        if math.isnan(value):
            self.good = []
        elif value > row.above:
            self.bad.append(now_ns)
            self.good, self.was_bad = [], True
            if len(self.bad) >= row.samples and now_ns - self.bad[0] >= row.time_s * 1e9:
                self.is_active = True
        else:
            self.bad = []
            if value - row.above <= -row.hysteresis:
                self.good.append(now_ns)
            else:
                self.good = []
            if self.good and now_ns - self.good[0] >= row.recovery_s * 1e9:
                self.is_active = False


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    samples=st.integers(1, 4),
    time_s=st.sampled_from([0.0, 0.03, 0.1]),
    hysteresis=st.sampled_from([0.0, 0.1]),
    recovery_s=st.sampled_from([0.0, 0.05]),
    values=st.lists(
        st.tuples(st.sampled_from([4.0, 4.2, 4.3, 4.4, NAN]), st.sampled_from([10, 20, 60])),
        max_size=60,
    ),
)
def test_one_cell_behaves_as_the_plain_model(
    guard_of: Any,
    samples: int,
    time_s: float,
    hysteresis: float,
    recovery_s: float,
    values: list[tuple[float, int]],
) -> None:
    row = guard_of.row(
        samples=samples,
        time_s=time_s,
        hysteresis=hysteresis,
        recovery_s=recovery_s,
        latched=False,
    )
    guard, model = guard_of(row), Model(row)
    for value, step_ms in values:
        verdict = guard.scan(value, 4.0, 4.0, step_ms=step_ms)
        model.sample(value, guard.now_ns)
        assert bool(verdict.active) == model.is_active
        if verdict.close_allowed:
            assert not model.bad


def test_inputs_are_judged_apart(guard_of: Any) -> None:
    guard = guard_of(
        guard_of.row(samples=2), guard_of.row(2, signal="pack_current", above=100.0, samples=2)
    )
    guard.put(pack_current=200.0)
    sampled = {"pack": guard.now_ns}
    assert guard.engine.evaluate(sampled, guard.now_ns).reaction is Reaction.NONE
    guard.scan(4.0, 4.0, 4.0, pack_current=50.0)
    guard.put(pack_current=200.0)
    assert guard.engine.evaluate(sampled, guard.now_ns).reaction is Reaction.NONE
    assert guard.engine.evaluate(sampled, guard.now_ns).reaction is Reaction.OPEN_NOW
