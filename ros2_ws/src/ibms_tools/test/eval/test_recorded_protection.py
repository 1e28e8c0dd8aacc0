# SPDX-License-Identifier: Apache-2.0
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_fields

from ibms_edge.protection.table import DiagnosisTable, Level, load_table
from ibms_tools.eval.recorded_protection import Outcome, judge_recording

from .conftest import CONFIG, load, made_up

TABLE = load_table(CONFIG / "diagnoses" / "nmc.yaml")
CELL_TABLES = {
    "lg_18650hg2": "lg_18650hg2.yaml",
    "panasonic_18650pf": "panasonic_18650pf.yaml",
    "a123_26650_plett": "a123_26650.yaml",
}


def named(outcome: Outcome, name: str) -> tuple[str, int, int, bool]:
    (event,) = [event for event in outcome.events if event.diagnosis.name == name]
    return event.element, event.first_row, event.count, event.opens


def test_a_healthy_pack_says_nothing() -> None:
    outcome = judge_recording(made_up(), TABLE)
    assert (outcome.events, outcome.openings, outcome.alarms) == ([], 0, 0)
    assert outcome.evaluated + len(outcome.not_evaluable) == len(TABLE.diagnoses)


def test_the_first_time_and_the_cell_are_named_and_repetitions_counted() -> None:
    recording = made_up()
    for start in (50, 120):
        recording.voltage_v[start : start + 5, 6] = 4.4
    outcome = judge_recording(recording, TABLE)
    levels = [event for event in outcome.events if event.diagnosis.name == "cell_overvoltage"]
    assert {event.level for event in levels} == set(Level)
    assert {(event.element, event.first_row, event.count) for event in levels} == {("V_7", 52, 2)}
    assert [event.level for event in levels if event.opens] == [Level.SAFETY]
    assert outcome.openings == 2
    assert outcome.openings_by_missing == 0
    assert outcome.when(52) == "52.0 s"


def test_missing_values_are_told_from_measured_faults() -> None:
    recording = made_up()
    recording.voltage_v[50:60, 2] = np.nan
    outcome = judge_recording(recording, TABLE)
    assert named(outcome, "cell_voltage_missing")[0] == "V_3"
    assert (outcome.openings, outcome.openings_by_missing) == (1, 1)


def test_an_alarm_opens_nothing() -> None:
    recording = made_up(rows=4000)
    recording.voltage_v[:, 4] -= 0.08
    outcome = judge_recording(recording, TABLE)
    element, _, _, opens = named(outcome, "cell_imbalance")
    assert (element, opens) == ("V_5", False)
    assert outcome.openings == 0
    assert outcome.alarms == len(outcome.events)


def test_dates_are_told_where_the_recording_has_them() -> None:
    start = np.datetime64("2020-02-28T23:59:00", "ms")
    recording = replace(made_up(), wall_time=start + np.arange(200) * np.timedelta64(1, "s"))
    assert judge_recording(recording, TABLE).when(61) == "2020-02-29 00:00:01"


def test_it_is_fast_enough_for_fleets() -> None:
    recording = made_up(rows=3000, cells=96)
    judge_recording(recording, TABLE)
    # 5,000 scans per second are asked for; a third here.
    assert judge_recording(recording, TABLE).scans_per_second > 5000 / 3


def drives(data: Path) -> Iterator[tuple[str, Path]]:
    """All measured drive cycles of the three cells: data set and file."""
    with (data / "index.csv").open() as stream:
        for row in csv.DictReader(stream):
            path = row["path"]
            if row["dataset"] in CELL_TABLES and ("/drive_" in path or "/dyn/" in path):
                yield row["dataset"], data / path


def openings_of(dataset: str, path: Path, tables: dict[str, DiagnosisTable]) -> list[str]:
    outcome = judge_recording(load(path), tables[dataset])
    assert outcome.evaluated > 10
    return [
        f"{path.name} at {outcome.when(event.first_row)}: {event.diagnosis.name}"
        for event in outcome.events
        if event.opens
    ]


