# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from ibms_edge.thermal.runaway import Detection, RunawayAlarm

EARLY, LATE = Detection(100, 1_100), Detection(200, 1_200)


def test_it_stands_from_the_verdict_until_the_fault_is_dropped() -> None:
    alarm = RunawayAlarm()
    assert not alarm.status(False, 1, EARLY)
    assert alarm.status(True, 2, EARLY)
    assert not alarm.status(True, 3, LATE)
    assert alarm.detection == EARLY
    assert alarm.status(False, 4, LATE)
    assert alarm.detection is None


def test_a_latecomer_takes_the_time_of_protections_event() -> None:
    alarm = RunawayAlarm()
    alarm.told(EARLY)
    alarm.status(True, 400, LATE)
    assert alarm.detection == EARLY


def test_the_time_does_not_change_while_the_alarm_stands() -> None:
    alarm = RunawayAlarm()
    alarm.status(True, 1, EARLY)
    alarm.told(LATE)
    alarm.status(True, 2, LATE)
    assert alarm.detection == EARLY


def test_an_event_alone_raises_nothing_and_one_that_is_over_does_not_date_the_next() -> None:
    alarm = RunawayAlarm()
    alarm.told(EARLY)
    assert alarm.detection is None
    alarm.told(None)
    alarm.status(True, 1, LATE)
    assert alarm.detection == LATE


def test_a_restart_of_protection_acknowledges_nothing() -> None:
    alarm = RunawayAlarm()
    alarm.status(True, 500, EARLY)
    assert not alarm.status(False, 1, LATE)
    for iteration in range(2, 1_000):
        assert not alarm.status(False, iteration, LATE)
    assert alarm.detection == EARLY
    # The new run detects it again: from then on its acknowledgement counts.
    alarm.status(True, 1_000, LATE)
    assert alarm.detection == EARLY
    assert alarm.status(False, 1_001, LATE)


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_only_the_run_that_reports_it_ends_it(steps: list[tuple[bool, bool]]) -> None:
    alarm, iteration = RunawayAlarm(), 10
    reported_by_this_run = False
    for active, restart in steps:
        iteration = 1 if restart else iteration + 1
        reported_by_this_run = (reported_by_this_run and not restart) or active
        stood = alarm.detection is not None
        changed = alarm.status(active, iteration, EARLY)
        stands = alarm.detection is not None
        assert changed == (stood != stands)
        assert stands == (active or (stood and not reported_by_this_run))
        reported_by_this_run = reported_by_this_run and stands
