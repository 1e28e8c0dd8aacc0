# SPDX-License-Identifier: Apache-2.0
"""Drives the system from outside, over CAN alone.

It knows the DBC files and nothing else of the project: no import of it, no ROS. It asks for drive,
sees precharge and closing in order, injects an over-voltage by frames, sees the opening and reads
the cause.

    python contract.py --dbc config/can/ibms.dbc --sim-dbc config/can/ibms_sim.dbc --channel 43200
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import can
import cantools
from cantools.autosar.end_to_end import compute_profile5_crc
from cantools.database.can import Database, Message

_CURRENT_SENSORS = ("PackSensor", "PackSensorRedundant")


class ContractError(AssertionError):
    """The other side broke the contract."""


def data_id_of(message: Message) -> int:
    """Data identifier that goes into the CRC, an attribute of the message in the DBC."""
    assert message.dbc is not None
    return int(message.dbc.attributes["E2EDataId"].value)


class Vehicle:
    """A vehicle on the bus: sends requests, watches the frames of the pack."""

    def __init__(self, database: Database, simulation: Database, bus: can.BusABC) -> None:
        self.newest: dict[str, dict[str, Any]] = {}
        self.stamps: dict[str, float] = {}
        self.closed_masks: list[int] = []
        self.rejected = 0
        self._database = database
        self._simulation = simulation
        self._bus = bus
        self._counters: dict[str, int] = {}
        self._request = {"RequestedState": 1, "Sequence": 0, "ClearFaults": 0}
        self._next_request = 0.0

    def protected(self, message: Message, values: Mapping[str, float]) -> can.Message:
        """Frame with counter and CRC after AUTOSAR profile 5, as the DBC's comment says."""
        data_id = data_id_of(message)
        counter = self._counters.get(message.name, 0)
        self._counters[message.name] = (counter + 1) & 0xFF
        data = bytearray(message.encode({"Crc": 0, "AliveCounter": counter, **values}))
        crc = compute_profile5_crc(bytes(data), data_id)
        assert crc is not None
        data[0:2] = crc.to_bytes(2, "little")
        return can.Message(
            arbitration_id=message.frame_id, is_extended_id=False, is_fd=message.is_fd, data=data
        )

    def request(self, state: str, clear_faults: bool = False) -> None:
        """New request; it is repeated from now on."""
        choices = self._database.get_message_by_name("VehicleRequest")
        states = choices.get_signal_by_name("RequestedState").choices
        assert states is not None
        number = next(int(key) for key, name in states.items() if str(name) == state)
        self._request["RequestedState"] = number
        self._request["Sequence"] = (self._request["Sequence"] + 1) & 0xFF
        self._request["ClearFaults"] = int(clear_faults)
        self._next_request = 0.0

    def inject(self, fault: int, element: int, value: float, remove: bool = False) -> None:
        """Fault injection by a frame of the simulation's DBC."""
        message = self._simulation.get_message_by_name("SimulationInject")
        sequence = self._counters["inject"] = (self._counters.get("inject", 0) + 1) & 0xFF
        data = message.encode(
            {
                "Sequence": sequence,
                "Remove": int(remove),
                "Fault": fault,
                "Element": element,
                "ValueMicro": value,
                "Duration": 0,
                "Count": 0,
            }
        )
        self._bus.send(
            can.Message(
                arbitration_id=message.frame_id, is_extended_id=False, is_fd=True, data=data
            )
        )

    def watch(self, what: str, condition: Callable[[], bool], timeout_s: float) -> float:
        """Watch the bus until ``condition`` holds; returns the seconds it took."""
        start = time.monotonic()
        while not condition():
            now = time.monotonic()
            if now - start > timeout_s:
                raise ContractError(
                    f"{what}: not within {timeout_s} s; newest frames "
                    f"{self.newest.get('VehicleStatus')} {self.newest.get('SwitchFeedback')} "
                    f"{self.newest.get('VehicleAnswer')}"
                )
            if now >= self._next_request:
                self._next_request = now + 0.1
                message = self._database.get_message_by_name("VehicleRequest")
                self._bus.send(self.protected(message, self._request))
            self._take(self._bus.recv(0.02))
        return time.monotonic() - start

    def _take(self, frame: can.Message | None) -> None:
        if frame is None:
            return
        try:
            message = self._database.get_message_by_frame_id(frame.arbitration_id)
        except KeyError:
            return
        data_id = data_id_of(message)
        data = bytes(frame.data)
        if compute_profile5_crc(data, data_id) != int.from_bytes(data[:2], "little"):
            self.rejected += 1
            return
        values = cast("dict[str, Any]", message.decode(data))
        self.newest[message.name] = values
        self.stamps[message.name] = frame.timestamp
        if message.name == "SwitchFeedback":
            mask = int(values["Closed"])
            if not self.closed_masks or self.closed_masks[-1] != mask:
                self.closed_masks.append(mask)

    def state(self) -> str:
        """Pack state of the newest status."""
        return str(self.newest.get("VehicleStatus", {}).get("PackState", ""))


