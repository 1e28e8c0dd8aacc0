# SPDX-License-Identifier: Apache-2.0
"""docs/safety.md against the table of diagnoses and the tests that it names."""

import re
from pathlib import Path

import pytest

from ibms_edge.protection.table import Diagnosis, load_table

ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "safety.md").read_text()


def clears(row: Diagnosis) -> str:
    if row.lockout:
        return "acknowledged by name, kept over restarts"
    return "acknowledged" if row.latched else "by itself"


def test_every_diagnosis_stands_there_with_reaction_and_recovery(page: str) -> None:
    for row in load_table(ROOT / "config" / "diagnoses" / "nmc.yaml").diagnoses:
        line = next(one for one in page.splitlines() if one.startswith(f"| {row.id} | "))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == f"`{row.name}`"
        assert cells[2].startswith(row.text)
        assert cells[3] == row.reaction.replace("_", " ")
        assert cells[4] == clears(row)


def test_no_diagnosis_stands_there_that_does_not_exist(page: str) -> None:
    rows = load_table(ROOT / "config" / "diagnoses" / "nmc.yaml").diagnoses
    named = re.findall(r"^\| (\d+) \| `", page, re.MULTILINE)
    assert [int(identifier) for identifier in named] == [row.id for row in rows]


def test_the_tests_that_it_names_exist(page: str) -> None:
    here = Path(__file__).parent
    for name in set(re.findall(r"`(test_\w+)(?:\.py)?`", page)):
        assert (here / f"{name}.py").is_file(), name
    folders = re.findall(r"`((?:tests|ros2_ws)/[\w./]+)`", page)
    assert folders
    for folder in folders:
        assert (ROOT / folder).exists(), folder
