# SPDX-License-Identifier: Apache-2.0
"""Tests of the doctor's look at configuration files."""

import os
import shutil
from pathlib import Path

import pytest

from ibms_bringup.launcher.packages import find_share
from ibms_tools.doctor.files import check

SHARE = find_share("ibms_bringup", os.environ)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("config", "launch"):
        shutil.copytree(SHARE / name, tmp_path / name)
    return tmp_path


def test_what_is_shipped_is_right() -> None:
    findings = check(SHARE / "config", SHARE / "launch")
    assert [str(finding) for finding in findings if finding.level != "OK"] == []
    assert {finding.topic for finding in findings} == {
        "packs",
        "cells",
        "diagnoses",
        "simulation",
        "parameters",
        "interfaces",
        "launch",
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("config/packs/ev_96s.yaml", "series: 96", "series: many", "ev_96s.yaml:5"),
        ("config/packs/ev_96s.yaml", "cell: lg_m50", "cell: nothing", "nothing.yaml"),
        ("config/limits/lg_m50.yaml", "rise_per_s: 0.1", "rise_per_s: 5", "lg_m50.yaml:19"),
        ("config/diagnoses/nmc.yaml", "id: 102", "id: 101", "101 is already"),
        ("config/parameters/edge.yaml", "start_above_v", "start_over_v", "'start_over_v'"),
        ("launch/ibms.launch.xml", "<launch>", "<launch><frobnicate/>", "frobnicate"),
    ],
)
def test_a_wrong_file_fails_with_its_place(
    copy: Path, file: str, old: str, new: str, expected: str
) -> None:
    path = copy / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    wrong = [f for f in check(copy / "config", copy / "launch") if f.level == "FAIL"]
    assert wrong
    assert any(expected in finding.text for finding in wrong)
