# SPDX-License-Identifier: Apache-2.0
"""Each fault of the table, once injected, must show on the bus."""

from collections.abc import Callable

import pytest

from ibms_sim.faults import BY_NUMBER, FAULTS, InjectCode

from .conftest import Bench


def cell(bench: Bench, index: int) -> float:
    return bench.last["AfeMeasurement_00"][f"CellVoltage_{index:02d}"]


def cell_voltage(bench: Bench) -> None:
    assert bench.inject("cell_voltage", 3, 4.3) is InjectCode.OK
    bench.run(0.1)
    assert cell(bench, 3) == pytest.approx(4.3, abs=1e-4)
    assert bench.inject("cell_voltage", 3, remove=True) is InjectCode.OK
    bench.run(0.1)
    assert cell(bench, 3) < 4.15


def cell_voltage_offset(bench: Bench) -> None:
    before = cell(bench, 4)
    bench.inject("cell_voltage_offset", 4, -0.5)
    bench.run(0.1)
    assert cell(bench, 4) == pytest.approx(before - 0.5, abs=0.01)


def cell_voltage_stuck(bench: Bench) -> None:
    bench.inject("cell_voltage_stuck", 2)
    bench.run(0.05)
    values, others = set(), set()
    for _ in range(10):
        bench.run(0.02)
        values.add(cell(bench, 2))
        others.add(cell(bench, 3))
    assert len(values) == 1
    assert len(others) > 1


def cell_temperature(bench: Bench) -> None:
    bench.inject("cell_temperature", 1, 71.5)
    bench.run(0.1)
    assert bench.last["AfeMeasurement_00"]["Temperature_01"] == pytest.approx(71.5)


def cell_temperature_stuck(bench: Bench) -> None:
    bench.inject("cell_temperature_stuck", 1)
    bench.run(0.05)
    values = set()
    for _ in range(10):
        bench.run(0.02)
        values.add(bench.last["AfeMeasurement_00"]["Temperature_01"])
    assert len(values) == 1


def open_wire(bench: Bench) -> None:
    before = cell(bench, 5) + cell(bench, 6)
    bench.inject("open_wire", 5)
    bench.run(0.1)
    assert bench.last["AfeMeasurement_00"]["OpenWire"] == 1 << 5
    assert cell(bench, 5) < 0.1
    assert cell(bench, 6) == pytest.approx(min(before, 6.5535), abs=0.05)


def internal_short(bench: Bench) -> None:
    before = cell(bench, 7)
    bench.inject("internal_short", 7, 0.1)
    bench.run(2.0)
    assert cell(bench, 7) < before - 0.2
    assert bench.device._plant.stack.temperature_c[7] > bench.device._plant.stack.temperature_c[0]


def temperature_rate(bench: Bench) -> None:
    before = bench.last["AfeMeasurement_00"]
    bench.inject("temperature_rate", 1, 2.0)
    bench.run(3.0)
    after = bench.last["AfeMeasurement_00"]
    assert after["Temperature_01"] - before["Temperature_01"] == pytest.approx(6.0, abs=0.5)
    assert after["Temperature_00"] - before["Temperature_00"] == pytest.approx(0.0, abs=0.4)
    bench.inject("temperature_rate", 1, remove=True)
    bench.run(0.1)
    back = bench.last["AfeMeasurement_00"]
    assert back["Temperature_01"] == pytest.approx(before["Temperature_01"], abs=0.4)


def runaway(bench: Bench) -> None:
    before = bench.last["AfeMeasurement_00"]
    pack_v = bench.last["PackSensor"]["PackVoltage"]
    bench.inject("runaway", 4, 5.0)
    bench.run(2.0)
    after = bench.last["AfeMeasurement_00"]
    assert cell(bench, 4) < 0.3
    assert cell(bench, 5) > 3.0
    # The pack loses what the cell loses, and the cell's own sensor heats.
    assert bench.last["PackSensor"]["PackVoltage"] == pytest.approx(pack_v - 4.0, abs=0.3)
    assert after["Temperature_01"] - before["Temperature_01"] == pytest.approx(10.0, abs=0.6)
    assert after["Temperature_02"] - before["Temperature_02"] == pytest.approx(0.0, abs=0.4)


