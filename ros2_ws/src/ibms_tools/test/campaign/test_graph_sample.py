# SPDX-License-Identifier: Apache-2.0
"""Which cases go through the running graph, and when it is started anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ibms_msgs.msg import PackState
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest
from ibms_tools.campaign import graph_sample
from ibms_tools.campaign.case import Case
from ibms_tools.campaign.cases import Drawing
from ibms_tools.campaign.graph_sample import (
    GraphSample,
    RealOutcome,
    restarts_result,
    run_in_graph,
    suitable,
)
from ibms_tools.campaign.subject import Subject

from .conftest import CONFIG


def case(number: int, state: str = "drive") -> Case:
    return Case(
        number, "single", "gas", "robot_12s", state, 0, 0, (), (), (), frozenset(), False, 0.0
    )


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Loads of the graphs that were started; case 2 cannot go through one that was used."""
    loads: list[str] = []
    used: list[Any] = []

    @contextmanager
    def start(*arguments: Any) -> Iterator[Any]:
        loads.append(arguments[-1])
        yield object()

    def run(running: Any, case: Case) -> RealOutcome:
        is_new = running not in used
        used.append(running)
        return RealOutcome(case, problem="" if is_new or case.number != 2 else "gas stands")

    monkeypatch.setattr(graph_sample, "_graph_of", start)
    monkeypatch.setattr(graph_sample, "run_in_graph", run)
    return loads


def test_a_new_graph_for_a_problem_is_told_with_its_reason(
    started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with GraphSample(CONFIG, "robot_12s", 0, "0", Path()) as sample:
        assert not any(sample.run(case(number)).problem for number in (1, 2, 3))
    assert started == ["drive", "drive"]
    assert sample.restarts == ["2 gas: gas stands"]
    assert "2 gas: gas stands" in capsys.readouterr().out
    result = restarts_result(sample.restarts)
    assert (result.name, result.value) == ("campaign.graph.restarts", 1)
    assert "2 gas: gas stands" in result.context


def test_another_load_needs_another_graph_and_is_no_restart(started: list[str]) -> None:
    with GraphSample(CONFIG, "robot_12s", 0, "0", Path()) as sample:
        for number, state in ((1, "rest"), (3, "drive"), (4, "charge")):
            sample.run(case(number, state))
    assert started == ["drive", "charge"]
    assert not sample.restarts


def test_cases_of_all_lasting_states_are_suitable_and_those_of_one_load_come_together() -> None:
    subjects = [Subject.load(CONFIG, name) for name in ("robot_12s", "ev_96s")]
    cases = Drawing(subjects, 1).cases(300)
    chosen = suitable(cases, "robot_12s", 300)
    assert {one.state for one in chosen} == {"standby", "rest", "drive", "charge"}
    in_charge = [one.state == "charge" for one in chosen]
    assert in_charge == sorted(in_charge, reverse=in_charge[0])
    assert suitable(cases, "ev_96s", 300)


def test_what_stands_is_part_of_the_problem() -> None:
    running = SimpleNamespace(state=0, status=SimpleNamespace(active_diagnosis=[128]))

    def wait_until(what: str, *_: Any) -> None:
        raise NotReachedError(f"{what}: not within 20 s")

    running.wait_until = wait_until
    outcome = run_in_graph(cast(PackUnderTest, running), case(1))
    assert outcome.problem == "not done: faults cleared: not within 20 s; active: [128]"


def test_a_verdict_from_before_a_kill_does_not_count_as_cleared() -> None:
    status = SimpleNamespace(active_diagnosis=[], close_allowed=True)
    running = SimpleNamespace(status=status, is_judged=lambda: False)
    assert not graph_sample._cleared(cast(PackUnderTest, running))
    running.is_judged = lambda: True
    assert graph_sample._cleared(cast(PackUnderTest, running))
    assert graph_sample._STATES["charge"] == PackState.STATE_CHARGE
