# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the estimator: what it takes as a scan, what it keeps and what it tells."""

from array import array
from collections.abc import Callable
from math import hypot, inf, isnan, nan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from ibms_battery.cell import load_cell
from ibms_battery.circuit import model_of
from ibms_battery.pack import Pack
from ibms_edge.estimation.node import StateEstimator
from ibms_edge.estimation.registry import ESTIMATORS
from ibms_edge.estimation.scan_input import Step
from ibms_msgs.msg import CellMeasurement, CellStates, Event, PackEstimate, PackPower, SwitchState
from ibms_msgs.srv import RollBackCellModel, UpdateCellModel
from ibms_ros_common.diagnostics import Status

Start = Callable[..., Any]


def scan(pack: Pack, voltage_v: float = 3.7, **fields: Any) -> CellMeasurement:
    message = CellMeasurement(current_a=0.0, charge_c=nan)
    message.voltage_v = array("f", [voltage_v] * pack.series)
    message.temperature_c = array("f", [25.0] * pack.temperature_sensors)
    message.bleed_active = array("B", bytes(pack.series))
    message.voltage_valid = array("B", [1] * pack.series)
    message.temperature_valid = array("B", [1] * pack.temperature_sensors)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def feed(alone: Any, pack: Pack, scans: int, step_s: float = 0.02, **fields: Any) -> None:
    for number in range(scans):
        alone.advance(step_s)
        alone.hear("cells/measurement", scan(pack, scan_counter=number, **fields))


def states(alone: Any) -> list[CellStates]:
    return [message for topic, message in alone.sent if topic == "cells/state"]


def report(alone: Any, subject: str = "estimate") -> Status:
    status = Status()
    dict(alone.node.subjects())[subject](status)
    return status


def test_every_scan_counts_and_ten_per_second_are_told(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 101)
    assert len(states(alone)) in (20, 21)
    last = states(alone)[-1]
    for name in ("soc", "soe", "soh_capacity", "soh_resistance", "current_bias_a"):
        values = getattr(last, name)
        assert len(values) == pack.series, name
        assert not any(isnan(value) for value in values), name
    assert all(0.0 < soc < 1.0 for soc in last.soc)
    assert list(last.valid) == [1] * pack.series
    assert last.voltage_v[0] == pytest.approx(3.7)


def test_the_pack_is_told_with_the_scan_that_its_cells_are_of(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    voltage_v = array("f", [3.7] * pack.series)
    voltage_v[5], voltage_v[8] = 3.5, 3.9
    for number in range(11):
        alone.advance(0.02)
        message = scan(pack, scan_counter=number)
        message.voltage_v = voltage_v
        alone.hear("cells/measurement", message)
    told, cells = alone.newest("pack/estimate"), states(alone)[-1]
    assert (told.valid, told.estimator, told.model_version) == (True, "adaptive", 1)
    assert (told.boot_ns, told.scan_counter) == (cells.boot_ns, cells.scan_counter)
    assert (told.empties_first, told.fills_first) == (5, 8)
    assert told.empties_first_by == told.fills_first_by == PackEstimate.BY_CHARGE
    assert told.charge_to_empty_ah == pytest.approx(cells.soc[5] * cells.capacity_ah[5], rel=1e-5)
    assert told.charge_to_full_ah == pytest.approx(
        (1.0 - cells.soc[8]) * cells.capacity_ah[8], rel=1e-5
    )


def test_power_is_told_for_each_horizon_and_falls_with_it(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 11)
    told = alone.newest("pack/power")
    assert told.boot_ns == states(alone)[-1].boot_ns
    assert list(told.horizon_s) == [2.0, 10.0, 30.0, inf]
    for name in ("charge", "discharge"):
        currents_a = list(getattr(told, f"{name}_current_a"))
        assert currents_a == sorted(currents_a, reverse=True)
        assert currents_a[0] > 0.0
        for field in ("power_w", "cell", "limited_by"):
            assert len(getattr(told, f"{name}_{field}")) == 4
        assert PackPower.LIMIT_UNKNOWN not in getattr(told, f"{name}_limited_by")


def test_of_unknown_cells_no_power_is_promised(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 3, voltage_valid=array("B", bytes(pack.series)))
    told = alone.newest("pack/power")
    assert list(told.discharge_power_w) == list(told.charge_power_w) == [0.0] * 4
    assert list(told.discharge_limited_by) == [PackPower.LIMIT_UNKNOWN] * 4


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"late": True}, "late"),
        ({"voltage_v": array("f", [3.7] * 3)}, "of another size"),
        ({"voltage_valid": array("B")}, "of another size"),
        ({"temperature_c": array("f")}, "of another size"),
    ],
)
def test_what_is_no_fresh_whole_scan_changes_nothing(
    start: Start, pack: Pack, wrong: dict[str, Any], why: str
) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 10)
    before = alone.node._estimator.estimate.soc
    alone.advance(0.02)
    message = scan(pack, voltage_v=4.1)
    for name, value in wrong.items():
        setattr(message, name, value)
    alone.hear("cells/measurement", message)
    assert (alone.node._estimator.estimate.soc == before).all()
    assert report(alone).values[f"rejected: {why}"] == "1"


