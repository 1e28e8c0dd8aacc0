# SPDX-License-Identifier: Apache-2.0
"""The pack towards a vehicle: cyclic frames, requests and their answers, silence on either side."""

from array import array
from collections.abc import Callable
from math import isnan, nan
from pathlib import Path
from typing import Any

import can
import msgspec
import pytest
from rclpy.task import Future

from ibms_battery.pack import Pack, StringOfCells
from ibms_edge.vehicle.node import VehicleInterface
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.mapping import load_map
from ibms_msgs.msg import (
    PackEstimate,
    PackLimits,
    PackState,
    ProtectionStatus,
    SwitchState,
    ThermalState,
)
from ibms_msgs.srv import ExplainOpening, RequestPackState

Start = Callable[..., Any]


class Client:
    """A service that answers at once."""

    def __init__(self, answer: Any) -> None:
        self.requests: list[Any] = []
        self.ready = True
        self._answer = answer

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: Any) -> Future:
        self.requests.append(request)
        future = Future()
        future.set_result(self._answer)
        return future


class Vehicle:
    """The node with its frames decoded by the DBC, and a vehicle that can speak."""

    def __init__(self, alone: Any, config: Path, pack: Pack, monkeypatch: Any) -> None:
        self.alone = alone
        self.frames: list[can.Message] = []
        self.state = Client(RequestPackState.Response(success=True, code=0))
        self.clear = Client(None)
        database = load_map(config / "can" / "maps" / pack.can_map, pack).database
        self.messages = {
            name: find_message(database, name)
            for name in (
                "VehicleStatus",
                "VehicleLimits",
                "VehicleBattery",
                "VehicleAnswer",
                "LastOpening",
            )
        }
        self._request = FrameEncoder(find_message(database, "VehicleRequest"))
        monkeypatch.setattr(alone.node._receiver, "send", self.frames.append)
        monkeypatch.setattr(alone.node._requests, "_state_client", self.state)
        monkeypatch.setattr(alone.node._requests, "_clear_client", self.clear)

    def newest(self, name: str) -> dict[str, float]:
        message = self.messages[name]
        frame = next(f for f in reversed(self.frames) if f.arbitration_id == message.frame_id)
        values = FrameDecoder(message, protected=True).decode(frame.data)
        assert values is not None
        return values

    def ask(self, sequence: int, state: int, clear: bool = False) -> None:
        frame = self._request.encode(
            {"Sequence": sequence, "RequestedState": state, "ClearFaults": int(clear)}
        )
        self.alone.node._on_frame(frame, self.alone.clock.boot_ns())


