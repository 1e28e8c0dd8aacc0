# SPDX-License-Identifier: Apache-2.0
"""docs/safety.md against the table of diagnoses and the tests that it names."""

import re
from collections import Counter
from pathlib import Path

import pytest

from ibms_edge.protection.table import Diagnosis, load_table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[4]


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


def test_the_tests_that_it_names_are_about_the_diagnosis(page: str) -> None:
    """A row's test names the diagnosis, or the signal that this diagnosis alone judges."""
    rows = load_table(ROOT / "config" / "diagnoses" / "nmc.yaml").diagnoses
    judged = Counter(row.signal for row in rows)
    for row in rows:
        (cell,) = re.findall(rf"^\| {row.id} \| .* \| ([^|]+) \|$", page, re.MULTILINE)
        (name,) = re.findall(r"`(test_\w+)`", cell)
        code = (HERE / f"{name}.py").read_text()
        names = [row.name, row.signal] if judged[row.signal] == 1 else [row.name]
        assert any(f'"{one}"' in code for one in names), (row.name, name)


def test_the_tests_that_it_names_exist(page: str) -> None:
    for name in set(re.findall(r"`(test_\w+)(?:\.py)?`", page)):
        assert (HERE / f"{name}.py").is_file(), name
    folders = re.findall(r"`((?:tests|ros2_ws)/[\w./]+)`", page)
    assert folders
    for folder in folders:
        assert (ROOT / folder).exists(), folder
