# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from ibms_battery.recordings import RecordingError
from ibms_tools.eval import protection

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
    assert protection.name_of(inner / "d.e.parquet", tmp_path) == "a_b_c_d_e"
    with pytest.raises(RecordingError, match="there is no recording"):
        protection.find_files(tmp_path / "empty")
