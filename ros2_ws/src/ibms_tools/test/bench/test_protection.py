# SPDX-License-Identifier: Apache-2.0
"""The pack whose judging is timed has every signal and no fault, so that the table is judged."""

from pathlib import Path

import pytest

from ibms_tools.bench.protection import measure_judge, measure_recording

PACK = Path(__file__).resolve().parents[5] / "config" / "packs" / "ev_96s.yaml"


def test_every_diagnosis_is_judged_and_none_trips() -> None:
    figures = {result.name: result for result in measure_judge(PACK, measured_s=1.0)}
    assert figures["protection.judge.count"].value == 50
    assert figures["protection.judge.median"].value is not None
    assert figures["protection.judge.median"].value > 0.0
    assert figures["protection.judge.diagnoses"].met, figures["protection.judge.diagnoses"]
    assert figures["protection.judge.tripped"].met, figures["protection.judge.tripped"]


def test_signals_that_are_not_known_yet_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibms_tools.bench.protection._LEARN_S", 1.0)
    figures = {result.name: result for result in measure_judge(PACK, measured_s=1.0)}
    judged = figures["protection.judge.diagnoses"]
    assert not judged.met
    assert "current_does_not_fit" in judged.context


def test_a_recording_is_judged_by_all_that_it_can_answer() -> None:
    figures = {result.name: result for result in measure_recording(PACK, rows=1_000)}
    assert "; 26 of 66 diagnoses" in figures["protection.recording.speed"].context
    assert figures["protection.recording.tripped"].met, figures["protection.recording.tripped"]
