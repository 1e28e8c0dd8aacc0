# SPDX-License-Identifier: Apache-2.0
"""Discharges found and cut, and the command on cells made up and, where they are, measured."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.recording_index import read_index
from ibms_battery.recordings import FloatArray, Recording
from ibms_edge.estimation.capacity import (
    UNTAUGHT,
    CapacityError,
    CapacityEstimate,
    ReferenceDischarge,
    Window,
)
from ibms_tools.eval import soh
from ibms_tools.eval.soh_discharges import cut, find_discharges, read_discharges

CURRENT_A = 2.0
HEADER = (
    "dataset,cell_id,test,path,group,col_time,col_voltage,col_current,col_temperature,col_ah,"
    "current_sign,role"
)


def discharge_voltages(age: float, samples: int) -> FloatArray:
    soc = np.linspace(1.0, 0.0, samples)
    voltage_v: FloatArray = 3.4 + 0.2 * soc + 0.4 * soc**3 - 0.5 * np.exp(-soc / 0.05)
    voltage_v -= age * 0.2 * (1.2 - soc) * (1.0 - np.exp(-soc / 0.05))
    voltage_v[-1] = 2.69
    return voltage_v


def one_cycle(age: float) -> Recording:
    """Rest, a discharge of 1.8 Ah that fades to 1.35 Ah at age 1, rest; a sample each 10 s."""
    samples = round(324 * (1.0 - 0.25 * age))
    voltage_v = np.concatenate(
        [np.full(3, 4.2), discharge_voltages(age, samples), np.full(30, 3.3)]
    )
    current_a = np.concatenate([np.zeros(3), np.full(samples, -CURRENT_A), np.full(30, -0.002)])
    return Recording(
        time_s=np.arange(0.0, 10.0 * len(voltage_v), 10.0),
        voltage_v=voltage_v,
        current_a=current_a,
        temperature_c=np.full(len(voltage_v), 25.0),
        charge_ah=np.full(len(voltage_v), np.nan),
        repeated=0,
    )


def write_cells(folder: Path, cells: dict[str, int]) -> None:
    """Cells that age over so many cycles, in CSV files with an index."""
    lines = [HEADER]
    for name, cycles in cells.items():
        lines.append(
            f"made_up,{name},cycle_ageing,{name}.csv,op,t,v,i,warm,,discharge_negative,ageing"
        )
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["op", "t", "v", "i", "warm"])
            for cycle in range(cycles):
                one = one_cycle(max(cycle - 4, 0) / cycles)
                for row in zip(
                    one.time_s, one.voltage_v, one.current_a, one.temperature_c, strict=True
                ):
                    writer.writerow([cycle, *row])
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def test_a_discharge_ends_at_the_end_voltage() -> None:
    (found,) = find_discharges(one_cycle(0.0), 2.7)
    assert len(found.charge_ah) == 324
    # The load begins within the first step: half of it counts.
    assert found.charge_ah[0] == pytest.approx(0.5 * CURRENT_A * 10.0 / 3600.0)
    assert found.charge_ah[-1] == pytest.approx(323.5 * CURRENT_A * 10.0 / 3600.0)
    assert found.voltage_v[-1] == 2.69
    assert find_discharges(one_cycle(0.0), 2.6) == []


def test_a_missing_value_is_bridged() -> None:
    whole = one_cycle(0.0)
    whole.current_a[100] = np.nan
    (found,) = find_discharges(whole, 2.7)
    assert len(found.charge_ah) == 323
    assert found.charge_ah[-1] == pytest.approx(323.5 * CURRENT_A * 10.0 / 3600.0)


def test_the_counter_of_a_tester_is_believed() -> None:
    whole = one_cycle(0.0)
    counted = np.cumsum(whole.current_a) * 10.0 / 3600.0
    recording = Recording(**{**vars(whole), "charge_ah": 1.5 * counted})
    (found,) = find_discharges(recording, 2.7)
    assert found.charge_ah[-1] == pytest.approx(1.5 * 324 * CURRENT_A * 10.0 / 3600.0)


def test_a_window_is_of_its_own_soc() -> None:
    (found,) = find_discharges(one_cycle(0.5), 2.7)
    window = cut(found, 0.6, 0.2)
    capacity_ah = found.charge_ah[-1]
    assert 1.0 - window.charge_ah[0] / capacity_ah == pytest.approx(0.6, abs=0.005)
    assert 1.0 - window.charge_ah[-1] / capacity_ah == pytest.approx(0.2, abs=0.005)


def test_figures_are_those_of_the_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    discharges = [find_discharges(one_cycle(age), 2.7)[0] for age in (0.0, 0.4, 0.8, 1.0)]
    truths = [one.charge_ah[-1] for one in discharges[1:]]
    answers = {"begins": 0}

    def answer(window: Window, reference: ReferenceDischarge) -> CapacityEstimate:
        """10 % too much with a sigma of 4 %, then exact with 1 %, then a refusal."""
        number = answers["begins"] % 3
        answers["begins"] += 1
        if number == 2:
            raise CapacityError("too short")
        truth = truths[number]
        return CapacityEstimate(
            *((1.1 * truth, 0.04 * truth) if number == 0 else (truth, 0.01 * truth)), 0.0, 0.8, 0.4
        )

    monkeypatch.setattr(soh, "estimate_capacity", answer)
    found = soh.evaluate("x", discharges, 1, "untaught", UNTAUGHT, 1)
    assert [one.window for one in found] == ["80_to_40", "60_to_20", "drawn"]
    for figures in found:
        assert figures.refused == 1
        assert figures.values == pytest.approx((0.1 / np.sqrt(2.0), 0.05, 0.1, 0.5, 0.5, 0.025))
        assert figures.faded_to == pytest.approx(truths[-1] / discharges[0].charge_ah[-1])
    rmse, *_ = soh.soh_results(found, 1)
    assert rmse.name == "x.80_to_40.untaught.rmse"
    assert rmse.met is False


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cells(tmp_path, {"one": 8, "other": 16})
    out = tmp_path / "soh.json"
    arguments = ["--data", str(tmp_path), "--cell-id", "one", "--initial", "4"]
    arguments += ["--teacher", "other", "--json", str(out)]
    assert soh.main(arguments) == 0
    report = json.loads(out.read_text())
    figures = {figure["name"]: figure for figure in report["results"]}
    taught = figures["one.80_to_40.taught_by_other.rmse"]
    assert taught["met"] is True
    assert "learned on the other cell other" in taught["context"]
    assert figures["one.drawn.taught_by_other.rmse"]["value"] < 0.02
    assert figures["one.drawn.taught_by_other.rmse"]["target"] is None
    assert "one.80_to_40.untaught.maximum" in figures
    assert "taught_by_one" not in out.read_text()
    assert "80-40" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--cell-id", "third"], "of cell 'third'; those it lists: one, other"),
        (["--cell-id", "one", "--initial", "30"], "expected more than the 30"),
        (["--cell-id", "one", "--end-voltage", "2.0"], "goes down to 2 V"),
        (["--cell-id", "one", "--teacher", "other", "--initial", "9"], "teacher other: 3 disch"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], text: str
) -> None:
    write_cells(tmp_path, {"one": 14, "other": 12})
    assert soh.main(["--data", str(tmp_path), *changes]) == 1
    assert text in capsys.readouterr().err


def test_measured_capacities_are_those_of_the_laboratory(data: Path) -> None:
    rows = [row for row in read_index(data) if row.test == "cycle_ageing"]
    with (data / "nasa_pcoe" / "operations.csv").open() as stream:
        operations = [row for row in csv.DictReader(stream) if row["type"] == "discharge"]
    for cell_id in ("B0018", "B0029"):
        expected = [float(row["capacity_Ah"]) for row in operations if row["cell"] == cell_id]
        found = read_discharges([row for row in rows if row.cell_id == cell_id], 2.7)
        assert [one.charge_ah[-1] for one in found] == pytest.approx(expected, abs=1e-4)


def test_measured_windows_tell_the_capacity(data: Path) -> None:
    rows = [row for row in read_index(data) if row.test == "cycle_ageing"]
    mine, other = (
        read_discharges([row for row in rows if row.cell_id == cell_id], 2.7)
        for cell_id in ("B0018", "B0005")
    )
    pattern = soh._learn("B0005", other, 10)
    some = [*mine[:10], *mine[10::15]]
    for figures in soh.evaluate("B0018", some, 10, "B0005", pattern, 1):
        assert figures.refused == 0
        assert figures.values[0] < 0.02