def test_a_repeated_scan_and_one_out_of_order_are_rejected(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 10)
    alone.hear("cells/measurement", scan(pack))
    old = scan(pack, boot_ns=alone.clock.boot_ns() - 50_000_000)
    alone.node.receive(alone.node.inputs["cells/measurement"], old)
    assert report(alone).values["rejected: out of order"] == "2"


def test_the_charge_counter_bridges_slow_scans(start: Start, pack: Pack) -> None:
    counted, still = start(StateEstimator), start(StateEstimator)
    for number in range(60):
        for alone, current_a in ((counted, -10.0), (still, 0.0)):
            alone.advance(1.0)
            message = scan(pack, charge_c=current_a * number)  # that no single current shows
            alone.hear("cells/measurement", message)
    given = (still.node._estimator.estimate.soc - counted.node._estimator.estimate.soc).mean()
    # At the same terminal voltage a discharging pack holds more than a resting one.
    assert given < 0.0


def test_an_invalid_voltage_widens_the_uncertainty_and_moves_nothing(
    start: Start, pack: Pack
) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 50)
    before = states(alone)[-1]
    valid = array("B", [1] * pack.series)
    valid[3] = 0
    wrong_v = array("f", [3.7] * pack.series)
    wrong_v[3] = 1.0  # must not be used, whatever stands there
    for _ in range(500):
        alone.advance(0.02)
        message = scan(pack, voltage_valid=valid)
        message.voltage_v = wrong_v
        alone.hear("cells/measurement", message)
    after = states(alone)[-1]
    assert isnan(after.voltage_v[3])
    assert after.soc[3] == pytest.approx(before.soc[3], abs=1e-3)
    assert after.soc_std[3] > 1.01 * after.soc_std[2]
    assert after.valid[3] == 1


def test_a_long_gap_without_a_counter_widens_the_uncertainty(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 50)
    before = states(alone)[-1].soc_std[0]
    invalid = array("B", bytes(pack.series))
    alone.advance(120.0)
    alone.hear("cells/measurement", scan(pack, voltage_valid=invalid))
    assert report(alone).values["gaps"] == "1"
    assert states(alone)[-1].soc_std[0] > hypot(before, 0.03)  # 2 min at 1 C would move 0.033