def run(vehicle: Vehicle) -> list[str]:
    """The whole contract; returns what was seen, raises ``ContractError``."""
    seen = []
    vehicle.watch("standby", lambda: vehicle.state() == "standby", 30.0)
    vehicle.watch(
        "closing becomes possible",
        lambda: int(vehicle.newest["VehicleStatus"]["Reaction"].value) < 3,
        5.0,
    )
    vehicle.watch("identity", lambda: "PackIdentity" in vehicle.newest, 2.0)
    said = vehicle.newest["PackIdentity"]
    if (said["SeriesCells"], said["AfeModules"], said["TemperatureSensors"]) != (96, 6, 24):
        raise ContractError(f"the pack says it is built otherwise: {said}")
    vehicle.closed_masks.clear()
    vehicle.request("drive")
    took = vehicle.watch("drive", lambda: vehicle.state() == "drive", 10.0)
    answer = vehicle.newest["VehicleAnswer"]
    if int(answer["Code"]) != 0:
        raise ContractError(f"the request was answered {answer}")
    masks = [mask for mask in vehicle.closed_masks if mask]
    # Bits: main negative, main positive, precharge. Main positive may close last only.
    if not masks or masks[-1] != 0b011:
        raise ContractError(f"contactors did not end closed: {masks}")
    first_positive = next(i for i, mask in enumerate(masks) if mask & 0b010)
    if not any(mask & 0b101 == 0b101 for mask in masks[:first_positive]):
        raise ContractError(f"no precharge before closing: {[bin(m) for m in masks]}")
    seen.append(f"drive after {took:.2f} s by {[bin(m) for m in masks]}")
    battery = vehicle.newest["VehicleBattery"]
    link_v = float(vehicle.newest["SwitchFeedback"]["LinkVoltage"])
    if abs(link_v - float(battery["PackVoltage"])) > 0.05 * float(battery["PackVoltage"]):
        raise ContractError(f"link voltage {link_v} V is not the pack voltage: {battery}")
    vehicle.watch(
        "current allowed", lambda: vehicle.newest["VehicleLimits"]["DischargeCurrent"] > 1.0, 5.0
    )
    sensors = [float(vehicle.newest[name]["Current"]) for name in _CURRENT_SENSORS]
    if abs(sensors[0] - sensors[1]) > 20.0:
        raise ContractError(f"the two current sensors measure {sensors} A")
    feedback = vehicle.newest["SwitchFeedback"]
    if (feedback["InterlockClosed"], feedback["CrashInput"], feedback["SwitchCount"]) != (1, 0, 3):
        raise ContractError(f"unexpected feedback {feedback}")
    cell, over_v = 37, 4.6
    vehicle.inject(fault=1, element=cell, value=over_v)
    took = vehicle.watch(
        "opening", lambda: int(vehicle.newest["SwitchFeedback"]["Closed"]) == 0, 1.0
    )
    seen.append(f"open {took * 1000:.0f} ms after the injection was sent")
    vehicle.watch("error", lambda: vehicle.state() == "error", 2.0)
    status = vehicle.newest["VehicleStatus"]
    if (int(status["Cause"]), int(status["CauseElement"])) != (101, cell):
        raise ContractError(f"cause is {status}, expected over-voltage (101) of cell {cell}")
    seen.append(f"cause {status['Cause']} element {status['CauseElement']}")
    vehicle.request("drive")
    vehicle.watch("refusal", lambda: _answered(vehicle), 2.0)
    if int(vehicle.newest["VehicleAnswer"]["Code"]) == 0:
        raise ContractError("drive was accepted although the fault stands")
    vehicle.inject(fault=1, element=cell, value=0.0, remove=True)
    vehicle.watch("time to recover", _after(1.5), 3.0)
    vehicle.request("standby", clear_faults=True)
    vehicle.watch("faults cleared", lambda: _reaction(vehicle) < 3, 3.0)
    vehicle.request("standby")
    vehicle.watch("standby again", lambda: vehicle.state() == "standby", 3.0)
    vehicle.request("drive")
    took = vehicle.watch("drive again", lambda: vehicle.state() == "drive", 10.0)
    seen.append(f"drive again after {took:.2f} s")
    vehicle.request("standby")
    vehicle.watch("open at the end", lambda: vehicle.state() == "standby", 5.0)
    if int(vehicle.newest["SwitchFeedback"]["Closed"]) != 0:
        raise ContractError("standby with closed contactors")
    if vehicle.rejected:
        raise ContractError(f"{vehicle.rejected} frames with a wrong CRC")
    return seen


def _answered(vehicle: Vehicle) -> bool:
    answer = vehicle.newest.get("VehicleAnswer", {})
    return answer.get("Sequence") == vehicle._request["Sequence"]


def _reaction(vehicle: Vehicle) -> int:
    return int(vehicle.newest["VehicleStatus"]["Reaction"].value)


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def main() -> int:
    """Run against a bus; exit code 1 and the reason if the contract is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dbc", required=True)
    parser.add_argument("--sim-dbc", required=True)
    parser.add_argument("--interface", default="ibms_local")
    parser.add_argument("--channel", default="43200")
    arguments = parser.parse_args()
    database = cantools.database.load_file(arguments.dbc)
    simulation = cantools.database.load_file(arguments.sim_dbc)
    assert isinstance(database, Database)
    assert isinstance(simulation, Database)
    with can.Bus(interface=arguments.interface, channel=arguments.channel, fd=True) as bus:
        try:
            seen = run(Vehicle(database, simulation, bus))
        except ContractError as error:
            print(f"contract broken: {error}")
            return 1
    print("\n".join(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
