# SPDX-License-Identifier: Apache-2.0
"""Which cases go through the running graph, and what is made of what is seen there."""

import dataclasses
import queue
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from ibms_msgs.msg import PackState
from ibms_tools.bench import campaign as bench
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest
from ibms_tools.campaign.case import Case, Deed
from ibms_tools.campaign.cases import Drawing
from ibms_tools.campaign.graph_sample import RealOutcome, run_in_graph, suitable
from ibms_tools.campaign.subject import Subject
from ibms_tools.campaign.trial import Outcome

from .conftest import CONFIG


def case(number: int, state: str = "drive") -> Case:
    return Case(
        number, "single", "gas", "robot_12s", state, 0, 0, (), (), (), frozenset(), False, 0.0
    )


def test_cases_of_all_lasting_states_are_suitable() -> None:
    subjects = [Subject.load(CONFIG, name) for name in ("robot_12s", "ev_96s")]
    cases = Drawing(subjects, 1).cases(300)
    chosen = suitable(cases, "robot_12s", 300)
    assert {one.state for one in chosen} == {"standby", "rest", "drive", "charge"}
    assert suitable(cases, "robot_12s", 5) == chosen[:5]
    assert suitable(cases, "ev_96s", 300)


class _Pack:
    """A pack whose status and bus say what a test lays down."""

    def __init__(self, *bus_events: str) -> None:
        self.state = PackState.STATE_DRIVE
        self.status = SimpleNamespace(active_diagnosis=[128], reaction=5, first_cause=128)
        self.table = SUBJECT.table
        self.can = SimpleNamespace(events=queue.Queue(), clear=lambda: None)
        self.injection = SimpleNamespace(inject=self._inject)
        self._bus_events = bus_events
        self.refusal = ""

    def go_to(self, state: int) -> None:
        self.state = state

    def request(self, state: int) -> Any:
        return SimpleNamespace(success=not self.refusal, message=self.refusal)

    def _inject(self, *_: Any, **__: Any) -> Any:
        for name in self._bus_events:
            self.can.events.put({"event": name})
        return SimpleNamespace(success=True)


SUBJECT = Subject.load(CONFIG, "robot_12s")
SILENCE = Deed(0.0, "inject", "switch_silent")


def outcome_of(pack: _Pack, deed: Deed = SILENCE) -> RealOutcome:
    return run_in_graph(cast(PackUnderTest, pack), dataclasses.replace(case(1), deeds=(deed,)))


def test_what_was_seen_is_the_outcome() -> None:
    outcome = outcome_of(_Pack("opened"))
    assert (outcome.reaction, outcome.first_cause, outcome.opened) == (5, 128, True)
    assert outcome.active == {128}
    assert not outcome_of(_Pack("closed")).opened


def test_a_computer_that_stood_still_is_told() -> None:
    pack = _Pack("opened")
    assert not outcome_of(pack).held_up
    pack.status.active_diagnosis.append(192)
    assert outcome_of(pack).held_up


def test_contacts_that_open_without_feedback_have_opened() -> None:
    assert outcome_of(_Pack("contacts_open")).opened


def test_a_refused_request_is_a_problem() -> None:
    pack = _Pack()
    pack.refusal = "the link is charged"
    outcome = outcome_of(pack, Deed(0.0, "request", "3"))
    assert outcome.problem == "not done: request refused: the link is charged; active: [128]"


def test_what_stands_is_part_of_the_problem() -> None:
    class Stuck(_Pack):
        def go_to(self, state: int) -> None:
            raise NotReachedError("close allowed: not within 20 s, last events []")

    outcome = outcome_of(Stuck())
    assert outcome.problem == "not done: close allowed: not within 20 s; active: [128]"


@pytest.mark.parametrize(
    ("tries", "repeated", "differs"),
    [
        ([RealOutcome(case(1))], [], False),
        ([RealOutcome(case(1), 1, held_up=True), RealOutcome(case(1))], [1], False),
        ([RealOutcome(case(1), 1)], [], True),  # not the computer's doing
        ([RealOutcome(case(1), held_up=True)], [], False),  # held up, yet the same
        ([RealOutcome(case(1), 1, held_up=True)] * 3, [1, 1, 1], True),
    ],
)
def test_only_what_the_computer_held_up_is_tried_again(
    tries: list[RealOutcome],
    repeated: list[int],
    differs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: Iterator[RealOutcome] = iter(tries)
    monkeypatch.setattr(bench, "run_in_new_graph", lambda *_: next(left))
    found, again = bench.compare_with_graph(Path(), [Outcome(case(1))], 1, Console(quiet=True))
    assert again == repeated
    assert [bool(one.differences) for one in found] == [differs]
    assert next(left, None) is None
