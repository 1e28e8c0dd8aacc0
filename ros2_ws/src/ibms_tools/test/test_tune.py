# SPDX-License-Identifier: Apache-2.0
"""The search of an uncertainty, on a circuit that is known."""

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from ibms_battery.cell import load_cell
from ibms_battery.cell_model import Uncertainty
from ibms_battery.circuit import build_circuit, model_of
from ibms_battery.recordings import FloatArray, Recording
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_tools import tune
from ibms_tools.eval.soc_runs import EvaluationRun, halves
from ibms_tools.eval.soc_simulation import Run

CONFIG = Path(__file__).parents[4] / "config"
CELL = load_cell(CONFIG / "cells" / "lg_18650hg2.yaml")
UNCERTAINTY = model_of(CELL).uncertainty


def candidate(duration_s: int = 2500) -> tune.Candidate:
    """The cell's own circuit under one slow discharge."""
    time_s = np.arange(duration_s, dtype=np.float64)
    begin_s = 10.0
    current_a = np.where(time_s < begin_s, 0.0, -0.9)
    charge_ah = np.cumsum(current_a) / 3600.0
    truth = 1.0 + charge_ah / CELL.capacity_ah
    circuit = build_circuit(CELL)
    place = CircuitPlace(circuit, np.array([25.0]))

    def at(table: FloatArray) -> FloatArray:
        return place.table(table, truth[:, np.newaxis])[:, 0]

    passed_s = np.maximum(time_s - begin_s, 0.0)
    ohm = at(circuit.ohmic_ohm)
    for table, tau in ((circuit.fast_ohm, circuit.fast_s), (circuit.slow_ohm, circuit.slow_s)):
        ohm = ohm - at(table) * np.expm1(-passed_s / tau)
    i0 = circuit.activation_current_a
    transfer_v = at(circuit.activation_ohm) * i0 * np.arcsinh(current_a / i0)
    voltage_v = at(circuit.ocv_v) + ohm * current_a + transfer_v
    recording = Recording(
        time_s, voltage_v, current_a, np.full(duration_s, 25.0), charge_ah, repeated=0
    )
    run = EvaluationRun(Run("slow", recording, truth), "slow.csv", "slow", 25.0)
    return tune.Candidate(run, CELL)


def test_cost_rises_with_a_wrong_setting() -> None:
    one = candidate()
    blind = msgspec.structs.replace(UNCERTAINTY, voltage_v=0.5, model_v=0.05)
    assert tune.cost([one], UNCERTAINTY) < tune.cost([one], blind)


def test_the_search_never_ends_worse_than_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {UNCERTAINTY: 1.0}

    def price(_: object, tries: Uncertainty) -> float:
        return costs.setdefault(tries, abs(float(np.log(tries.voltage_v / 0.02))))

    monkeypatch.setattr(tune, "cost", price)
    console = Console(file=io.StringIO())
    found = tune.search([], UNCERTAINTY, 0.3, seed=1, console=console)
    assert costs[found] == min(costs.values())
    assert 0.01 < found.voltage_v < 0.04
    for name, (low, high) in tune.BOUNDS.items():
        assert low <= getattr(found, name) <= high or getattr(found, name) == getattr(
            UNCERTAINTY, name
        )


def test_every_bound_is_a_part_of_the_uncertainty() -> None:
    assert set(tune.BOUNDS) <= set(Uncertainty.__struct_fields__)


def test_runs_to_tune_by_and_to_judge_by_share_nothing() -> None:
    one = candidate(20).run
    runs = [
        EvaluationRun(one.run, f"{temperature}/{number}", "slow", temperature)
        for temperature in (25.0, 0.0)
        for number in range(3)
    ]
    tuned, judged = halves(runs)
    assert [run.path for run in tuned] == ["25.0/0", "25.0/2", "0.0/0", "0.0/2"]
    assert [run.path for run in judged] == ["25.0/1", "0.0/1"]


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "no.yaml"), "--data", str(tmp_path), "--cell", str(tmp_path / "c")]
    assert tune.main(arguments) == 1
    assert "ibms tune:" in capsys.readouterr().err
