# SPDX-License-Identifier: Apache-2.0
"""Tests of the demo's figures."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ibms_battery import results
from ibms_battery.pack import Pack
from ibms_msgs.msg import PackState
from ibms_tools.demo.summary import Gathered
from ibms_tools.demo.summary import results as figures
from ibms_tools.view.picture import Flow, Picture


def session(**values: Any) -> Any:
    return SimpleNamespace(
        **{"active_s": 6.5, "drive_s": 0.75, "clearings": 0, "trips": [], "goal_name": "drive"}
        | values
    )


def by_name(found: list[results.Result]) -> dict[str, results.Result]:
    return {result.name: result for result in found}


def test_figures_of_the_time_in_drive(picture: Picture) -> None:
    first = replace(picture, elapsed_s=0.0)
    last = replace(
        picture,
        elapsed_s=10.0,
        scans=Flow(4170 + 498, 50.0, 2, 0.003),
        samples=Flow(8340 + 1000, 100.0, 0, 0.001),
        verdicts=Flow(4170 + 499, 50.0, 0, 0.004),
    )
    gathered = Gathered(first)
    for one in (first, last):
        gathered.take(one)
    found = by_name(figures(gathered, last, session()))
    assert found["demo.scans.received"].value == 498
    assert found["demo.scans.rate_hz"].value == 49.8
    assert found["demo.scans.lost"].value == 2
    assert found["demo.scans.lost"].met is False
    assert found["demo.samples.lost"].met is True
    assert found["demo.verdicts.rate_hz"].value == 49.9
    assert found["demo.scans.lateness_ms.median"].value == pytest.approx(2.55)
    assert found["demo.scans.lateness_ms.worst"].value == pytest.approx(3.0)
    assert found["demo.startup.active_s"].met is True
    assert found["demo.processes.restarts"].met is False  # the picture has one
    value = found["demo.soc.mean"].value
    assert value is not None
    assert abs(value - 0.799) < 1e-6
    edge = found["demo.cpu.edge"].value
    assert edge is not None
    assert abs(edge - 0.21) < 1e-9


def test_whether_the_pack_stayed_in_drive(picture: Picture) -> None:
    gathered = Gathered(picture)
    gathered.take(picture)
    kept = by_name(figures(gathered, picture, session()))["demo.drive_kept"]
    assert (kept.value, kept.met) == (1, True)
    for state in (PackState(state=PackState.STATE_ERROR), None):
        gathered = Gathered(picture)
        # It counts although the pack is in drive again at the end.
        for one in (picture, replace(picture, state=state), picture):
            gathered.take(one)
        lost = by_name(figures(gathered, picture, session()))["demo.drive_kept"]
        assert (lost.value, lost.met) == (0, False)
    tripped = by_name(figures(gathered, picture, session(trips=[object()])))["demo.drive_kept"]
    assert (tripped.value, tripped.met) == (0, None)


def test_written_and_read_again(picture: Picture) -> None:
    gathered = Gathered(picture)
    found = figures(gathered, picture, session())
    report = results.measured("./ibms demo", found)
    assert results.parse(report.as_json()) == report


def test_a_chain_that_stands_has_no_lateness(picture: Picture) -> None:
    silent = replace(picture, scans=Flow(), samples=Flow(), verdicts=Flow(), loads=())
    gathered = Gathered(silent)
    gathered.take(silent)
    found = by_name(figures(gathered, replace(silent, elapsed_s=90.0), session()))
    assert found["demo.scans.lateness_ms.worst"].value is None
    assert found["demo.scans.rate_hz"].value == 0
    assert found["demo.cpu.edge"].value is None


def test_a_start_that_failed_claims_nothing(pack: Pack) -> None:
    failed = session()
    failed.active_s = failed.drive_s = None
    found = by_name(figures(None, Picture(pack), failed))
    assert found["demo.startup.active_s"].met is False
    assert "demo.scans.received" not in found
    assert "demo.drive_kept" not in found
    assert found["demo.soc.mean"].value is None