def module_voltage_offset(bench: Bench) -> None:
    before = bench.last["AfeMeasurement_00"]["ModuleVoltage"]
    bench.inject("module_voltage_offset", 0, -3.0)
    bench.run(0.1)
    after = bench.last["AfeMeasurement_00"]
    assert after["ModuleVoltage"] == pytest.approx(before - 3.0, abs=0.1)
    assert sum(cell(bench, k) for k in range(12)) == pytest.approx(before, abs=0.2)


def device_time_jump(bench: Bench) -> None:
    before = bench.last["AfeMeasurement_00"]["DeviceTime"]
    bench.inject("device_time_jump", value=100.0)
    bench.run(0.1)
    step_ms = bench.last["AfeMeasurement_00"]["DeviceTime"] - before
    assert step_ms == pytest.approx(100_120, abs=50)


def wrong_identity(bench: Bench) -> None:
    assert bench.last["PackIdentity"]["SeriesCells"] == 12
    bench.inject("wrong_identity", value=96)
    bench.run(1.1)
    assert bench.last["PackIdentity"]["SeriesCells"] == 96
    assert bench.last["PackIdentity"]["AfeModules"] == 1


def afe_silent(bench: Bench) -> None:
    bench.inject("afe_silent", 0)
    assert bench.count("AfeMeasurement_00", 0.2) == 0


def afe_corruption(bench: Bench) -> None:
    bench.inject("afe_corruption", 0, 3)
    before = bench.rejected("AfeMeasurement_00").total()
    assert bench.count("AfeMeasurement_00", 0.2) == 0
    assert bench.rejected("AfeMeasurement_00").total() - before >= 9


def afe_counter_frozen(bench: Bench) -> None:
    bench.inject("afe_counter_frozen", 0)
    bench.run(0.05)
    assert bench.count("AfeMeasurement_00", 0.2) == 0
    assert bench.rejected("AfeMeasurement_00")["repeated"] >= 9


def afe_self_test(bench: Bench) -> None:
    bench.inject("afe_self_test", 0)
    bench.run(0.05)
    assert bench.last["AfeMeasurement_00"]["SelfTestFailed"] == 1


def current_offset(bench: Bench) -> None:
    before = bench.last["PackSensor"]["Current"]
    bench.inject("current_offset", value=25.0)
    bench.run(0.05)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(before + 25.0, abs=1.0)


def current_value(bench: Bench) -> None:
    bench.inject("current_value", value=-400.0)
    bench.run(0.05)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(-400.0, abs=1e-3)


def pack_sensor_silent(bench: Bench) -> None:
    bench.inject("pack_sensor_silent")
    assert bench.count("PackSensor", 0.2) == 0


def pack_sensor_counter_frozen(bench: Bench) -> None:
    bench.inject("pack_sensor_counter_frozen")
    bench.run(0.05)
    assert bench.count("PackSensor", 0.2) == 0


def pack_sensor_self_test(bench: Bench) -> None:
    bench.inject("pack_sensor_self_test")
    bench.run(0.05)
    assert bench.last["PackSensor"]["SelfTestFailed"] == 1


def redundant_current_offset(bench: Bench) -> None:
    before = bench.last["PackSensorRedundant"]["Current"]
    bench.inject("redundant_current_offset", value=25.0)
    bench.run(0.05)
    assert bench.last["PackSensorRedundant"]["Current"] == pytest.approx(before + 25.0, abs=1.0)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(before, abs=1.0)


def redundant_sensor_silent(bench: Bench) -> None:
    bench.inject("redundant_sensor_silent")
    assert bench.count("PackSensorRedundant", 0.2) == 0
    assert bench.count("PackSensor", 0.2) >= 19


def pack_voltage_missing(bench: Bench) -> None:
    bench.inject("pack_voltage_missing")
    bench.run(0.05)
    sensor = bench.last["PackSensor"]
    assert sensor["PackVoltage"] > 1500.0  # outside of its range: not available
    assert 40.0 < sensor["LinkVoltage"] < 55.0


def link_voltage_missing(bench: Bench) -> None:
    bench.inject("link_voltage_missing")
    bench.run(0.05)
    sensor = bench.last["PackSensor"]
    assert sensor["LinkVoltage"] > 1500.0
    assert 40.0 < sensor["PackVoltage"] < 55.0