def test_a_bypassed_cell_carries_no_current_and_does_not_count(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    voltage_v = array("f", [3.7] * pack.series)
    voltage_v[2] = 3.4  # the weakest, were it in the circuit
    isolated = array("B", bytes(pack.series))
    isolated[2] = 1
    for number in range(200):
        alone.advance(0.02)
        alone.hear("switch/state", SwitchState(isolated=isolated))
        message = scan(pack, current_a=-30.0, scan_counter=number)
        message.voltage_v = voltage_v
        alone.hear("cells/measurement", message)
    soc = alone.node._estimator.estimate.soc
    assert soc[2] < soc[0]
    told = alone.newest("pack/estimate")
    assert told.empties_first != 2
    assert told.soc == pytest.approx(float(np.delete(soc, 2).min()), abs=0.01)
    in_circuit = np.frombuffer(isolated, np.uint8) == 0
    current_a = alone.node._input.step(scan(pack, current_a=-30.0), in_circuit).current_a
    assert current_a[2] == 0.0
    assert current_a[0] == pytest.approx(-30.0 / pack.parallel)


def test_a_wrong_name_is_refused_with_the_list(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = start(StateEstimator, estimator="crystal_ball")
    assert not alone.node.is_configured
    said = capfd.readouterr()
    assert "crystal_ball" in said.err + said.out
    assert "adaptive" in said.err + said.out


def test_a_restart_goes_on_with_what_was_known(start: Start, pack: Pack, tmp_path: Path) -> None:
    first = start(StateEstimator, state_directory=str(tmp_path))
    feed(first, pack, 500)
    known = first.node._estimator.estimate
    first.node.stop()
    second = start(StateEstimator, state_directory=str(tmp_path))
    second.advance(first.clock.boot_ns() / 1e9 - second.clock.boot_ns() / 1e9 + 3.0)
    feed(second, pack, 1)
    assert "went on after 3.0 s" in report(second).values["restart"]
    resumed = second.node._estimator.estimate
    assert resumed.resistance_factor_std == pytest.approx(known.resistance_factor_std, rel=0.05)
    assert (resumed.soc_std < 0.2).all()


def test_a_damaged_file_is_told_and_ignored(start: Start, pack: Pack, tmp_path: Path) -> None:
    file = tmp_path / f"{pack.name}.estimate"
    first = start(StateEstimator, state_directory=str(tmp_path))
    feed(first, pack, 50)
    first.node.stop()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    second = start(StateEstimator, state_directory=str(tmp_path))
    feed(second, pack, 100)
    second.node._keeper._file.stop()
    status = report(second)
    assert "damaged" in status.message  # though the file has been replaced meanwhile
    assert status.values["restart"] == "nothing was kept"
    assert second.newest("pack/estimate").valid


def test_no_estimate_is_told_as_such(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 3, voltage_valid=array("B", bytes(pack.series)))
    told: PackEstimate = alone.newest("pack/estimate")
    assert not told.valid
    assert isnan(told.soc)
    assert told.empties_first == -1
    assert list(states(alone)[-1].valid) == [0] * pack.series


def newer(pack: Pack, config: Path, factor: float = 1.1) -> str:
    """The pack's cell with a model of version 2 that has other resistances."""
    cell = load_cell(config / "cells" / f"{pack.cell}.yaml")
    data: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(cell, model=model_of(cell)))
    model = data["model"]
    model["version"] += 1
    for table in (model, model["fast"], model["slow"]):
        name = "ohmic_resistance_ohm" if table is model else "resistance_ohm"
        table[name] = [[factor * value for value in row] for row in table[name]]
    return yaml.safe_dump(data)


def update(alone: Any, text: str) -> UpdateCellModel.Response:
    return alone.node._on_update(
        UpdateCellModel.Request(cell_yaml=text), UpdateCellModel.Response()
    )


def roll_back(alone: Any) -> RollBackCellModel.Response:
    return alone.node._on_roll_back(RollBackCellModel.Request(), RollBackCellModel.Response())


def test_a_model_is_taken_while_running_and_rolled_back(
    start: Start, pack: Pack, config: Path
) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 100)
    before, ohm = alone.newest("pack/estimate"), states(alone)[-1].resistance_ohm[0]
    answer = update(alone, newer(pack, config))
    assert answer.success, answer.message
    assert answer.active_version == before.model_version + 1
    feed(alone, pack, 100)
    after = alone.newest("pack/estimate")
    assert (after.model_version, after.model_trial) == (answer.active_version, 1)
    assert after.soc == pytest.approx(before.soc, abs=0.01)
    assert states(alone)[-1].resistance_ohm[0] == pytest.approx(1.1 * ohm, rel=0.05)
    back = roll_back(alone)
    assert (back.success, back.active_version) == (True, before.model_version)
    assert roll_back(alone).code == RollBackCellModel.Response.CODE_NOTHING_BEFORE
    feed(alone, pack, 10)
    assert alone.newest("pack/estimate").model_trial == PackEstimate.TRIAL_NONE
    texts = [message.text for topic, message in alone.sent if topic == "events"]
    assert len(texts) == 2
    assert "rolled back" in texts[1]


def test_a_wrong_model_is_refused_with_the_reason(start: Start, pack: Pack, config: Path) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 10)
    answer = update(alone, newer(pack, config, factor=7.0))
    assert (answer.success, answer.code) == (False, UpdateCellModel.Response.CODE_REFUSED)
    assert "resistance is beyond" in answer.message
    alone.node.trigger_deactivate()
    assert update(alone, "").code == UpdateCellModel.Response.CODE_NOT_ACTIVE
    assert roll_back(alone).code == RollBackCellModel.Response.CODE_NOT_ACTIVE


def test_a_model_that_voltages_contradict_goes_by_itself(
    start: Start, pack: Pack, config: Path
) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 50)
    assert update(alone, newer(pack, config)).success
    alone.node._health.ratio[:] = 20.0
    feed(alone, pack, 1)
    assert not alone.node._updates.is_on_trial
    assert alone.newest("pack/estimate").model_version == 1
    event = alone.newest("events")
    assert event.severity == Event.SEVERITY_WARNING
    assert "voltages or charge contradict it" in event.text
    assert (alone.node._health.ratio < 3.0).all()


