# SPDX-License-Identifier: Apache-2.0
"""Every file in config/ that describes cells, packs and diagnoses loads and fits the others."""

from pathlib import Path

import pytest

from ibms_battery.cell import load_cell
from ibms_battery.pack import load_pack
from ibms_edge.protection.signals import Signal
from ibms_edge.protection.table import load_table
from ibms_edge.supervisor.machine import PackSupervisor
from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import Timing

CONFIG = Path(__file__).resolve().parents[4] / "config"
CELLS = sorted((CONFIG / "cells").glob("*.yaml"))
PACKS = sorted((CONFIG / "packs").glob("*.yaml"))
TABLES = sorted((CONFIG / "diagnoses").glob("*.yaml"))


def name_of(path: Path) -> str:
    return path.stem


def test_there_is_something_to_check() -> None:
    assert len(CELLS) >= 2
    assert len(PACKS) >= 3
    assert TABLES


@pytest.mark.parametrize("path", CELLS, ids=name_of)
def test_a_cell_loads_and_is_called_as_its_file(path: Path) -> None:
    cell = load_cell(path)
    assert cell.name == path.stem
    assert cell.ocv_points_v[-1] <= cell.maximum_voltage_v + 0.01
    assert cell.ocv_points_v[0] >= cell.minimum_voltage_v - 0.01


@pytest.mark.parametrize("path", TABLES, ids=name_of)
def test_a_table_of_diagnoses_loads(path: Path) -> None:
    assert load_table(path).diagnoses


@pytest.mark.parametrize("path", PACKS, ids=name_of)
def test_a_pack_loads_and_its_references_exist(path: Path) -> None:
    pack = load_pack(path)
    assert pack.name == path.stem
    assert (CONFIG / "cells" / f"{pack.cell}.yaml").is_file()
    assert (CONFIG / "can" / "maps" / pack.can_map).is_file()
    assert (CONFIG / "diagnoses" / pack.diagnoses).is_file()
    PackSupervisor(pack)
    SwitchController(pack)


@pytest.mark.parametrize("path", PACKS, ids=name_of)
def test_protection_trips_outside_the_cells_operating_range_and_near_it(path: Path) -> None:
    pack = load_pack(path)
    cell = load_cell(CONFIG / "cells" / f"{pack.cell}.yaml")
    table = load_table(CONFIG / "diagnoses" / pack.diagnoses)
    for row in table.diagnoses:
        if row.signal == "cell_voltage" and row.above is not None:
            assert cell.maximum_voltage_v < row.limits.safety <= cell.maximum_voltage_v + 0.15
        if row.signal == "cell_voltage" and row.below is not None:
            assert cell.minimum_voltage_v - 0.5 <= row.limits.safety < cell.minimum_voltage_v


@pytest.mark.parametrize("path", PACKS, ids=name_of)
def test_silence_is_told_from_the_scan_rate_and_within_the_budget(path: Path) -> None:
    pack = load_pack(path)
    table = load_table(CONFIG / "diagnoses" / pack.diagnoses)
    limits: dict[Signal, float] = {row.signal: row.limits.safety for row in table.diagnoses}
    timing = Timing()
    cells_s, sample_s = limits["cells_age"], limits["pack_age"]
    if SwitchController(pack).monitored_only:  # it never closes: no budget
        assert cells_s == pytest.approx(3 * pack.scan_period_s + 0.1)
        assert sample_s == pytest.approx(3 * pack.pack_sample_period_s + 0.1)
        return
    assert 2 * pack.scan_period_s < cells_s < 0.2
    assert 2 * pack.pack_sample_period_s < sample_s < 0.2
    assert timing.status_stale_s < 0.2
