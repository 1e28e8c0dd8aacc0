# SPDX-License-Identifier: Apache-2.0
"""Figures of a campaign, and what counts as the same outcome in the graph."""

from dataclasses import replace

import pytest

from ibms_tools.bench.campaign import main
from ibms_tools.campaign.case import Case, Deed, Expected
from ibms_tools.campaign.cases import Drawing
from ibms_tools.campaign.graph_sample import Comparison, RealOutcome, suitable
from ibms_tools.campaign.report import (
    campaign_results,
    detection_times,
    graph_results,
    quantile,
)
from ibms_tools.campaign.subject import Subject
from ibms_tools.campaign.trial import Outcome

from .conftest import CONFIG

EXPECTED = Expected(101, "cell_overvoltage", 3, 5, 0.2, 0.3)
CASE = Case(
    7,
    "single",
    "robot_12s.drive.cell_overvoltage.safety.0",
    "robot_12s",
    "drive",
    0.0,
    0.05,
    (Deed(0.0, "inject", "cell_voltage", 0, 4.35),),
    (EXPECTED,),
    (),
    frozenset({101, 132}),
    True,
    0.6,
)
GOOD = Outcome(CASE, (), {101: 0.05}, 0.07, 101, 5, 6, "")


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([3.0], 0.5) == quantile([3.0], 0.99) == 3.0


def test_results_count_cases_failures_and_detection() -> None:
    subject = Subject.load(CONFIG, "robot_12s")
    failed = Outcome(replace(CASE, number=8), ("missed: it",), {})
    double = Outcome(replace(CASE, number=9, kind="double"), (), {101: 9.0})
    outcomes = [GOOD, failed, double]
    assert detection_times(outcomes, subject) == {"cell_overvoltage": [0.05]}
    values = {r.name: r.value for r in campaign_results(outcomes, subject, ["gas_detected"], 12.0)}
    assert values["campaign.cases"] == 3
    assert values["campaign.failed"] == 1
    assert values["campaign.diagnoses.covered"] == 1
    assert values["campaign.diagnoses.not_covered"] == 1
    assert values["campaign.detection.cell_overvoltage.p99"] == 0.05


@pytest.mark.parametrize("arguments", [["--case", "0"], ["--cases", "0"]])
def test_a_campaign_without_cases_is_an_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "no case is left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("real", "difference"),
    [
        (RealOutcome(CASE, 5, 101, True), ""),
        (RealOutcome(CASE, 5, 132, True), ""),  # right as well
        (RealOutcome(CASE, 5, 185, True), "first cause 185"),
        (RealOutcome(CASE, 2, 101, True), "reaction 2"),
        (RealOutcome(CASE, 5, 101, False), "opened False"),
        (RealOutcome(CASE, problem="not done"), "not done"),
    ],
)
def test_same_outcome_in_the_graph(real: RealOutcome, difference: str) -> None:
    comparison = Comparison(GOOD, real)
    assert difference in " ".join(comparison.differences)
    assert bool(comparison.differences) == bool(difference)
    values = {r.name: r.value for r in graph_results([comparison], [7, 7])}
    assert values["campaign.graph.different"] == int(bool(difference))
    assert values["campaign.graph.repeated"] == 2


def test_only_cases_that_real_time_can_do_go_to_the_graph() -> None:
    subjects = [Subject.load(CONFIG, name) for name in ("robot_12s", "ev_96s")]
    cases = Drawing(subjects, 1).cases(2000)
    chosen = suitable(cases, "robot_12s", 2000)
    assert len(chosen) >= 100
    assert {case.pack for case in chosen} == {"robot_12s"}
    assert {case.kind for case in chosen} == {"single", "double", "spike"}
    assert {deed.action for case in chosen for deed in case.deeds} == {"inject", "request"}
    assert not any(case.warm_up_s or case.is_stubborn for case in chosen)
