# SPDX-License-Identifier: Apache-2.0
"""Behaviour of both devices together, seen from the bus."""

import can
import pytest

from ibms_sim.faults import InjectCode

from .conftest import Bench

MAIN, PRECHARGE = 0b011, 0b101


def test_rates_and_counters(bench: Bench) -> None:
    bench.run(0.1)
    before = bench.seen.copy()
    first = bench.last["AfeMeasurement_00"]
    bench.run(2.0)
    rates = {name: bench.seen[name] - before[name] for name in bench.seen}
    assert rates["AfeMeasurement_00"] == pytest.approx(100, abs=1)
    assert rates["PackSensor"] == pytest.approx(200, abs=1)
    assert rates["InsulationMonitor"] == pytest.approx(20, abs=1)
    assert rates["Environment"] == pytest.approx(20, abs=1)
    assert rates["ThermalFeedback"] == pytest.approx(4, abs=1)
    assert rates["PackSensorRedundant"] == pytest.approx(200, abs=1)
    assert rates["PackIdentity"] == 2
    assert rates["SwitchFeedback"] >= 199
    last = bench.last["AfeMeasurement_00"]
    assert last["ScanCounter"] - first["ScanCounter"] == rates["AfeMeasurement_00"]
    assert last["DeviceTime"] - first["DeviceTime"] == pytest.approx(2000, abs=20)
    assert all(not decoder.rejected for decoder in bench.decoders.values())


def test_precharges_closes_and_carries_current(bench: Bench) -> None:
    bench.run(0.2)
    bench.command(0, arm=True)
    bench.command(PRECHARGE)
    link = bench.last["PackSensor"]["LinkVoltage"]
    pack = bench.last["PackSensor"]["PackVoltage"]
    assert 0.2 < link / pack < 0.9
    bench.run(0.3)
    assert bench.last["PackSensor"]["LinkVoltage"] / pack > 0.97
    assert bench.last["SwitchFeedback"]["LinkVoltage"] == pytest.approx(pack, rel=0.01)
    # Without the main contacts, the load draws nothing.
    assert bench.last["PackSensor"]["Current"] == pytest.approx(0.0, abs=0.5)
    bench.command(0b111)
    bench.command(MAIN)
    charge = bench.last["PackSensor"]["Charge"]
    bench.run(2.0)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(-6.0, abs=0.5)
    assert bench.last["PackSensor"]["Charge"] - charge == pytest.approx(-12.0, abs=0.3)
    bench.command(0)
    bench.run(0.1)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(0.0, abs=0.5)


def test_says_what_it_is_built_of(bench: Bench) -> None:
    bench.run(0.1)
    said = bench.last["PackIdentity"]
    numbers = [said["SeriesCells"], said["AfeModules"], said["TemperatureSensors"]]
    assert numbers == [12, 1, 4]
    assert bench.last["SwitchFeedback"]["SwitchCount"] == 3


def test_both_current_sensors_measure_the_same_current(bench: Bench) -> None:
    bench.connect()
    bench.run(0.5)
    assert bench.last["PackSensorRedundant"]["Current"] == pytest.approx(-6.0, abs=0.7)
    assert bench.last["PackSensorRedundant"]["Current"] != bench.last["PackSensor"]["Current"]


def test_opens_when_permits_stop(bench: Bench) -> None:
    bench.connect()
    bench.permits = False
    bench.run(0.10)
    assert bench.last["SwitchFeedback"]["Closed"] == MAIN
    bench.run(0.06)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["Closed"], feedback["DeadManLatched"], feedback["OpenCause"]) == (0, 1, 2)
    bench.permits = True
    bench.run(0.1)
    bench.command(MAIN)
    bench.run(0.1)
    assert bench.last["SwitchFeedback"]["Closed"] == 0


