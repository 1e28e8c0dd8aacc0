# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_battery.fleet_recordings import (
    Description,
    FleetRecording,
    Values,
    load_description,
    load_descriptions,
    load_fleet_recording,
    read_fleet_recording,
)
from ibms_battery.recordings import RecordingError

ROOT = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))
SHIPPED = load_descriptions(ROOT / "config" / "recordings")

# Ten before two by name, but not by number; 65.535 and 0 are codes.
CSV = """\
t,U10,U2,Ta1,Ta2,I,P,W,when
5,3.71,3.70,65,66,10,7.4,0,2020-01-01 00:00:00
6,65.535,3.69,0,66,20,7.3,2,2020-01-01 00:00:01
6,3.60,3.60,65,66,20,7.3,2,2020-01-01 00:00:01
8,3.70,,65,66,-5,7.5,0,2020-01-01 00:00:03
"""
DESCRIPTION = Description(
    voltage=Values("U{number}", 0.5, 6.0),
    needs=["U10", "I"],
    time="t",
    wall_time="when",
    temperature=Values("Ta{number}", 1, 200, offset=-40),
    current="I",
    discharge_positive=True,
    pack_voltage="P",
    warning_level="W",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "car.csv"
    path.write_text(CSV)
    return path


def car(name: str) -> FleetRecording:
    path = DATA / "ev_field_faults_batICM" / name
    if not path.is_file():
        pytest.skip("measured data are not here; set IBMS_DATA")
    return load_fleet_recording(path, SHIPPED)


def test_codes_become_nan_and_units_and_signs_are_ours(file: Path) -> None:
    recording = read_fleet_recording(file, DESCRIPTION)
    assert recording.cell_names == ["U2", "U10"]
    np.testing.assert_array_equal(recording.time_s, [0, 1, 3])
    np.testing.assert_array_equal(
        recording.voltage_v, [[3.70, 3.71], [3.69, np.nan], [np.nan, 3.70]]
    )
    np.testing.assert_array_equal(recording.temperature_c, [[25, 26], [np.nan, 26], [25, 26]])
    np.testing.assert_array_equal(recording.current_a, [-10, -20, 5])
    np.testing.assert_array_equal(recording.pack_voltage_v, [7.4, 7.3, 7.5])
    np.testing.assert_array_equal(recording.warning_level, [0, 2, 0])
    assert str(recording.wall_time[2]) == "2020-01-01T00:00:03.000"
    assert (recording.repeated, recording.invalid) == (1, 3)
    assert recording.period_s == recording.sample_period_s == 1.5


def test_what_the_description_does_not_name_is_unmeasured(file: Path) -> None:
    recording = read_fleet_recording(file, Description(Values("U{number}"), time="t"))
    for values in (recording.temperature_c, recording.current_a, recording.pack_voltage_v):
        assert len(values) == 3
        assert np.isnan(values).all()
    assert len(recording.wall_time) == 0


def test_a_slow_refresh_is_the_period_of_a_cell(file: Path) -> None:
    slow = Description(Values("U{number}"), time="t", refresh_s=20)
    assert read_fleet_recording(file, slow).sample_period_s == 20


def test_the_description_is_found_by_columns(file: Path) -> None:
    other = Description(Values("U{number}"), needs=["U10", "V9"], time="t")
    excluded = Description(Values("U{number}"), needs=["U10"], lacks=["W"], time="t")
    known = {"other": other, "excluded": excluded, "car": DESCRIPTION}
    assert load_fleet_recording(file, known).cell_names == ["U2", "U10"]
    with pytest.raises(RecordingError, match="fits the descriptions car and twin; name one"):
        load_fleet_recording(file, {**known, "twin": DESCRIPTION})
    with pytest.raises(RecordingError, match="fits none of the descriptions other"):
        load_fleet_recording(file, {"other": other})


def test_a_single_cell_of_an_index_is_a_pack_of_one(tmp_path: Path) -> None:
    (tmp_path / "cell.csv").write_text("t,u,i\n0,3.7,1\n1,3.6,2\n")
    (tmp_path / "index.csv").write_text(
        "path,col_time,col_voltage,col_current,col_temperature,col_ah,current_sign\n"
        "cell.csv,t,u,i,,,discharge_positive\n"
    )
    recording = load_fleet_recording(tmp_path / "cell.csv", SHIPPED)
    np.testing.assert_array_equal(recording.voltage_v, [[3.7], [3.6]])
    np.testing.assert_array_equal(recording.current_a, [-1, -2])
    assert recording.temperature_c.shape == (2, 1)
    assert np.isnan(recording.temperature_c).all()


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        ("t,U1\n0,3\n2,3\n1,3\n", "time does not rise in row 2, it is 1 s"),
        ("t,U1\n0,3\n,3\n", "time does not rise in row 1"),
        ("t,U1\n0,3\n", "fewer than two rows"),
        ("t,V1\n0,3\n1,3\n", "no column 'U{number}'"),
        ("x,U1\n0,3\n1,3\n", "no column 't', it has x, U1"),
        ("t,U1\n0,high\n1,3\n", "'U1' does not hold numbers"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, csv: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(csv)
    with pytest.raises(RecordingError) as caught:
        read_fleet_recording(path, Description(Values("U{number}"), time="t"))
    assert "bad.csv" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("voltage: {columns: U}", "columns"),
        ("voltage: {columns: 'U{number}', lowest_valid: 5, highest_valid: 1}", "lowest_valid"),
        ("voltage: {columns: 'U{number}'}\nrefresh_s: -1", "refresh_s"),
        ("voltage: {columns: 'U{number}'}\ncurent: I", "curent"),
        ("current: I", "voltage"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, yaml: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml)
    with pytest.raises(ConfigurationError, match=rf"bad\.yaml.*{words}"):
        load_description(path)


def test_the_first_car_has_as_many_invalid_codes_as_its_readme_counts() -> None:
    recording = car("car1.parquet")
    assert recording.voltage_v.shape == (66_660, 96)
    assert (recording.repeated, recording.invalid) == (6, 1537)
    assert 3.4 < np.nanmin(recording.voltage_v) < np.nanmax(recording.voltage_v) < 4.25
    assert 20 < np.nanmin(recording.temperature_c) < np.nanmax(recording.temperature_c) < 50
    assert recording.current_a.max() > 200  # it charges at up to 236 A
    whole = ~np.isnan(recording.voltage_v).any(axis=1)
    ratio = recording.voltage_v[whole].sum(axis=1) / recording.pack_voltage_v[whole]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.002)


def test_cells_of_the_first_car_are_read_one_after_the_other() -> None:
    recording = car("car1.parquet")
    moving = np.abs(np.diff(recording.current_a)) > 20
    changed = np.diff(recording.voltage_v, axis=0)[moving] != 0
    # Under a load that moves, a fresh value differs: the share of changes is one over the refresh.
    assert 1 / changed.mean() == pytest.approx(recording.refresh_s, rel=0.1)


def test_the_second_car_has_its_offset_and_warnings() -> None:
    recording = car("car2.parquet")
    assert recording.voltage_v.shape == (14_384, 88)
    assert 5 < np.nanmin(recording.temperature_c) < np.nanmax(recording.temperature_c) < 50
    assert (recording.warning_level == 3).sum() == 61
    assert str(recording.wall_time[0]).startswith("2019-04-15")
