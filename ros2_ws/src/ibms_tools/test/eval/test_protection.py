# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.recordings import RecordingError
from ibms_edge.protection.table import load_table
from ibms_tools.eval import protection
from ibms_tools.eval.recorded_protection import judge_recording

from .conftest import made_up

DESCRIPTION = "voltage: {columns: 'U{number}'}\ntime: t\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of two cells, one with an over-voltage, and a file that is none."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, high in (("good", 3.71), ("bad", 4.5)):
        rows = [f"{t},3.70,{high if t > 5 else 3.71}" for t in range(12)]
        (folder / f"{name}.csv").write_text("\n".join(["t,U1,U2", *rows]))
    (folder / "runs.csv").write_text("name,comment\na,b\n")
    (tmp_path / "cells.yaml").write_text(DESCRIPTION)
    return folder


def run(folder: Path, config: Path, *more: str) -> int:
    return protection.main(
        [
            *("--data", str(folder)),
            *("--limits", str(config / "diagnoses" / "nmc.yaml")),
            *("--columns", str(folder.parent / "cells.yaml")),
            *more,
        ]
    )


def test_a_folder_is_judged_and_what_is_no_recording_is_named(
    folder: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.json"
    assert run(folder, config, "--json", str(output)) == 0
    told = capsys.readouterr()
    assert "left out" in told.err
    assert "runs.csv" in told.err
    assert "2 recordings judged, 1 left out" in told.out
    figures = {r["name"]: r for r in json.loads(output.read_text())["results"]}
    assert figures["good.openings"]["value"] == 0
    assert figures["bad.openings"]["value"] == 1
    first = figures["bad.first.cell_overvoltage.safety.U2"]
    assert first["value"] == 8.0  # the third sample from 6 s on
    assert "opens, U2 at 8.0 s: 4.5, 1 times" in first["context"]
    not_evaluable = figures["not_evaluable.interlock_open"]
    assert not_evaluable["value"] == 2
    assert "not evaluable" in not_evaluable["context"]
    assert (figures["all.recordings"]["value"], figures["all.openings"]["value"]) == (2, 1)


def test_recordings_of_folders_below_are_summed_up_per_folder(
    folder: Path, config: Path, tmp_path: Path
) -> None:
    for name in ("cold", "warm"):
        (tmp_path / name / "drives").mkdir(parents=True)
        for file in folder.glob("*d.csv"):
            shutil.copy(file, tmp_path / name / "drives")
    output = tmp_path / "out.json"
    both = ("--data", str(tmp_path / "cold"), str(tmp_path / "warm"))
    assert run(folder, config, *both, "--json", str(output)) == 0
    figures = {r["name"]: r for r in json.loads(output.read_text())["results"]}
    for name in ("cold_drives", "warm_drives"):
        assert figures[f"{name}.recordings"]["value"] == 2
        assert figures[f"{name}.openings"]["value"] == 1
        high = figures[f"{name}.cell_overvoltage.safety"]
        assert (high["value"], high["context"][:30]) == (1, "opens, first in bad at 8.0 s: ")
    assert figures["all.recordings"]["value"] == 4
    assert figures["all.openings"]["value"] == 2


@pytest.mark.parametrize(("row", "order"), [(30, "before"), (80, "after")])
def test_the_vehicles_own_warning_stands_beside_ours(config: Path, row: int, order: str) -> None:
    start = np.datetime64("2020-02-28T23:59:00", "ms")
    recording = replace(made_up(), wall_time=start + np.arange(200) * np.timedelta64(1, "s"))
    recording.voltage_v[50:55, 6] = 4.4
    recording.warning_level[10:20] = 1  # not the most severe
    recording.warning_level[row : row + 9] = 3
    outcome = judge_recording(recording, load_table(config / "diagnoses" / "nmc.yaml"))
    figures = {result.name: result for result in protection.figures("car", outcome)}
    told = figures["car.first.cell_overvoltage.safety.V_7"].context
    warned = str(recording.wall_time[row].astype("datetime64[s]")).replace("T", " ")
    assert told.endswith(f"; the vehicle's own warning: {warned} ({order} this)")


@pytest.mark.parametrize("wrong", ["data", "limits", "columns"])
def test_a_wrong_file_is_named(
    folder: Path, config: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "wrong.yaml").write_text("nonsense: 1\n")
    missing = str(folder.parent / ("nowhere" if wrong == "data" else "wrong.yaml"))
    assert run(folder, config, f"--{wrong}", missing) == 1
    assert Path(missing).name in capsys.readouterr().err


def test_nothing_but_unreadable_files_is_an_error(folder: Path, config: Path) -> None:
    assert run(folder / "runs.csv", config, "--columns", str(folder.parent / "cells.yaml")) == 1


def test_files_are_found_below_a_folder_and_named_after_their_place(tmp_path: Path) -> None:
    inner = tmp_path / "a b" / "c"
    inner.mkdir(parents=True)
    (inner / "d.e.parquet").touch()
    assert protection.find_files(tmp_path) == [inner / "d.e.parquet"]
    assert protection.name_of(Path("a b", "c", "d.e")) == "a_b_c_d_e"
    with pytest.raises(RecordingError, match="there is no recording"):
        protection.find_files(tmp_path / "empty")