def test_a_dead_board_is_an_open_pack(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.connect()
    bench.run(0.2)
    monkeypatch.setattr(bench.board, "run_due", lambda wait_s: None)
    bench.run(0.3)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(0.0, abs=0.5)


def test_the_board_marks_voltages_it_does_not_get(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.connect()
    monkeypatch.setattr(bench.device, "run_due", lambda: None)
    bench.run(0.3)
    # Outside the range of the signal, and never 0.
    assert bench.last["SwitchFeedback"]["LinkVoltage"] > 1500
    assert bench.last["SwitchFeedback"]["PackVoltage"] > 1500


def test_balancing_acts_and_ends_by_itself(bench: Bench) -> None:
    bench.run(0.1)
    bench.send("AfeBalancing", BleedMask_00=0b1010)
    bench.run(1.0)
    assert bench.last["AfeMeasurement_00"]["BleedActive"] == 0b1010
    assert bench.device._afe.bleed_s[1] > 0
    assert bench.device._afe.bleed_s[0] == 0
    bench.run(0.95)
    assert bench.last["AfeMeasurement_00"]["BleedActive"] == 0b1010
    bench.run(0.15)
    assert bench.last["AfeMeasurement_00"]["BleedActive"] == 0


def test_history_comes_oldest_first_beside_the_live_scans(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(2.0)
    seen: list[float] = []
    receive = bench._receive

    def record(message: can.Message) -> None:
        receive(message)
        if message.arbitration_id == 0x300:
            seen.append(bench.last["AfeHistory_00"]["ScanCounter"])

    monkeypatch.setattr(bench, "_receive", record)
    bench.send("AfeHistoryRequest", FirstScan=11, ScanCount=40)
    live = bench.seen["AfeMeasurement_00"]
    bench.run(0.2)
    assert seen == list(range(11, 51))
    assert bench.seen["AfeMeasurement_00"] - live == pytest.approx(10, abs=1)


def test_follows_the_limits_of_the_bms(bench: Bench) -> None:
    bench.connect()
    bench.run(0.1)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(-6.0, abs=0.5)
    limits = {
        "ChargeCurrent": 5.0, "DischargeCurrent": 2.0, "ChargePower": 1e4, "DischargePower": 1e4,
        "ChargeVoltage": 60.0, "DischargeVoltage": 30.0,
    }  # fmt: skip
    bench.send("VehicleLimits", **limits)
    bench.run(0.2)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(-2.0, abs=0.3)
    bench.run(0.2)  # 0.4 s after the last one
    assert bench.last["PackSensor"]["Current"] == pytest.approx(0.0, abs=0.3)
    bench.send("VehicleLimits", **limits)
    bench.send("VehicleBattery", Valid=1, ZeroCurrentRequest=1)
    bench.run(0.1)
    assert bench.last["PackSensor"]["Current"] == pytest.approx(0.0, abs=0.3)


def test_thermal_actuators_act_and_fall_back(bench: Bench) -> None:
    bench.run(0.1)
    bench.send("ThermalCommand", Pump=80, Heater=50)
    bench.run(1.0)
    feedback = bench.last["ThermalFeedback"]
    assert (feedback["Pump"], feedback["Heater"], feedback["CommandFresh"]) == (80, 50, 1)
    bench.run(2.0)
    feedback = bench.last["ThermalFeedback"]
    assert (feedback["Pump"], feedback["Heater"], feedback["CommandFresh"]) == (0, 0, 0)


def test_a_frame_with_wrong_crc_commands_nothing(bench: Bench) -> None:
    bench.run(0.1)
    frame = bench._encoders["AfeBalancing"].encode({"BleedMask_00": 7})
    frame.data[5] ^= 0x10
    bench.bus.send(frame)
    bench.run(0.1)
    assert bench.last["AfeMeasurement_00"]["BleedActive"] == 0


def test_a_short_cannot_be_injected_into_a_cell_that_is_out_of_range(bench: Bench) -> None:
    assert bench.inject("internal_short", 12, 0.1) is InjectCode.OUT_OF_RANGE