def test_models_outlive_a_restart(start: Start, pack: Pack, config: Path, tmp_path: Path) -> None:
    first = start(StateEstimator, state_directory=str(tmp_path))
    feed(first, pack, 10)
    version = update(first, newer(pack, config)).active_version
    first.node.stop()
    second = start(StateEstimator, state_directory=str(tmp_path))
    feed(second, pack, 1)
    told = second.newest("pack/estimate")
    assert (told.model_version, told.model_trial) == (version, PackEstimate.TRIAL_RUNNING)
    second.node.stop()
    file = tmp_path / f"{pack.name}.cell_models"
    file.write_bytes(b"foreign" + file.read_bytes())
    third = start(StateEstimator, state_directory=str(tmp_path))
    assert "no file of this program" in report(third, "model").message
    assert third.node._updates.version == version - 1


def test_what_is_kept_refers_to_the_capacity_in_use(
    start: Start, pack: Pack, config: Path, tmp_path: Path
) -> None:
    """The factor of the capacity is one of the model's: with another it would be another charge."""
    first = start(StateEstimator, state_directory=str(tmp_path))
    feed(first, pack, 10)
    file = tmp_path / f"{pack.name}.estimate"
    data = yaml.safe_load(newer(pack, config))
    data["capacity_ah"] *= 0.8
    assert update(first, yaml.safe_dump(data)).success
    known_ah = list(states(first)[-1].capacity_ah)
    feed(first, pack, 3)
    assert list(states(first)[-1].capacity_ah) == pytest.approx(known_ah, rel=0.01)
    first.node.stop()
    assert file.exists()
    second = start(StateEstimator, state_directory=str(tmp_path))
    second.advance((first.clock.boot_ns() - second.clock.boot_ns()) / 1e9 + 1.0)
    feed(second, pack, 1)
    assert "went on after 1.0 s" in report(second).values["restart"]
    assert list(states(second)[-1].capacity_ah) == pytest.approx(known_ah, rel=0.01)
    second.node.stop()
    (tmp_path / f"{pack.name}.cell_models").unlink()
    third = start(StateEstimator, state_directory=str(tmp_path))
    feed(third, pack, 1)
    assert "is of capacity_ah" in report(third).message


def test_a_cell_without_a_finite_sigma_is_not_valid(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 10)
    estimate, warm_c = alone.node._estimator.estimate, np.full(pack.series, 25.0)
    estimate.soc_std[3] = nan
    step = Step(np.full(pack.series, 3.7), warm_c, np.zeros(pack.series), 0.1)
    told, figures = CellStates(), alone.node._figures
    figures.fill(told, estimate, figures.contents(estimate, warm_c), step, warm_c)
    assert list(told.valid)[2:5] == [1, 0, 1]


def test_a_reversed_current_is_named(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    random = np.random.default_rng(1)
    for number in range(600):
        current_a = 20.0 * float(random.standard_normal())
        feed(alone, pack, 1, step_s=0.25, voltage_v=3.7 - 0.003 * current_a, current_a=current_a)
        assert number < 100 or alone.node._sign.is_reversed
    assert "wrong sign" in report(alone, "model").message


def test_cells_of_another_chemistry_are_named(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 100, voltage_v=4.6)
    assert "impossible for lg_m50" in report(alone, "model").message


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_every_estimator_runs_in_the_node_and_outlives_a_restart(
    start: Start, pack: Pack, tmp_path: Path, name: str
) -> None:
    first = start(StateEstimator, estimator=name, state_directory=str(tmp_path))
    feed(first, pack, 60, current_a=-3.0)
    told, cells = first.newest("pack/estimate"), states(first)[-1]
    assert (told.valid, told.estimator) == (True, name)
    assert 0.0 < told.soc < 1.0
    assert 0.0 < told.soe < 1.0
    assert told.energy_to_empty_wh > 0.0
    assert min(cells.capacity_ah) > 0.0
    assert min(cells.resistance_ohm) > 0.0
    first.node.stop()
    second = start(StateEstimator, estimator=name, state_directory=str(tmp_path))
    second.advance((first.clock.boot_ns() - second.clock.boot_ns()) / 1e9 + 1.0)
    feed(second, pack, 1, current_a=-3.0)
    assert "went on after 1.0 s" in report(second).values["restart"]
    assert second.newest("pack/estimate").soc == pytest.approx(told.soc, abs=2 * told.soc_std)


def test_a_state_of_another_estimator_is_told_and_ignored(
    start: Start, pack: Pack, tmp_path: Path
) -> None:
    first = start(StateEstimator, estimator="ekf", state_directory=str(tmp_path))
    feed(first, pack, 10)
    first.node.stop()
    second = start(StateEstimator, state_directory=str(tmp_path))
    feed(second, pack, 1)
    assert "is of estimator 'ekf', this is 'adaptive'" in report(second).message