def insulation_resistance(bench: Bench) -> None:
    bench.inject("insulation_resistance", value=40e3)
    bench.run(4.0)
    assert bench.last["InsulationMonitor"]["Resistance"] == pytest.approx(40e3, rel=0.1)


def insulation_silent(bench: Bench) -> None:
    bench.inject("insulation_silent")
    assert bench.count("InsulationMonitor", 0.5) == 0


def environment_silent(bench: Bench) -> None:
    bench.inject("environment_silent")
    assert bench.count("Environment", 0.5) == 0


def insulation_self_test(bench: Bench) -> None:
    bench.inject("insulation_self_test")
    bench.run(0.2)
    assert bench.last["InsulationMonitor"]["SelfTestFailed"] == 1


def humidity(bench: Bench) -> None:
    bench.inject("humidity", value=97.0)
    bench.run(0.2)
    assert bench.last["Environment"]["Humidity"] == pytest.approx(97.0, abs=1.5)


def pressure(bench: Bench) -> None:
    before = bench.last["Environment"]["Pressure"]
    bench.inject("pressure", value=130_000.0, duration_s=0.5)  # a venting burst
    bench.run(0.3)
    assert bench.last["Environment"]["Pressure"] == pytest.approx(130_000, abs=50)
    bench.run(0.5)
    assert bench.last["Environment"]["Pressure"] == pytest.approx(before, abs=50)


def gas_sensor(bench: Bench) -> None:
    bench.inject("gas_sensor")
    bench.run(0.2)
    values = bench.last["Environment"]
    assert (values["GasValid"], values["HumidityValid"], values["PressureValid"]) == (0, 1, 1)


def gas(bench: Bench) -> None:
    bench.inject("gas", value=900.0)
    bench.run(0.2)
    assert bench.last["Environment"]["Gas"] == pytest.approx(900, abs=5)


def shock(bench: Bench) -> None:
    bench.inject("shock", value=120.0)
    bench.run(2.1)
    assert bench.last["Environment"]["ShockCount"] == 2


def link_short(bench: Bench) -> None:
    bench.inject("link_short", value=0.2)
    bench.run(0.1)
    assert bench.last["PackSensor"]["Current"] < -100


def precharge_open(bench: Bench) -> None:
    discharged_link(bench)
    bench.inject("precharge_open")
    bench.command(0b101)
    bench.run(0.5)
    assert bench.last["SwitchFeedback"]["Closed"] == 0b101
    assert bench.last["PackSensor"]["LinkVoltage"] < 1.0


def discharged_link(bench: Bench) -> None:
    bench.command(0)
    bench.run(0.1)
    bench.device._plant.circuit.link_v = 0.0


def precharge_slow(bench: Bench) -> None:
    # 20 Ohm and 2 mF: the time constant grows from 40 ms to 0.4 s.
    discharged_link(bench)
    bench.inject("precharge_slow", value=10.0)
    bench.command(0b101)
    bench.run(0.37)
    sensor = bench.last["PackSensor"]
    assert sensor["LinkVoltage"] / sensor["PackVoltage"] == pytest.approx(0.63, abs=0.05)


def link_open(bench: Bench) -> None:
    discharged_link(bench)
    bench.inject("link_open")
    bench.command(0b101)
    bench.run(0.02)
    sensor = bench.last["PackSensor"]
    assert sensor["LinkVoltage"] / sensor["PackVoltage"] > 0.99
    assert sensor["Current"] == pytest.approx(0.0, abs=0.5)


def fuse_open(bench: Bench) -> None:
    bench.inject("fuse_open")
    bench.run(0.1)
    assert bench.last["PackSensor"]["PackVoltage"] < 1.0
    assert bench.last["AfeMeasurement_00"]["ModuleVoltage"] > 40.0


def bus_loss(bench: Bench) -> None:
    bench.inject("bus_loss")
    before = bench.seen.copy()
    bench.run(1.0)
    silent = {name for name in bench.seen if bench.seen[name] == before[name]}
    assert {"AfeMeasurement_00", "PackSensor", "InsulationMonitor", "Environment"} <= silent
    assert "ThermalFeedback" in silent
    assert "SwitchFeedback" not in silent


