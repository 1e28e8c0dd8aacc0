# SPDX-License-Identifier: Apache-2.0
"""The whole identification, on a cell whose circuit is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ibms_battery.cell import Cell, load_cell
from ibms_battery.circuit import build_circuit
from ibms_battery.identification.cell_file import write_cell
from ibms_battery.identification.checks import IdentificationError
from ibms_battery.identification.identify import Identification, identify
from ibms_battery.identification.plan import load_plan
from ibms_battery.recordings import RecordingError

from .virtual_cell import (
    ACTIVATION,
    CAPACITY_AH,
    COLUMNS,
    FAST,
    FAST_S,
    HEAT_CAPACITY,
    OHMIC,
    SLOW,
    SLOW_S,
    THERMAL_RESISTANCE,
    Bench,
    VirtualTest,
    bench,
    cycle_a,
    drive,
    factor,
    good_bench,
    ocv_v,
)


def identified(setup: Bench) -> Identification:
    return identify(load_plan(setup.write_plan()), setup.folder)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return good_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def result(setup: Bench) -> Identification:
    return identified(setup)


def test_the_circuit_that_was_put_in_comes_out(result: Identification) -> None:
    cell = result.cell
    assert cell.model is not None
    assert cell.capacity_ah == pytest.approx(CAPACITY_AH, rel=0.002)
    assert (cell.model.fast.time_constant_s, cell.model.slow.time_constant_s) == (FAST_S, SLOW_S)
    low = min(float(run.soc.min()) for run in result.runs)
    visited = np.array(cell.model.soc_points) >= low
    assert visited.sum() >= 4
    expected = {
        "series": (cell.model.ohmic_resistance_ohm, OHMIC),
        "fast": (cell.model.fast.resistance_ohm, FAST),
        "slow": (cell.model.slow.resistance_ohm, SLOW),
        "activation": (cell.model.activation.resistance_ohm, ACTIVATION),
    }
    for name, (table, ohm) in expected.items():
        for temperature_c, row in zip(cell.model.temperatures_c, table, strict=True):
            found = np.array(row)[visited] / factor(temperature_c)
            limit = 0.3 if name == "activation" else 0.12
            assert np.abs(found / ohm - 1.0).max() < limit, (name, temperature_c, found)
            assert float(np.mean(found)) == pytest.approx(ohm, rel=0.06), (name, temperature_c)


def test_the_open_circuit_voltage_comes_out(result: Identification) -> None:
    circuit = build_circuit(result.cell)
    socs = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])
    inside = (socs > 0.3) & (socs < 0.97)
    assert np.abs(circuit.ocv_v - ocv_v(socs))[:, inside].max() < 0.006


def test_the_residual_is_the_noise(result: Identification) -> None:
    for residual in result.residuals():
        assert residual.rms_v < 0.003


def test_the_thermal_part_comes_out(result: Identification) -> None:
    assert result.cell.model is not None
    thermal = result.cell.model.thermal
    assert thermal.heat_capacity_j_per_k == pytest.approx(HEAT_CAPACITY, rel=0.1)
    assert thermal.thermal_resistance_k_per_w == pytest.approx(THERMAL_RESISTANCE, rel=0.1)


def test_a_cell_without_a_run_is_that_run_never_seen(setup: Bench, result: Identification) -> None:
    left_out = result.runs[2].path
    without = result.without(left_out)
    sources = setup.circuit["sources"]
    assert isinstance(sources, list)
    others = [name for name in sources[0]["files"] if name != left_out]
    circuit = {**setup.circuit, "sources": [{**sources[0], "files": others}]}
    never = identified(Bench(setup.folder, {**setup.plan, "circuit": circuit})).cell
    assert without.model is not None
    assert never.model is not None
    np.testing.assert_allclose(
        without.model.ohmic_resistance_ohm, never.model.ohmic_resistance_ohm, rtol=0.02
    )
    assert without.model.slow.resistance_ohm != result.cell.model.slow.resistance_ohm  # type: ignore[union-attr]
    with pytest.raises(KeyError, match="none of the 6 runs"):
        result.without("elsewhere.csv")


def test_a_cell_file_comes_back_as_it_was_written(result: Identification, tmp_path: Path) -> None:
    file = tmp_path / "cell.yaml"
    write_cell(result.cell, file, "A virtual cell")
    assert load_cell(file) == result.cell
    lines = file.read_text(encoding="utf-8").splitlines()
    assert max(len(line) for line in lines) <= 100


def test_a_new_identification_keeps_the_uncertainty_and_raises_the_version(
    setup: Bench, result: Identification
) -> None:
    model = result.cell.model
    assert model is not None
    assert model.version == 1
    tuned = msgspec.structs.replace(
        model,
        version=4,
        uncertainty=msgspec.structs.replace(model.uncertainty, voltage_v=0.0123),
    )
    again = identify(load_plan(setup.write_plan()), setup.folder, tuned).cell.model
    assert again is not None
    assert again.version == 5
    assert again.uncertainty == tuned.uncertainty


def test_the_first_uncertainty_follows_the_residuals(result: Identification) -> None:
    assert result.cell.model is not None
    assert result.cell.model.uncertainty.voltage_v == pytest.approx(0.001, rel=0.5)


def constant(temperature_c: float, soc: float = 1.0) -> VirtualTest:
    return drive(np.full(5000, -1.5), temperature_c, soc)


def only_short(temperature_c: float) -> VirtualTest:
    return drive(cycle_a(3, 400), temperature_c)


def swapped(test: VirtualTest) -> VirtualTest:
    return VirtualTest(test.time_s, test.voltage_v, -test.current_a, test.temperature_c)


def one_step(temperature_c: float) -> VirtualTest:
    """A single change of current: no time to tell the pairs from the voltage at rest."""
    current_a = np.concatenate([np.full(3000, -1.5), np.full(3000, -1.6)])
    return drive(current_a, temperature_c)


Make = Callable[[], dict[str, VirtualTest]]


@pytest.mark.parametrize(
    ("runs", "temperatures_c", "words"),
    [
        (lambda: {"a": constant(25.0)}, [25.0], ["no run holds a quick change", "add pulses"]),
        (lambda: {"a": one_step(25.0)}, [25.0], ["do not tell"]),
        (
            lambda: {"a": only_short(25.0)},
            [25.0],
            ["cover states of charge from", "at least 50%"],
        ),
        (
            lambda: {"a": drive(cycle_a(1), 25.0)},
            [-10.0, 25.0],
            ["names -10 degC", "none within 7.5 K"],
        ),
    ],
    ids=["constant current", "one step", "little charge", "one temperature"],
)
def test_data_that_tell_too_little_are_refused_by_what_is_missing(
    tmp_path: Path, runs: Make, temperatures_c: list[float], words: list[str]
) -> None:
    with pytest.raises(IdentificationError) as caught:
        identified(bench(tmp_path, runs(), temperatures_c))
    for word in words:
        assert word in str(caught.value)


def test_a_wrong_sign_of_the_current_is_named_with_the_run(tmp_path: Path) -> None:
    runs = {"good": drive(cycle_a(1), 25.0), "bad": swapped(drive(cycle_a(2), 25.0))}
    with pytest.raises(IdentificationError, match=r"bad\.csv: the voltage falls when"):
        identified(bench(tmp_path, runs, [25.0]))


def test_a_wrong_sign_of_the_slow_test_is_named(tmp_path: Path) -> None:
    setup = bench(tmp_path, {"a": drive(cycle_a(1), 25.0)}, [25.0])
    setup.plan["open_circuit"] = [
        {"files": ["slow.csv"], "columns": {**COLUMNS, "discharge_positive": True}}
    ]
    with pytest.raises(RecordingError, match="its sign is wrong"):
        identified(setup)


def test_a_file_without_temperature_needs_one_in_the_plan(tmp_path: Path) -> None:
    setup = bench(tmp_path, {}, [25.0])
    name = drive(cycle_a(1), 25.0).write(tmp_path / "cold.csv", temperature=False)
    setup.circuit["sources"] = [{"files": [name]}]
    with pytest.raises(RecordingError, match=r"cold\.csv: holds no temperature"):
        identified(setup)
    setup.circuit["sources"] = [{"files": [name], "temperature_c": 25.0}]
    assert identified(setup).cell.model is not None


def test_a_charge_range_kept_for_an_evaluation_does_not_count(tmp_path: Path) -> None:
    setup = bench(tmp_path, {"a": drive(cycle_a(1), 25.0)}, [25.0])
    sources = setup.circuit["sources"]
    assert isinstance(sources, list)
    whole = identified(setup).runs[0]
    sources[0]["leave_out_soc"] = [[0.4, 0.6]]
    run = identified(setup).runs[0]
    np.testing.assert_array_equal(run.weight == 0.0, (whole.soc >= 0.4) & (whole.soc <= 0.6))


def test_a_voltmeter_that_is_off_moves_only_its_own_constant(tmp_path: Path) -> None:
    other = drive(cycle_a(2), 25.0)
    other = replace(other, voltage_v=other.voltage_v + 0.02)
    setup = bench(tmp_path, {"a": drive(cycle_a(1), 25.0)}, [25.0])
    name = other.write(tmp_path / "other.csv")
    setup.circuit["time_constants_s"] = [[FAST_S, SLOW_S]]
    source = {"files": [name], "columns": COLUMNS}
    sources = setup.circuit["sources"]
    assert isinstance(sources, list)
    setup.circuit["sources"] = [*sources, source]
    mixed = identified(setup)
    assert max(one.rms_v for one in mixed.residuals()) > 0.006
    setup.circuit["sources"] = [*sources, {**source, "voltage_offset": True}]
    parted = identified(setup)
    assert max(one.rms_v for one in parted.residuals()) < 0.003
    assert parted.parameters[-1] == pytest.approx(0.02, abs=0.004)


def test_rows_for_evaluation_are_refused_by_role_and_by_name(tmp_path: Path) -> None:
    setup = bench(tmp_path, {"a": drive(cycle_a(1), 25.0)}, [25.0])
    (tmp_path / "index.csv").write_text(
        "path,col_time,col_voltage,col_current,col_temperature,col_ah,current_sign,dataset,role\n"
        "a.csv,time_s,voltage_V,current_A,temperature_C,,discharge_negative,mine,test\n",
        encoding="utf-8",
    )
    with pytest.raises(RecordingError, match=r"a\.csv: has role test"):
        identified(setup)
    setup.circuit["sources"] = [{"dataset": "mine"}]
    with pytest.raises(RecordingError, match="no row of dataset 'mine'"):
        identified(setup)


def test_every_shipped_cell_file_loads() -> None:
    cells = Path(__file__).parents[5] / "config" / "cells"
    found: dict[str, Cell] = {file.stem: load_cell(file) for file in cells.glob("*.yaml")}
    assert {"lg_18650hg2", "panasonic_18650pf"} <= set(found)
    for name, cell in found.items():
        assert cell.name == name
        assert np.isfinite(build_circuit(cell).ocv_v).all()
        plan = cells.parent / "identification" / f"{name}.yaml"
        if plan.is_file():  # the rated data have one owner: the plan
            assert load_plan(plan).cell.source == cell.source