@pytest.fixture(scope="module")
def tables() -> dict[str, DiagnosisTable]:
    return {
        dataset: load_table(CONFIG / "diagnoses" / file) for dataset, file in CELL_TABLES.items()
    }


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_measured_drive_cycle_trips_with_the_limits_of_its_cell(
    data: Path, tables: dict[str, DiagnosisTable]
) -> None:
    files = list(drives(data))
    assert len(files) > 90
    assert [trip for item in files for trip in openings_of(*item, tables)] == []


@pytest.mark.parametrize(
    "file",
    [
        "lg_18650hg2/drive_1hz/n20degC/*US06.parquet",
        "panasonic_18650pf/drive_1hz/n20degC/*Cycle_1.parquet",
        "a123_26650_plett/dyn/5degC_script3.parquet",
    ],
)
def test_a_drive_in_the_cold_does_not_trip(
    data: Path, tables: dict[str, DiagnosisTable], file: str
) -> None:
    (path,) = data.glob(file)
    assert openings_of(file.partition("/")[0], path, tables) == []


def test_the_cells_limits_would_trip_on_more_than_the_cell_may(
    data: Path, tables: dict[str, DiagnosisTable]
) -> None:
    """Else the drives above would prove nothing."""
    (path,) = data.glob("lg_18650hg2/drive_1hz/25degC/551_US06.parquet")
    recording = load(path)
    for worse, name in (
        (replace(recording, voltage_v=recording.voltage_v + 0.1), "cell_overvoltage"),
        (replace(recording, voltage_v=recording.voltage_v - 0.5), "cell_undervoltage"),
        (replace(recording, current_a=recording.current_a * 3), "discharge_overcurrent"),
        (replace(recording, temperature_c=recording.temperature_c + 55), "cell_overtemperature"),
    ):
        outcome = judge_recording(worse, tables["lg_18650hg2"])
        assert name in {event.diagnosis.name for event in outcome.events if event.opens}


def limit_trips(outcome: Outcome) -> list[str]:
    """Openings by limits of measured values."""
    return [
        event.diagnosis.name
        for event in outcome.events
        if event.opens and not event.diagnosis.signal.endswith("_missing")
    ]


def test_the_second_cars_weak_cell_is_named_and_nothing_opens(data: Path) -> None:
    recording = load(data / "ev_field_faults_batICM" / "car2.parquet")
    outcome = judge_recording(recording, load_table(CONFIG / "diagnoses" / "nmc_car.yaml"))
    assert limit_trips(outcome) == []
    found = [e for e in outcome.events if e.diagnosis.signal == "cell_imbalance"]
    assert {event.element for event in found} == {"V_82"}
    # The car's BMS warned most severely on 2019-05-10, -06-17, -07-15 and -08-03.
    assert "2019-04-15" < outcome.when(found[0].first_row) < "2019-08-05"
    assert "30 s" in outcome.not_evaluable["internal_short_early"]


@pytest.mark.long
def test_the_first_car_opens_only_where_its_values_are_invalid(data: Path) -> None:
    recording = load(data / "ev_field_faults_batICM" / "car1.parquet")
    outcome = judge_recording(recording, load_table(CONFIG / "diagnoses" / "nmc_car.yaml"))
    assert limit_trips(outcome) == []
    assert outcome.openings == outcome.openings_by_missing > 0
    invalid = np.isnan(recording.voltage_v)
    for event in outcome.events:
        assert invalid[event.first_row].any()


def test_the_simulated_internal_short_is_found_while_it_lasts(data: Path) -> None:
    recording = load(data / "battdiag_isc_12cell" / "isc_wltc_12cell.parquet")
    outcome = judge_recording(recording, TABLE)
    element, row, _, opens = named(outcome, "internal_short_early")
    assert element == "U_01_V"
    assert 900 < recording.time_s[row] < 908  # 1 ohm from 900 s on, for 30 s
    assert not opens
    assert outcome.openings == 0


def test_before_the_simulated_internal_short_nothing_falls_by_a_millivolt(data: Path) -> None:
    recording = load(data / "battdiag_isc_12cell" / "isc_wltc_12cell.parquet")
    short = TABLE.named("internal_short_early")
    assert short is not None
    at_once = replace_fields(short, above=0.001, samples=1, time_s=0.0)
    outcome = judge_recording(recording, DiagnosisTable("", [at_once], TABLE.signals))
    assert recording.time_s[outcome.events[0].first_row] >= 900
