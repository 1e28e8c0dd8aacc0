# SPDX-License-Identifier: Apache-2.0
"""Cases are dealt to workers so that each has about as much, and no worker takes them with it."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ibms_tools.campaign import workers
from ibms_tools.campaign.cases import Drawing
from ibms_tools.campaign.subject import Subject
from ibms_tools.campaign.workers import run_cases, shares

from .conftest import CONFIG
from .test_report import CASE


def test_each_case_is_dealt_once_and_no_worker_has_much_more() -> None:
    cases = Drawing([Subject.load(CONFIG, "robot_12s")], 1).cases(500)
    dealt = shares(cases, 3)
    numbers = sorted(case.number for share in dealt for case in share)
    assert numbers == list(range(1, 501))
    loads_s = [sum(case.watch_s for case in share) for share in dealt]
    assert max(loads_s) < 1.5 * min(loads_s)


def test_a_few_cases_that_begin_alike_are_one_workers() -> None:
    alike = [replace(CASE, number=number) for number in range(4)]
    assert [len(share) for share in shares([*alike, replace(CASE, state="rest")], 2)] != [5]
    assert shares([CASE], 8) == [[CASE]]


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_cases_of_a_worker_that_dies_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", _die)
    outcomes = list(run_cases(Path(), [CASE, replace(CASE, number=8)], jobs=1))
    assert [outcome.case.number for outcome in outcomes] == [7, 8]
    assert {outcome.failures for outcome in outcomes} == {("not run: its worker ended early",)}
