# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: a seeded short form, the full one, and that it can fail."""

from collections import Counter
from dataclasses import replace

import pytest

from ibms_tools.campaign.case import Case, Expected
from ibms_tools.campaign.cases import Drawing
from ibms_tools.campaign.provocations import NOT_COVERED, PROVOCATIONS
from ibms_tools.campaign.subject import Subject
from ibms_tools.campaign.trial import Outcome
from ibms_tools.campaign.workers import run_cases

from .conftest import CONFIG

PACKS = ("robot_12s", "ev_96s", "robot_12s_modular")
SHORT, FULL = 60, 2000
SEED = 1
QUICK_S = 3.0


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [Subject.load(CONFIG, name) for name in PACKS]


def run(cases: list[Case]) -> list[Outcome]:
    return list(run_cases(CONFIG, cases, jobs=2))


def failures(outcomes: list[Outcome]) -> list[str]:
    return [f"{o.case.number} {o.case.name}: {failure}" for o in outcomes for failure in o.failures]


def test_every_diagnosis_is_provoked_or_left_out_for_a_reason(subjects: list[Subject]) -> None:
    assert [subject.uncovered() for subject in subjects] == [[], [], []]
    provoked = {row.name for subject in subjects for row, _ in subject.provoked()}
    named = {row.name for subject in subjects for row in subject.table.diagnoses}
    assert provoked == named - NOT_COVERED.keys()
    assert not PROVOCATIONS.keys() & NOT_COVERED.keys()


def test_a_campaign_is_the_beginning_of_every_longer_one(subjects: list[Subject]) -> None:
    long = Drawing(subjects, SEED).cases(400)
    assert Drawing(subjects, SEED).cases(100) == long[:100]
    assert Drawing(subjects, SEED + 1).cases(100) != long[:100]
    assert [case.number for case in long] == list(range(1, 401))


def test_two_thousand_cases_hold_every_diagnosis_in_every_state(subjects: list[Subject]) -> None:
    cases = Drawing(subjects, SEED).cases(FULL)
    single = {
        (case.name.split(".")[2], case.name.split(".")[3], case.state)
        for case in cases
        if case.kind == "single"
    }
    wanted = {
        (name, level.name.lower(), state)
        for subject in subjects
        for name, level, state in subject.covered()
    }
    assert single == wanted
    kinds = Counter(case.kind for case in cases)
    assert min(kinds["double"], kinds["spike"]) > 200


@pytest.mark.timeout(300)
def test_short_campaign(subjects: list[Subject]) -> None:
    cases = Drawing(subjects[:1], SEED, QUICK_S).cases(SHORT)
    outcomes = run(cases)
    assert len(outcomes) == SHORT
    assert failures(outcomes) == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_full_campaign(subjects: list[Subject]) -> None:
    outcomes = run(Drawing(subjects, SEED).cases(FULL))
    assert len(outcomes) == FULL
    assert failures(outcomes) == []


def test_the_campaign_can_fail(subjects: list[Subject]) -> None:
    """Each check is shown a case that does not do what it expects."""
    cases = Drawing(subjects[:1], SEED, QUICK_S).cases(400)
    opening = next(
        case
        for case in cases
        if case.kind == "single"
        and case.state == "drive"
        and any(expected.reaction == 5 for expected in case.expected)
    )
    wanted = opening.expected[0]
    harmless = Expected(999, "nothing", 3, 5, 0.5, 0.6)
    wrong = {
        "missed": replace(opening, expected=(harmless,), causes=opening.causes | {999}),
        "late": replace(opening, expected=(replace(wanted, detected_s=0.0),)),
        "opened after": replace(opening, expected=(replace(wanted, opened_s=1e-4),)),
        "wrong cause": replace(opening, causes=frozenset({999})),
        "opened without need": replace(opening, opens=False),
        "judged where it does not apply": replace(opening, absent=(wanted.diagnosis,)),
    }
    outcomes = run([replace(case, number=i) for i, case in enumerate(wrong.values())])
    found = {o.case.number: " ".join(o.failures) for o in outcomes}
    for number, text in enumerate(wrong):
        assert text in found[number], (text, found[number])


def test_every_provocation_passes_the_limit_that_it_aims_at(subjects: list[Subject]) -> None:
    for subject in subjects:
        for row, _ in subject.provoked():
            for level, _ in row.limits.levels():
                passed = subject.passed(row, subject.value(row, level))
                assert (row.id, level) in [(other.id, reached) for other, reached in passed]
