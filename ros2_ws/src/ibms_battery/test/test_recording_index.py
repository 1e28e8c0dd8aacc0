# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.recording_index import find_columns, load_parts, load_row, read_index
from ibms_battery.recordings import Columns, RecordingError

ROOT = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))

HEADER = (
    "path,col_time,col_voltage,col_current,col_temperature,col_ah,current_sign,"
    "temperature_C,role,select,group\n"
)
CELL = (
    "t,u,i,part,name\n0,3.7,-1,1,x\n1,3.6,-2,1,x\n0,3.5,0,2,x\n2,3.4,0,2,x\n0,1,1,1,y\n9,1,1,1,y\n"
)


def write(folder: Path, rows: str) -> Path:
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a" / "cell.csv").write_text(CELL, encoding="utf-8")
    (folder / "index.csv").write_text(HEADER + rows, encoding="utf-8")
    return folder


def test_a_row_tells_how_to_read_its_file(tmp_path: Path) -> None:
    write(tmp_path, "a/cell.csv,t,u,i,,,discharge_positive,-10,train,name==y,\n")
    (row,) = read_index(tmp_path)
    assert read_index(tmp_path / "index.csv")[0].file == row.file
    assert (row.file, row.role, row.temperature_c) == (tmp_path / "a/cell.csv", "train", -10.0)
    assert np.isnan(row.capacity_ah)
    recording = load_row(row)
    np.testing.assert_allclose(recording.time_s, [0, 9])
    np.testing.assert_allclose(recording.current_a, [-1, -1])
    np.testing.assert_allclose(recording.temperature_c, [-10, -10])


def test_a_group_is_read_in_parts(tmp_path: Path) -> None:
    write(tmp_path, "a/cell.csv,t,u,i,,,discharge_negative,,,name==x,part\n")
    (row,) = read_index(tmp_path)
    with pytest.raises(RecordingError, match="consists of parts"):
        load_row(row)
    parts = load_parts(row)
    assert list(parts) == ["1", "2"]
    np.testing.assert_allclose(parts["2"].voltage_v, [3.5, 3.4])
    assert np.isnan(parts["2"].temperature_c).all()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a/cell.csv,t,u,i,,,left,,,,\n", "index.csv:2: current_sign is 'left'"),
        ("a/cell.csv,t,u,i,,,,warm,,,\n", "temperature_C is 'warm', expected a number"),
        ("a/cell.csv,t,u,i,,,,,,name=x,\n", "expected terms column==value"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, rows: str, words: str) -> None:
    with pytest.raises(RecordingError) as caught:
        read_index(write(tmp_path, rows))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a/cell.csv,t,u,,,,,,,name==x,\n", "holds no current"),
        ("a/cell.csv,t,u,i,,,,,,name==z,\n", "no row has name equal to 'z'"),
        ("a/cell.csv,t,u,i,,,,,,nome==x,\n", "no column 'nome'"),
        ("a/none.csv,t,u,i,,,,,,,\n", "cannot be read"),
    ],
)
def test_a_row_that_does_not_fit_its_file_is_refused(tmp_path: Path, row: str, words: str) -> None:
    (found,) = read_index(write(tmp_path, row))
    with pytest.raises(RecordingError) as caught:
        load_row(found)
    assert words in str(caught.value)


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read"):
        read_index(tmp_path)
    (tmp_path / "index.csv").write_text("path\n", encoding="utf-8")
    with pytest.raises(RecordingError, match="no column 'col_time'"):
        read_index(tmp_path)


def test_columns_come_from_the_index_above_the_file(tmp_path: Path) -> None:
    row = "a/cell.csv,t,u,i,,,discharge_positive,,,,\n"
    file = write(tmp_path, row) / "a" / "cell.csv"
    assert find_columns(file) == Columns("t", "u", "i", discharge_positive=True)
    write(tmp_path, row + row)
    with pytest.raises(RecordingError, match="lists 2 series"):
        find_columns(file)
    write(tmp_path, "")
    with pytest.raises(RecordingError, match="lists it"):
        find_columns(file)


def test_rows_of_the_measured_data_load() -> None:
    if not (DATA / "index.csv").is_file():
        pytest.skip("measured data are not here; set IBMS_DATA")
    rows = read_index(DATA)
    assert len(rows) > 700
    discharge = next(row for row in rows if row.dataset == "a123_26650_plett" and "dyn" in row.path)
    recording = load_row(discharge)
    assert np.all(recording.temperature_c == discharge.temperature_c)
    counted = np.trapezoid(recording.current_a, recording.time_s) / 3600
    assert counted == pytest.approx(recording.charge_ah[-1] - recording.charge_ah[0], rel=0.02)
    group = next(row for row in rows if row.group)
    assert len(load_parts(group)) > 10
