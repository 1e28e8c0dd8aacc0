# SPDX-License-Identifier: Apache-2.0
"""Power predicted for pulses of a circuit that is known, and for a simulated cell."""

import json
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.cell import Cell, load_cell
from ibms_battery.circuit import build_circuit
from ibms_battery.recordings import FloatArray, Recording, RecordingError
from ibms_edge.limits.curves import load_curves
from ibms_tools.eval import sop, sop_plant
from ibms_tools.eval.sop_pulses import evaluate, find_pulses, nearest_set

CONFIG = Path(__file__).parents[5] / "config"
CELL_FILE = CONFIG / "cells" / "lg_18650hg2.yaml"
CELL = load_cell(CELL_FILE)
TEMPERATURE_C = 25.0


def pulse_test(cell: Cell, resistance: float = 1.0) -> Recording:
    """Half hours of rest, pulses of 10 s and a discharge between, of the circuit itself."""
    currents = []
    for level in (0.0, 0.1, 0.2, 0.3, 0.5):
        down = [-cell.capacity_ah] * round(3600 * 0.1) if level else []
        currents += down + [0.0] * 1800
        for rate in (1.0, 4.0):
            currents += [-rate * cell.capacity_ah] * 10 + [0.0] * 900
    current_a: FloatArray = np.array(currents)
    circuit = build_circuit(cell)
    row = round((TEMPERATURE_C - circuit.first_temperature_c) / circuit.temperature_step_k)
    grid = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])
    charge_ah = np.cumsum(current_a) / 3600.0
    fast_v = slow_v = 0.0
    voltage_v = np.empty(len(current_a))
    for k, (i, ah) in enumerate(zip(current_a, charge_ah, strict=True)):
        soc = 1.0 + ah / cell.capacity_ah
        ohmic, activation, fast, slow, ocv = (
            float(np.interp(soc, grid, table[row]))
            for table in (
                circuit.ohmic_ohm,
                circuit.activation_ohm,
                circuit.fast_ohm,
                circuit.slow_ohm,
                circuit.ocv_v,
            )
        )
        fast_v += (1.0 - np.exp(-1.0 / circuit.fast_s)) * (fast * i - fast_v)
        slow_v += (1.0 - np.exp(-1.0 / circuit.slow_s)) * (slow * i - slow_v)
        i0 = circuit.activation_current_a
        drop_v = ohmic * i + activation * i0 * np.arcsinh(i / i0)
        voltage_v[k] = ocv + resistance * (drop_v + fast_v + slow_v)
    return Recording(
        time_s=np.arange(len(current_a), dtype=np.float64),
        voltage_v=voltage_v,
        current_a=current_a,
        temperature_c=np.full(len(current_a), TEMPERATURE_C),
        charge_ah=charge_ah,
        repeated=0,
    )


def test_finds_the_pulses_and_their_set() -> None:
    pulses = find_pulses(pulse_test(CELL), CELL.capacity_ah)
    assert len(pulses) == 10
    chosen = nearest_set(pulses, 0.5)
    assert len(chosen) == 2
    assert all(abs(pulse.soc - 0.55) < 0.05 for pulse in chosen)
    assert sorted(round(pulse.current_a / CELL.capacity_ah) for pulse in chosen) == [-4, -1]


def test_the_circuit_itself_is_predicted() -> None:
    recording = pulse_test(CELL)
    pulses = nearest_set(find_pulses(recording, CELL.capacity_ah), 0.5)
    for found in evaluate(recording, CELL, pulses):
        assert found.predicted_v == pytest.approx(found.measured_v, abs=0.006)
        assert abs(found.power_error) < 0.05


def test_a_cell_of_more_resistance_is_seen() -> None:
    recording = pulse_test(CELL, resistance=1.5)
    pulses = nearest_set(find_pulses(recording, CELL.capacity_ah), 0.5)
    found = evaluate(recording, CELL, pulses)
    assert all(one.power_error > 0.2 for one in found)  # more was promised than was there
    (voltage, power, limit) = sop.pulse_results({25.0: found})
    assert voltage.value is not None
    assert voltage.value > 0.02
    assert power.target == limit.target == "<= 0.05"
    assert limit.met is False


def test_what_is_no_pulse_test_is_refused() -> None:
    rest = pulse_test(CELL)
    quiet = Recording(
        rest.time_s, rest.voltage_v, 0.0 * rest.current_a, rest.temperature_c, rest.charge_ah, 0
    )
    with pytest.raises(RecordingError, match="no pulse"):
        find_pulses(quiet, CELL.capacity_ah)
    uncounted = Recording(
        rest.time_s, rest.voltage_v, rest.current_a, rest.temperature_c, np.nan * rest.time_s, 0
    )
    with pytest.raises(RecordingError, match="charge counter"):
        find_pulses(uncounted, CELL.capacity_ah)


def test_the_command_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = pulse_test(CELL)
    rows = np.column_stack(
        [
            recording.time_s,
            recording.voltage_v,
            recording.current_a,
            recording.temperature_c,
            recording.charge_ah,
        ]
    )
    np.savetxt(tmp_path / "hppc.csv", rows, delimiter=",", header="t,v,i,warm,ah", comments="")
    (tmp_path / "index.csv").write_text(
        "path,dataset,test,temperature_C,col_time,col_voltage,col_current,col_temperature,col_ah,"
        "current_sign\nhppc.csv,lg_18650hg2,HPPC,25,t,v,i,warm,ah,discharge_negative\n"
    )
    out = tmp_path / "out.json"
    arguments = ["--data", str(tmp_path), "--cell", str(CELL_FILE), "--json", str(out)]
    assert sop.main(arguments) == 0
    figures = {one["name"]: one for one in json.loads(out.read_text())["results"]}
    assert figures["pulses.25_degC.limit_power_error"]["met"] is True
    assert "25" in capsys.readouterr().out
    (tmp_path / "index.csv").write_text((tmp_path / "index.csv").read_text().replace("HPPC", "X"))
    assert sop.main(arguments) == 1
    assert "holds no test 'HPPC'" in capsys.readouterr().err


def test_a_simulated_cell_is_driven_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sop_plant, "SOCS", (0.9,))
    monkeypatch.setattr(sop_plant, "TEMPERATURES_C", (15.0,))
    cell = load_cell(CONFIG / "cells" / "lg_m50.yaml")
    curves = load_curves(CONFIG / "limits" / "lg_m50.yaml", cell)
    driven = list(sop_plant.drives(cell, curves))
    assert len(driven) == 6
    assert all(0.0 < one.current_a <= cell.maximum_discharge_current_a for one in driven)
    assert max(one.beyond_v for one in driven) <= 0.010
    charge, *_ = sop.drive_results(driven)
    assert charge.name == "plant.charge.violation"
    assert charge.met is True
