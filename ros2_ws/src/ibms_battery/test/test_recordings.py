# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import Columns, RecordingError, load_recording

ROOT = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))

GOOD = "t,u,i\n10,3.7,-1\n11,3.6,-2\n11,3.6,-2\n12.5,3.5,0\n"
COLUMNS = Columns(time="t", voltage="u", current="i")


def write(folder: Path, text: str) -> Path:
    file = folder / "cell.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_time_starts_at_zero_and_repeated_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    recording = load_recording(write(tmp_path, GOOD), COLUMNS)
    np.testing.assert_allclose(recording.time_s, [0, 1, 2.5])
    np.testing.assert_allclose(recording.current_a, [-1, -2, 0])
    assert recording.repeated == 1
    assert recording.duration_s == 2.5
    assert np.isnan(recording.temperature_c).all()


def test_current_becomes_charge_positive(tmp_path: Path) -> None:
    columns = Columns(time="t", voltage="u", current="i", discharge_positive=True)
    recording = load_recording(write(tmp_path, GOOD), columns)
    np.testing.assert_allclose(recording.current_a, [1, 2, 0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t,u\n0,1\n1,2\n", "no column 'i'"),
        ("t,u,i\n0,1,1\n2,1,1\n1,1,1\n", "time falls from 2 to 1 s in row 2"),
        ("t,u,i\n0,1,1\n1,,1\n", "no finite value in row 1"),
        ("t,u,i\n0,1,1\n1,high,1\n", "does not hold numbers"),
        ("t,u,i\n0,1,1\n", "fewer than two"),
        ("", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecordingError, match=r"cell\.csv") as caught:
        load_recording(write(tmp_path, text), COLUMNS)
    assert words in str(caught.value)


def test_a_measured_drive_cycle_loads() -> None:
    file = DATA / "lg_18650hg2" / "drive_1hz" / "25degC" / "551_US06.parquet"
    if not file.is_file():
        pytest.skip("measured data are not here; set IBMS_DATA")
    recording = load_recording(file, find_columns(file))
    assert 3900 < recording.duration_s < 5000
    assert recording.voltage_v.min() > 2.4
    assert recording.voltage_v.max() < 4.3
    # Current and counted charge agree in sign and size.
    counted = np.trapezoid(recording.current_a, recording.time_s) / 3600
    assert counted == pytest.approx(recording.charge_ah[-1] - recording.charge_ah[0], rel=0.02)
    assert counted < -2
