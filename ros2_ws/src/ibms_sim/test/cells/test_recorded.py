# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import load_pack
from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import Recording, load_recording
from ibms_sim.cells.recorded import Player, RecordedDemand, RecordedStack
from ibms_sim.cells.thermal import Actuation
from ibms_sim.configuration import load_simulation
from ibms_sim.faults import InjectCode

from ..conftest import Bench

ROOT = Path(__file__).resolve().parents[5]
DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))
US06 = DATA / "lg_18650hg2" / "drive_1hz" / "25degC" / "551_US06.parquet"


def recording(temperature_c: float = 30.0) -> Recording:
    time_s = np.array([0.0, 10.0, 20.0])
    return Recording(
        time_s=time_s,
        voltage_v=np.array([4.0, 3.8, 3.9]),
        current_a=np.array([0.0, -4.0, -2.0]),
        temperature_c=np.full(3, temperature_c),
        charge_ah=np.full(3, np.nan),
        repeated=0,
    )


def stack(config: Path, player: Player) -> RecordedStack:
    return RecordedStack(
        player,
        load_pack(config / "packs" / "ev_96s_lg_18650hg2.yaml"),
        load_simulation(config / "simulation" / "rest.yaml"),
        np.random.default_rng(1),
    )


def test_plays_from_the_start_given_linear_between_samples() -> None:
    player = Player(recording(), 5.0)
    assert player.voltage_v(0.0) == pytest.approx(3.9)
    assert player.current_a(0.0) == pytest.approx(-2.0)
    assert player.voltage_v(10.0) == pytest.approx(3.85)


def test_holds_the_last_values_without_current_after_the_end() -> None:
    player = Player(recording(), 0.0)
    assert player.voltage_v(25.0) == pytest.approx(3.9)
    assert player.current_a(25.0) == 0.0


def test_groups_differ_by_a_small_reproducible_offset(config: Path) -> None:
    one, other = (stack(config, Player(recording(), 0.0)) for _ in range(2))
    nothing = np.zeros(96)
    for cells in (one, other):
        cells.step(nothing, nothing, nothing, Actuation(), 10.0)
    np.testing.assert_array_equal(one.voltage_v, other.voltage_v)
    assert one.voltage_v.mean() == pytest.approx(3.8, abs=2e-3)
    assert 1e-3 < one.voltage_v.std() < 6e-3
    assert one.temperature_c.mean() == pytest.approx(30.0, abs=0.2)


def test_without_measured_temperature_the_configured_one_stands(config: Path) -> None:
    cells = stack(config, Player(recording(temperature_c=float("nan")), 0.0))
    assert cells.temperature_c.mean() == pytest.approx(22.0, abs=0.2)


def test_the_pack_carries_the_current_of_all_cells_in_parallel() -> None:
    demand = RecordedDemand(Player(recording(), 0.0), 46)
    assert demand.current_a(10.0, 350.0) == pytest.approx(-184.0)


def test_a_measured_drive_cycle_comes_over_the_bus(
    config: Path, make_bench: Callable[..., Bench]
) -> None:
    if not US06.is_file():
        pytest.skip("measured data are not here; set IBMS_DATA")
    measured = load_recording(US06, find_columns(US06))
    bench = make_bench("ev_96s_lg_18650hg2", US06)
    bench.run(0.5)
    # Nothing moves before the contacts are closed.
    assert bench.last["AfeMeasurement_03"]["CellVoltage_04"] == pytest.approx(
        measured.voltage_v[0], abs=0.02
    )
    bench.connect()
    bench.run(4.0)
    played_s = bench.device._plant.load_time_s
    assert 4.0 < played_s < 4.3
    volts = [
        bench.last[f"AfeMeasurement_{module:02d}"][f"CellVoltage_{index:02d}"]
        for module in range(6)
        for index in range(16)
    ]
    expected = np.interp(played_s, measured.time_s, measured.voltage_v)
    assert np.mean(volts) == pytest.approx(expected, abs=0.003)
    current_a = np.interp(played_s, measured.time_s, measured.current_a) * 46
    assert bench.last["PackSensor"]["Current"] == pytest.approx(current_a, abs=3.0)
    # Recorded cells cannot be shorted: the device says so.
    assert bench.inject("internal_short", 3, 0.1) is InjectCode.UNKNOWN_FAULT
