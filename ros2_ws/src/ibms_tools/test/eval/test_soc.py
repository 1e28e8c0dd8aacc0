# SPDX-License-Identifier: Apache-2.0
"""The evaluation of the state of charge on a circuit that is known."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.cell import load_cell
from ibms_battery.circuit import build_circuit
from ibms_battery.recordings import FloatArray, Recording, RecordingError
from ibms_battery.results import read
from ibms_edge.estimation.estimator import Estimator
from ibms_edge.estimation.registry import build_estimator
from ibms_tools.eval import soc
from ibms_tools.eval.soc_scenarios import KNOWN, MIDDLE, PROTOCOL, SENSORS, Scenario, draws
from ibms_tools.eval.soc_simulation import Run, Trace, judge, simulate
from ibms_tools.eval.soc_targets import TruthUncertainty

CONFIG = Path(__file__).parents[5] / "config"
CELL_FILE = CONFIG / "cells" / "lg_18650hg2.yaml"
CELL = load_cell(CELL_FILE)
TEMPERATURE_C = 25.0
TRUTH = TruthUncertainty(counted=0.003, capacity=0.0)


def drive() -> dict[str, FloatArray]:
    """Half an hour of rest, loads and rests of the circuit itself, from full to about 30 %."""
    random = np.random.default_rng(1)
    loads = random.choice([-1.5, -0.8, 0.0, 0.3], 200) * CELL.capacity_ah
    current_a: FloatArray = np.concatenate([np.zeros(30), np.repeat(loads, 20)])
    charge_ah = np.cumsum(current_a) / 3600.0
    circuit = build_circuit(CELL)
    row = round((TEMPERATURE_C - circuit.first_temperature_c) / circuit.temperature_step_k)
    grid = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])
    truth = 1.0 + charge_ah / CELL.capacity_ah
    ohmic, activation, fast, slow, ocv = (
        np.interp(truth, grid, table[row])
        for table in (
            circuit.ohmic_ohm,
            circuit.activation_ohm,
            circuit.fast_ohm,
            circuit.slow_ohm,
            circuit.ocv_v,
        )
    )
    i0 = circuit.activation_current_a
    voltage_v = ocv + ohmic * current_a + activation * i0 * np.arcsinh(current_a / i0)
    for ohm, tau in ((fast, circuit.fast_s), (slow, circuit.slow_s)):
        state = 0.0
        for k in range(len(current_a)):
            state += (1.0 - np.exp(-1.0 / tau)) * (ohm[k] * current_a[k] - state)
            voltage_v[k] += state
    return {
        "t": np.arange(len(current_a), dtype=np.float64),
        "v": voltage_v,
        "i": current_a,
        "warm": np.full(len(current_a), TEMPERATURE_C),
        "ah": charge_ah,
    }


DRIVE = drive()


def run_of(values: dict[str, FloatArray]) -> Run:
    recording = Recording(
        values["t"], values["v"], values["i"], values["warm"], values["ah"], repeated=0
    )
    return Run("drive", recording, 1.0 + values["ah"] / CELL.capacity_ah)


def adaptive(count: int) -> Estimator:
    return build_estimator("adaptive", CELL, count)


def write_csv(path: Path, values: dict[str, FloatArray]) -> None:
    np.savetxt(
        path,
        np.column_stack(list(values.values())),
        delimiter=",",
        header=",".join(values),
        comments="",
        fmt="%.8g",
    )


COLUMNS = [
    *("--time-column", "t", "--voltage-column", "v", "--current-column", "i"),
    *("--temperature-column", "warm", "--charge-column", "ah"),
]


def call(tmp_path: Path, values: dict[str, FloatArray], *more: str) -> int:
    write_csv(tmp_path / "drive.csv", values)
    data = str(tmp_path / "drive.csv")
    return soc.main(["--data", data, "--cell", str(CELL_FILE), *COLUMNS, *more])


def test_the_circuit_itself_is_followed_under_the_whole_protocol() -> None:
    traces = simulate(adaptive, run_of(DRIVE), PROTOCOL, start_std=0.2)
    assert [trace.scenario for trace in traces] == list(PROTOCOL)
    figures = {trace.scenario: judge(trace, TRUTH) for trace in traces}
    assert figures[KNOWN].rmse < 0.005
    assert all(figures[one].rmse < 0.02 for one in MIDDLE)
    assert all(figures[one].rmse < 0.02 for one in SENSORS)
    assert figures[KNOWN].coverage > 0.9
    assert figures[KNOWN].convergence_s == 0.0


def test_counting_keeps_the_error_of_its_start() -> None:
    wrong = Scenario("wrong", start_error=-0.1)
    (trace,) = simulate(
        lambda count: build_estimator("counting", CELL, count), run_of(DRIVE), [wrong], 0.2
    )
    figures = judge(trace, TRUTH)
    assert figures.rmse == pytest.approx(0.1, abs=0.002)
    assert figures.convergence_s is None
    assert figures.mae == pytest.approx(figures.largest, abs=0.002)


def test_each_error_of_the_sensors_arrives() -> None:
    class Listener:
        """An estimator that keeps its first sample."""

        def __init__(self, count: int) -> None:
            self.inner = adaptive(count)
            self.first: tuple[FloatArray, ...] | None = None

        def update(
            self,
            voltage_v: FloatArray,
            temperature_c: FloatArray,
            current_a: FloatArray,
            step_s: float,
        ) -> None:
            self.first = self.first or (voltage_v, temperature_c, current_a)
            self.inner.update(voltage_v, temperature_c, current_a, step_s)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    listeners: list[Listener] = []

    def build(count: int) -> Listener:
        listeners.append(Listener(count))
        return listeners[-1]

    wrong = Scenario("w", current_bias_a=0.2, voltage_offset_v=0.01, temperature_offset_k=3.0)
    simulate(build, run_of(DRIVE), [KNOWN, wrong], 0.2)  # type: ignore[arg-type]
    assert listeners[0].first is not None
    voltage_v, temperature_c, current_a = listeners[0].first
    assert np.diff(voltage_v) == pytest.approx([0.01])
    assert np.diff(temperature_c) == pytest.approx([3.0])
    assert np.diff(current_a) == pytest.approx([0.2])


def test_a_missing_estimate_never_makes_a_figure_better() -> None:
    run = run_of(DRIVE)
    (trace,) = simulate(adaptive, run, [KNOWN], 0.2)
    broken = trace.soc.copy()
    broken[3000] = np.nan
    with pytest.raises(RecordingError, match="no estimate 3000 s after the start"):
        judge(Trace(run, KNOWN, 0, broken, trace.std), TRUTH)


def test_a_run_that_is_too_short_is_refused() -> None:
    short = {name: values[:500] for name, values in DRIVE.items()}
    (trace,) = simulate(adaptive, run_of(short), [KNOWN], 0.2)
    with pytest.raises(RecordingError, match="lasts 499 s"):
        judge(trace, TRUTH)


def test_draws_are_within_their_bounds_and_repeatable() -> None:
    drawn = draws(100, seed=3)
    assert drawn == draws(100, seed=3)
    assert drawn != draws(100, seed=4)
    assert {one.group for one in drawn} == {"drawn_full", "drawn_mid"}
    assert max(abs(one.current_bias_a) for one in drawn) <= 0.11
    assert max(abs(one.voltage_offset_v) for one in drawn) <= 0.004


def test_one_file_and_one_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    given = ["--estimator", "adaptive", "counting", "--initial-error", "0.1", "--json", str(out)]
    assert call(tmp_path, DRIVE, *given) == 0
    figures = {one.name: one.value or 0.0 for one in read(out).results}
    assert figures["counting.drive.given.rmse"] == pytest.approx(10.0, abs=0.2)
    assert figures["adaptive.drive.given.rmse"] < 1.0
    assert "counting" in capsys.readouterr().out


def test_the_protocol_on_a_folder_with_index(tmp_path: Path) -> None:
    write_csv(tmp_path / "drive.csv", DRIVE)
    (tmp_path / "index.csv").write_text(
        "path,dataset,test,role,temperature_C,sample_s,col_time,col_voltage,col_current,"
        "col_temperature,col_ah,current_sign\n"
        "drive.csv,lg_18650hg2,US06,test,25,1,t,v,i,warm,ah,discharge_negative\n"
    )
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    arguments = ["--data", str(tmp_path), "--cell", str(CELL_FILE), "--protocol"]
    assert soc.main([*arguments, "--json", str(out), "--html", str(page), "--draws", "4"]) == 0
    figures = {one["name"]: one for one in json.loads(out.read_text())["results"]}
    assert figures["25_degC.adaptive.worst.known"]["target"] == "<= 0.35"
    assert figures["25_degC.adaptive.worst.known"]["met"] is True
    assert figures["25_degC.adaptive.US06.sensors"]["value"] > 0.0
    assert figures["sigma.adaptive.drawn_mid.inside_2_sigma"]["value"] > 0.5
    text = page.read_text()
    assert text.count("<img") == 6  # four groups and two of draws
    assert "US06" in text


def broken(name: str, change: Callable[[FloatArray], FloatArray]) -> dict[str, FloatArray]:
    values = {key: value.copy() for key, value in DRIVE.items()}
    values[name] = change(values[name])
    return values


def without_some(values: FloatArray) -> FloatArray:
    values[1000:1100] = np.nan
    return values


@pytest.mark.parametrize("name", ["v", "i", "warm", "ah"])
def test_values_that_are_missing_are_passed_on(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.json"
    assert call(tmp_path, broken(name, without_some), "--json", str(out)) == 0
    figures = {one.name: one.value or 0.0 for one in read(out).results}
    assert figures["adaptive.drive.given.rmse"] < 3.0


def swapped(values: FloatArray) -> FloatArray:
    values[[1000, 1001]] = values[[1001, 1000]]
    return values


@pytest.mark.parametrize(
    ("values", "more", "told"),
    [
        (broken("i", lambda i: -i), [], "current in the wrong sign"),
        (broken("t", swapped), [], "time falls"),
        (broken("v", lambda v: v - 2.0), [], "this is no NMC cell"),
        (DRIVE, ["--initial-soc", "0.6"], "it does not begin there"),
        (DRIVE, ["--initial-soc", "1.2"], "give --initial-soc"),
        (broken("ah", lambda ah: np.nan * ah), [], "no charge counter"),
        ({"t": DRIVE["t"], "v": DRIVE["v"]}, [], "has no column 'i'"),
        (
            DRIVE,
            ["--cross-validate", "plan.yaml", "--estimator", "adaptive", "fused"],
            "the network of fused was trained with it",
        ),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    values: dict[str, FloatArray],
    more: list[str],
    told: str,
) -> None:
    assert call(tmp_path, values, *more) == 1
    assert told in capsys.readouterr().err


def test_repeated_time_stamps_count_once(tmp_path: Path) -> None:
    twice = {name: np.repeat(values, 2) for name, values in DRIVE.items()}
    out = tmp_path / "out.json"
    assert call(tmp_path, twice, "--json", str(out)) == 0
    figures = {one.name: one.value or 0.0 for one in read(out).results}
    assert figures["adaptive.drive.given.rmse"] < 1.0


def test_a_hole_widens_the_doubt(tmp_path: Path) -> None:
    keep = np.ones(len(DRIVE["t"]), np.bool_)
    keep[1500:1800] = False
    holed = {name: values[keep] for name, values in DRIVE.items()}
    (trace,) = simulate(adaptive, run_of(holed), [KNOWN], 0.2)
    assert trace.std[1500] > 3.0 * trace.std[1499]
    assert judge(trace, TRUTH).rmse < 0.03


def test_nothing_in_the_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.csv").write_text(
        "path,dataset,test,role,col_time,col_voltage,col_current,col_temperature,col_ah,current_sign\n"
    )
    assert soc.main(["--data", str(tmp_path), "--cell", str(CELL_FILE)]) == 1
    assert "lists no run of lg_18650hg2 with role test" in capsys.readouterr().err
