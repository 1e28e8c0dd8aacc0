# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_edge.events.diagnoses import demanding, in_words
from ibms_edge.protection.table import DiagnosisTable, load_table
from ibms_msgs.msg import Event


@pytest.fixture(scope="module")
def table() -> DiagnosisTable:
    return load_table(Path(__file__).resolve().parents[5] / "config" / "diagnoses" / "nmc.yaml")


def test_only_what_isolates_or_opens_demands(table: DiagnosisTable) -> None:
    known = demanding(table.diagnoses)
    named = {row.name: row.id for row in table.diagnoses}
    assert known[named["cell_overvoltage"]] == Event.SEVERITY_ERROR
    assert named["cell_imbalance"] not in known
    assert len(known) > 10


def test_rows_in_words(table: DiagnosisTable) -> None:
    rows = {row.name: row for row in in_words(table.diagnoses)}
    assert len(rows) == len(table.diagnoses)
    over = rows["cell_overvoltage"]
    assert (over.limit, over.unit, over.element) == ("above 4.25 V", "V", "cell")
    assert over.reaction == "open_now"
    assert (rows["interlock_open"].limit, rows["interlock_open"].element) == ("", "element")
    assert rows["cell_undervoltage"].limit.startswith("below ")