def error_frames(bench: Bench) -> None:
    bench.inject("error_frames")
    bench.run(0.2)
    assert bench.error_frames >= 9


def weld(bench: Bench) -> None:
    bench.inject("weld", 1)
    bench.command(0)
    assert bench.last["SwitchFeedback"]["Closed"] == 0b010
    assert bench.last["SimulationContacts"]["Closed"] == 0b010


def weld_hidden(bench: Bench) -> None:
    bench.inject("weld_hidden", 1)
    bench.command(0)
    assert bench.last["SwitchFeedback"]["Closed"] == 0
    assert bench.last["SimulationContacts"]["Closed"] == 0b010


def does_not_close(bench: Bench) -> None:
    bench.command(0)
    bench.inject("does_not_close", 0)
    bench.command(0b101)
    bench.run(0.1)
    assert bench.last["SwitchFeedback"]["Closed"] == 0b100
    assert bench.last["SimulationContacts"]["Closed"] == 0b100


def interlock_open(bench: Bench) -> None:
    bench.inject("interlock_open")
    bench.run(0.05)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["Closed"], feedback["InterlockClosed"], feedback["OpenCause"]) == (0, 0, 3)


def emergency_stop(bench: Bench) -> None:
    bench.inject("emergency_stop")
    bench.run(0.05)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["Closed"], feedback["EmergencyStop"], feedback["OpenCause"]) == (0, 1, 4)


def switch_board_silent(bench: Bench) -> None:
    bench.inject("switch_board_silent")
    assert bench.count("SwitchFeedback", 0.2) == 0
    assert bench.last["SimulationContacts"]["Closed"] == 0b011


def interlock_glitch(bench: Bench) -> None:
    bench.inject("interlock_glitch")
    bench.run(0.05)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["Closed"], feedback["InterlockClosed"]) == (0b011, 0)


def crash(bench: Bench) -> None:
    bench.inject("crash")
    bench.run(0.05)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["Closed"], feedback["CrashInput"], feedback["OpenCause"]) == (0, 1, 7)


def does_not_open_slow(bench: Bench) -> None:
    bench.inject("does_not_open_slow", 1, 0.2)
    bench.command(0)
    assert bench.last["SwitchFeedback"]["Closed"] == 0b010
    bench.run(0.15)
    assert bench.last["SwitchFeedback"]["Closed"] == 0b010
    bench.run(0.05)
    assert bench.last["SwitchFeedback"]["Closed"] == 0


def wrong_switch_count(bench: Bench) -> None:
    assert bench.last["SwitchFeedback"]["SwitchCount"] == 3
    bench.inject("wrong_switch_count", value=5)
    bench.run(0.05)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["SwitchCount"], feedback["Closed"]) == (5, 0b011)


EFFECTS: dict[str, Callable[..., None]] = {
    check.__name__: check
    for check in (
        cell_voltage, cell_voltage_offset, cell_voltage_stuck, cell_temperature,
        cell_temperature_stuck, open_wire, internal_short, temperature_rate, runaway, afe_silent,
        afe_corruption, afe_counter_frozen, afe_self_test, module_voltage_offset,
        device_time_jump, wrong_identity, current_offset, current_value, pack_sensor_silent,
        pack_sensor_counter_frozen, pack_sensor_self_test, redundant_current_offset,
        redundant_sensor_silent, pack_voltage_missing, link_voltage_missing, insulation_resistance,
        insulation_silent, environment_silent,
        gas, shock, humidity, pressure, gas_sensor, insulation_self_test, link_short,
        precharge_open, precharge_slow, link_open, fuse_open, bus_loss, error_frames, weld,
        weld_hidden, does_not_close, interlock_open, emergency_stop, switch_board_silent,
        interlock_glitch, crash, does_not_open_slow, wrong_switch_count,
    )
}  # fmt: skip


def test_every_fault_of_the_table_has_its_effect_checked() -> None:
    # Those of the charger: test_simulated_charger.py.
    assert EFFECTS.keys() == {fault.name for fault in FAULTS if fault.device != "charger"}
    assert len(BY_NUMBER) == len(FAULTS)


@pytest.mark.parametrize("name", EFFECTS)
def test_effect(bench: Bench, name: str) -> None:
    bench.connect()
    EFFECTS[name](bench)
