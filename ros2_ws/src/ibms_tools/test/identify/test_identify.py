# SPDX-License-Identifier: Apache-2.0
"""The command as a user meets it, on his own files without an index."""

import json
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.cell import load_cell
from ibms_tools.identify.__main__ import main

CAPACITY_AH = 2.0
OHM = 0.03
PLAN = """
cell:
  name: my_cell
  chemistry: NMC
  minimum_voltage_v: 2.5
  maximum_voltage_v: 4.2
  nominal_voltage_v: 3.6
  maximum_charge_current_a: 2
  maximum_discharge_current_a: 6
  source: my tester
open_circuit:
  - files: [slow.csv]
    columns: &{columns}
    temperature_c: 25
circuit:
  temperatures_c: [25]
  soc_points: [0, 0.25, 0.5, 0.75, 1]
  time_constants_s: [[10, 100]]
  sources:
    - files: [drive.csv]
      columns: &{columns}
      temperature_c: 25
""".replace("&{columns}", "{time: t, voltage: u, current: i, discharge_positive: true}")


def write(file: Path, time_s: np.ndarray, voltage_v: np.ndarray, current_a: np.ndarray) -> None:
    rows = np.column_stack([time_s, voltage_v, -current_a])
    lines = [",".join(f"{value:.6f}" for value in row) for row in rows]
    file.write_text("\n".join(["t,u,i", *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    down = np.linspace(1.0, 0.0, 1201)
    slow_a = np.concatenate([np.full(1201, -0.1), np.zeros(10), np.full(1201, 0.1)])
    slow_v = 3.2 + np.concatenate([down, np.zeros(10), down[::-1]]) + OHM * slow_a
    write(tmp_path / "slow.csv", 60.0 * np.arange(len(slow_a)), slow_v, slow_a)
    current_a = np.repeat(np.random.default_rng(1).normal(-1.0, 2.0, 250), 20)
    soc = 1.0 + np.cumsum(current_a) / 3600.0 / CAPACITY_AH
    write(tmp_path / "drive.csv", np.arange(5000.0), 3.2 + soc + OHM * current_a, current_a)
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    return tmp_path


def arguments(folder: Path) -> list[str]:
    return [
        str(folder / "plan.yaml"),
        "--data",
        str(folder),
        "--out",
        str(folder / "cell.yaml"),
    ]


def test_a_cell_of_ones_own_gets_a_file_figures_and_a_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, figures = folder / "report.html", folder / "figures.json"
    assert main([*arguments(folder), "--html", str(report), "--json", str(figures)]) == 0
    cell = load_cell(folder / "cell.yaml")
    assert cell.capacity_ah == pytest.approx(CAPACITY_AH, rel=0.002)
    assert cell.resistance_ohm == pytest.approx(OHM, rel=0.1)
    page = report.read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 5
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is loaded from elsewhere
    assert "drive.csv" in page
    values = {one["name"]: one["value"] for one in json.loads(figures.read_text())["results"]}
    assert values["my_cell.residual.25_degc.worst"] < 0.003
    assert values["my_cell.charge_balance"] == pytest.approx(1.0, abs=0.01)
    assert "my_cell: 2 A h" in capsys.readouterr().out


def test_an_existing_file_keeps_its_uncertainty_and_gets_a_higher_version(folder: Path) -> None:
    assert main(arguments(folder)) == 0
    file = folder / "cell.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("gate: 16.0", "gate: 25.0"), encoding="utf-8")
    assert main(arguments(folder)) == 0
    model = load_cell(file).model
    assert model is not None
    assert (model.version, model.uncertainty.gate) == (2, 25.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("time_constants_s: [[10, 100]]", "time_constants_s: [[100, 10]]", "plan.yaml:18"),
        ("files: [drive.csv]", "files: [gone.csv]", "gone.csv"),
        ("files: [drive.csv]", "files: [slow.csv]", "no run holds a quick change"),
    ],
)
def test_what_cannot_be_is_told_without_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    plan = folder / "plan.yaml"
    plan.write_text(plan.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert main(arguments(folder)) == 1
    error = capsys.readouterr().err
    assert error.startswith("ibms identify: ")
    assert words in error
    assert not (folder / "cell.yaml").exists()
