# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: a seeded short form, the full one, and that it can fail."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from ibms_edge.protection.table import Reaction
from ibms_msgs.msg import PackState
from ibms_tools.campaign.case import Case, Deed, Expected
from ibms_tools.campaign.cases import Drawing
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


@pytest.fixture(scope="module")
def opening(subjects: list[Subject]) -> Case:
    """A case that opens a driving pack for one cell."""
    return next(
        case
        for case in Drawing(subjects[:1], SEED, QUICK_S).cases(FULL)
        if case.name.startswith("robot_12s.drive.cell_overvoltage.safety.")
    )


@pytest.fixture(scope="module")
def outcomes(subjects: list[Subject], opening: Case) -> dict[int, Outcome]:
    """The short campaign and the cases that have to fail, run at once: starting costs the most."""
    cases = Drawing(subjects[:1], SEED, QUICK_S).cases(SHORT)
    cases += [replace(case, number=-i) for i, (_, case) in enumerate(wrong(opening), 1)]
    return {outcome.case.number: outcome for outcome in run_cases(CONFIG, cases, jobs=2)}


def wrong(opening: Case) -> list[tuple[str, Case]]:
    """Cases that do not do what they expect, and what has to be said of them."""
    wanted = opening.expected[0]
    harmless = Expected(999, "nothing", 3, 5, 0.5, 0.6)
    isolation = replace(wanted, opened_s=None, isolated_s=0.5, reaction=3)
    isolating = replace(opening, expected=(isolation,), isolated=frozenset({0}))
    recovering = (
        Deed(0.0, "inject", "afe_self_test", 0),
        Deed(0.5, "inject", "afe_self_test", 0, remove=True),
        Deed(3.0, "request", str(PackState.STATE_STANDBY)),
        Deed(3.5, "request", str(PackState.STATE_DRIVE)),
        Deed(6.0, "inject", "afe_self_test", 0, remove=True),
    )
    over = replace(opening, deeds=recovering, causes=frozenset({141}))
    return [
        ("missed", replace(opening, expected=(harmless,), causes=opening.causes | {999})),
        ("late", replace(opening, expected=(replace(wanted, detected_s=0.0),))),
        ("opened after", replace(opening, expected=(replace(wanted, opened_s=1e-4),))),
        ("wrong cause", replace(opening, causes=frozenset({999}))),
        ("wrong element", replace(opening, expected=(replace(wanted, element=99),))),
        ("opened without need", replace(opening, opens=False)),
        ("judged where it does not apply", replace(opening, absent=(wanted.diagnosis,))),
        ("isolated are cells [], not [0]", isolating),
        ("opened, though only an element", isolating),
        ("closed again", replace(over, expected=(Expected(141, "afe_fault", 3, 5, 0.3, 0.4),))),
        ("could not begin", replace(opening, state="off")),
    ]


def failures(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"{o.case.number} {o.case.name}: {failure}" for o in outcomes for failure in o.failures]


def test_every_diagnosis_is_provoked(subjects: list[Subject]) -> None:
    assert [subject.uncovered() for subject in subjects] == [[], [], []]
    provoked = {row.name for subject in subjects for row, _ in subject.provoked()}
    assert provoked == {row.name for subject in subjects for row in subject.table.diagnoses}


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


def test_what_is_watched_for_can_still_happen(subjects: list[Subject]) -> None:
    """Disturbed samples stand in histories, and what must not trip would take its debounce."""
    cases = Drawing(subjects, SEED).cases(FULL)
    of_cells = [c for c in cases if c.kind == "spike" and ".cell_overvoltage." in c.name]
    assert of_cells
    assert min(case.watch_s for case in of_cells) > 5.0  # charge_undertemperature
    absent = [c for c in cases if ".charge_undertemperature." in c.name and c.absent]
    assert absent
    assert min(case.watch_s - case.deeds[-1].at_s for case in absent) > 5.0


def test_double_faults_have_their_contacts_checked(subjects: list[Subject]) -> None:
    """One that isolates does not hide that the other one opens."""
    rows = {row.name: row for row in subjects[2].table.diagnoses}
    opened, isolated = 0, 0
    for case in Drawing(subjects[2:], SEED).cases(FULL):
        pair = [rows[name].demand for name in case.name.split(".")[2].split("+")]
        if case.kind != "double" or case.state != "drive" or Reaction.ISOLATE not in pair:
            continue
        opens = max(pair) > Reaction.ISOLATE or "supervisor_lost" in case.name
        assert (case.opened_s is not None) == opens, case
        opened += opens
        isolated += bool(case.isolated)
    assert min(opened, isolated) > 5


@pytest.mark.parametrize(
    ("name", "state", "right"),
    [
        ("cell_overvoltage.safety", "drive", {101}),  # its module's sum is debounced for longer
        ("deep_discharge.safety", "drive", {102}),
        ("cell_overtemperature.safety", "drive", {111}),
        ("humidity_high.safety", "drive", set()),
        ("gas_detected.safety", "error", {171}),  # for which it had opened
    ],
)
def test_the_debounce_decides_the_cause(
    subjects: list[Subject], name: str, state: str, right: set[int]
) -> None:
    cases = Drawing(subjects[:1], SEED).cases(FULL)
    found = [c for c in cases if c.kind == "single" and f".{state}.{name}." in c.name]
    assert {case.causes for case in found} == {frozenset(right)}


@pytest.mark.timeout(300)
def test_short_campaign(outcomes: dict[int, Outcome]) -> None:
    ran = [outcome for number, outcome in outcomes.items() if number > 0]
    assert len(ran) == SHORT
    assert failures(ran) == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_full_campaign(subjects: list[Subject]) -> None:
    ran = list(run_cases(CONFIG, Drawing(subjects, SEED).cases(FULL), jobs=2))
    assert len(ran) == FULL
    assert failures(ran) == []


def test_the_campaign_can_fail(outcomes: dict[int, Outcome], opening: Case) -> None:
    """Each check is shown a case that does not do what it expects."""
    for number, (text, _) in enumerate(wrong(opening), 1):
        found = " ".join(outcomes[-number].failures)
        assert text in found, (text, found)


def test_every_provocation_passes_the_limit_that_it_aims_at(subjects: list[Subject]) -> None:
    for subject in subjects:
        for row, _ in subject.provoked():
            for level, _ in row.limits.levels():
                passed = subject.passed(row, subject.value(row, level))
                assert (row.id, level) in [(other.id, reached) for other, reached in passed]