@pytest.fixture
def vehicle(start: Start, config: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Vehicle:
    return Vehicle(start(VehicleInterface), config, pack, monkeypatch)


def test_limits_go_out_as_they_are_and_as_zero_when_old(vehicle: Vehicle) -> None:
    alone = vehicle.alone
    alone.hear("pack/limits", PackLimits(charge_current_a=10.0, discharge_current_a=30.0))
    alone.advance(0.1)
    assert vehicle.newest("VehicleLimits")["DischargeCurrent"] == pytest.approx(30.0, abs=0.1)
    alone.advance(0.4)
    limits = vehicle.newest("VehicleLimits")
    assert (limits["ChargeCurrent"], limits["DischargeCurrent"]) == (0.0, 0.0)
    assert limits["LimitedBy"] == PackLimits.LIMIT_INPUT_STALE


def test_a_limit_that_falls_goes_out_at_once_one_that_rises_with_the_cycle(
    vehicle: Vehicle,
) -> None:
    alone = vehicle.alone
    alone.hear("pack/limits", PackLimits(charge_current_a=10.0, discharge_current_a=30.0))
    alone.advance(0.1)
    alone.hear("pack/limits", PackLimits(charge_current_a=10.0, discharge_current_a=20.0))
    assert vehicle.newest("VehicleLimits")["DischargeCurrent"] == pytest.approx(20.0, abs=0.1)
    alone.hear("pack/limits", PackLimits(charge_current_a=15.0, discharge_current_a=20.0))
    assert vehicle.newest("VehicleLimits")["ChargeCurrent"] == pytest.approx(10.0, abs=0.1)
    alone.advance(0.1)
    assert vehicle.newest("VehicleLimits")["ChargeCurrent"] == pytest.approx(15.0, abs=0.1)


def test_the_battery_is_valid_only_when_everything_is_measured(vehicle: Vehicle) -> None:
    vehicle.alone.run(0.3)
    battery = vehicle.newest("VehicleBattery")
    assert battery["Valid"] == 1
    assert battery["PackVoltage"] == pytest.approx(12 * 3.7, abs=0.1)
    assert battery["StateOfCharge"] == pytest.approx(50.0, abs=0.5)
    vehicle.alone.run(0.3, temperature_c=array("f", [nan] + [25.0] * 11))
    assert vehicle.newest("VehicleBattery")["Valid"] == 0
    vehicle.alone.run(0.3)
    vehicle.alone.hear("pack/estimate", PackEstimate(valid=False, soc=nan))
    vehicle.alone.advance(0.1)
    assert vehicle.newest("VehicleBattery")["Valid"] == 0
    vehicle.alone.run(0.3)
    vehicle.alone.advance(1.2)
    assert vehicle.newest("VehicleBattery")["Valid"] == 0


def test_a_pack_that_drives_on_without_a_module_is_described_without_it(vehicle: Vehicle) -> None:
    alone = vehicle.alone
    unmeasured = {
        "voltage_v": array("f", [3.7] * 4 + [2.4, nan, 2.4, 2.4] + [3.7] * 4),
    }
    for isolated in (True, False):
        for _ in range(7):
            bypassed = array("B", [0] * 4 + [int(isolated)] * 4 + [0] * 4)
            alone.hear("switch/state", SwitchState(isolated=bypassed))
            (_, cells), *others = alone.healthy()
            for name, values in unmeasured.items():
                setattr(cells, name, values)
            for topic, message in (("cells/state", cells), *others):
                alone.hear(topic, message)
            alone.advance(0.1)
        battery, robots = vehicle.newest("VehicleBattery"), alone.newest("battery_state")
        assert battery["Valid"] == isolated
        assert isnan(robots.voltage) != isolated
        if isolated:
            assert battery["StateOfCharge"] == pytest.approx(50.0, abs=0.5)
            assert battery["PackVoltage"] == pytest.approx(8 * 3.7, abs=0.1)
            assert battery["MinimumCellVoltage"] == pytest.approx(3.7, abs=0.01)
            assert robots.percentage == pytest.approx(0.5)
            assert robots.voltage == pytest.approx(8 * 3.7, abs=1e-4)


def test_parallel_strings_have_the_voltage_of_one(
    vehicle: Vehicle, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    monkeypatch.setattr(vehicle.alone.node, "_pack", msgspec.structs.replace(pack, strings=halves))
    vehicle.alone.run(0.3)
    assert vehicle.newest("VehicleBattery")["PackVoltage"] == pytest.approx(6 * 3.7, abs=0.1)


def test_a_silent_supervisor_counts_as_a_wish_for_zero_current(vehicle: Vehicle) -> None:
    vehicle.alone.run(0.3)
    assert vehicle.newest("VehicleBattery")["ZeroCurrentRequest"] == 0
    vehicle.alone.advance(1.2)
    assert vehicle.newest("VehicleBattery")["ZeroCurrentRequest"] == 1


def test_a_change_of_the_verdict_is_told_at_once(vehicle: Vehicle) -> None:
    vehicle.alone.run(0.3)
    status = ProtectionStatus(
        reaction=ProtectionStatus.REACTION_OPEN_NOW, first_cause=101, first_cause_element=7
    )
    vehicle.alone.hear("protection/status", status)
    told = vehicle.newest("VehicleStatus")
    assert (told["Cause"], told["CauseElement"]) == (101, 7)
    assert told["Reaction"] == ProtectionStatus.REACTION_OPEN_NOW


def test_only_a_new_sequence_is_a_request_and_it_is_answered(vehicle: Vehicle) -> None:
    vehicle.ask(4, PackState.STATE_DRIVE)  # repeated since before our start, maybe
    vehicle.ask(4, PackState.STATE_DRIVE)
    vehicle.alone.run(0.1)
    assert vehicle.state.requests == []
    vehicle.ask(5, PackState.STATE_DRIVE, clear=True)
    vehicle.alone.run(0.3)
    assert [request.state for request in vehicle.state.requests] == [PackState.STATE_DRIVE]
    assert len(vehicle.clear.requests) == 1
    answer = vehicle.newest("VehicleAnswer")
    assert (answer["Sequence"], answer["Code"]) == (5, 0)


def test_without_a_supervisor_the_answer_says_so(vehicle: Vehicle) -> None:
    vehicle.state.ready = False
    vehicle.ask(1, PackState.STATE_STANDBY)
    vehicle.ask(2, PackState.STATE_DRIVE)
    vehicle.alone.run(0.1)
    assert vehicle.newest("VehicleAnswer")["Code"] == RequestPackState.Response.CODE_NOT_ACTIVE


def test_a_vehicle_that_falls_silent_while_driving_is_taken_to_standby_once(
    vehicle: Vehicle,
) -> None:
    vehicle.ask(1, PackState.STATE_STANDBY)
    vehicle.ask(2, PackState.STATE_DRIVE)
    vehicle.alone.run(3.0)
    states = [request.state for request in vehicle.state.requests]
    assert states == [PackState.STATE_DRIVE, PackState.STATE_STANDBY]


def test_battery_state_for_robots(vehicle: Vehicle) -> None:
    vehicle.alone.run(0.5)
    message = vehicle.alone.newest("battery_state")
    assert message.present
    assert message.percentage == pytest.approx(0.5)
    assert len(message.cell_voltage) == 12


def test_the_runaway_alarm_is_on_the_bus_within_a_second_and_outlives_its_sender(
    vehicle: Vehicle,
) -> None:
    alone = vehicle.alone
    alone.run(0.5)
    assert vehicle.newest("VehicleBattery")["ThermalRunaway"] == 0
    alone.hear("thermal/state", ThermalState(runaway_alarm=True))
    alone.run(0.2)
    assert vehicle.newest("VehicleBattery")["ThermalRunaway"] == 1
    alone.advance(10.0)
    assert vehicle.newest("VehicleBattery")["ThermalRunaway"] == 1
    alone.hear("thermal/state", ThermalState())
    alone.run(0.2)
    assert vehicle.newest("VehicleBattery")["ThermalRunaway"] == 0


def test_the_last_opening_is_told_each_second(
    vehicle: Vehicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ExplainOpening.Response(success=True, openings=2, cause=101, cause_element=7)
    recorder = Client(answer)
    monkeypatch.setattr(vehicle.alone.node._last_opening, "_client", recorder)
    vehicle.alone.run(3.05)
    assert len(recorder.requests) == 3
    told = vehicle.newest("LastOpening")
    assert (told["Cause"], told["CauseElement"], told["Openings"]) == (101, 7, 2)
