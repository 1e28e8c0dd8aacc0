# SPDX-License-Identifier: Apache-2.0
"""What the independent observer says of the frames that it sees."""

import json
from pathlib import Path
from typing import Any

import pytest

from ibms_end.can.codec import FrameEncoder, find_message, load_databases
from ibms_tools.bench.can_observer import Limits, Observer

CAN = Path(__file__).resolve().parents[5] / "config" / "can"
DBC = [CAN / "ibms.dbc", CAN / "ibms_sim.dbc"]
LIMITS = Limits(
    cell_above_v=4.25, cell_below_v=2.4, hot_c=60, current_above_a=250, current_below_a=-500
)
MODULES = 2


class Bus:
    """Encodes frames with the databases and hands them to the observer, one each millisecond."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.observer = Observer(DBC, MODULES, LIMITS)
        self.at = 100.0
        self._capture = capture
        self._database = load_databases(DBC)
        self._encoders: dict[str, FrameEncoder] = {}

    def send(self, name: str, **values: float) -> None:
        message = find_message(self._database, name)
        encoder = self._encoders.setdefault(name, FrameEncoder(message))
        ordinary = {signal.name: 0.0 for signal in message.signals}
        if name.startswith("Afe"):
            ordinary |= {n: 3.9 for n in ordinary if n.startswith("CellVoltage")}
        elif name == "SwitchFeedback":
            ordinary["InterlockClosed"] = 1.0
        frame = encoder.encode(ordinary | values)
        frame.timestamp = self.at = round(self.at + 0.001, 3)
        self.observer.take(frame)

    def scan(self, counter: int, **of_last_module: float) -> None:
        for module in range(MODULES):
            values = of_last_module if module == MODULES - 1 else {}
            self.send(f"AfeMeasurement_{module:02d}", ScanCounter=counter, **values)

    def said(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._capture.readouterr().out.splitlines()]
        return [line for line in lines if line["event"] != "scans"]


@pytest.fixture
def bus(capsys: pytest.CaptureFixture[str]) -> Bus:
    return Bus(capsys)


def test_signs_in_scans_begin_once_and_anew_after_a_good_scan(bus: Bus) -> None:
    bus.scan(1)
    bus.scan(2, CellVoltage_03=4.4)
    bus.scan(3, CellVoltage_03=4.4)
    said = bus.said()
    assert [(e["event"], e["at"]) for e in said] == [
        ("sign", 100.004),
        ("faulty_scan", 100.004),
        ("faulty_scan", 100.006),
    ]
    assert [e["number"] for e in said[1:]] == [1, 2]
    bus.scan(4)
    bus.scan(5, CellVoltage_00=2.0, Temperature_01=65.0)
    assert [(e["event"], e["name"]) for e in bus.said()] == [
        ("sign", "cell_below"),
        ("sign", "hot"),
    ]
    bus.scan(6, CellVoltage_00=4.3)
    assert [e["event"] for e in bus.said()] == ["sign", "faulty_scan"]


def test_signs_of_current_and_of_safety_inputs(bus: Bus) -> None:
    bus.send("PackSensor", Current=100.0)
    bus.send("SwitchFeedback")
    assert bus.said() == []
    bus.send("PackSensor", Current=260.0)
    bus.send("PackSensor", Current=-510.0)
    bus.send("SwitchFeedback", InterlockClosed=0, CrashInput=1)
    bus.send("SwitchFeedback", InterlockClosed=0, EmergencyStop=1)
    names = [e["name"] for e in bus.said()]
    assert names == ["current_above", "current_below", "interlock", "crash", "emergency_stop"]


def test_commands_contacts_and_verdicts(bus: Bus) -> None:
    bus.send("SwitchCommand", Closed=3)
    bus.send("SwitchFeedback", Closed=3)
    bus.send("SimulationContacts", Closed=3)
    bus.said()
    bus.send("SwitchCommand", Closed=1, Reason=1)
    bus.send("SwitchCommand", Closed=1, Reason=1)
    bus.send("SimulationContacts", Closed=1)
    bus.send("SimulationContacts", Closed=0)
    bus.send("SwitchFeedback", Closed=0, OpenCause=1)
    bus.send("VehicleStatus", Reaction=5, Cause=101)
    bus.send("VehicleStatus", Reaction=5, Cause=101)
    command, contacts, opened, verdict = bus.said()
    assert (command["event"], command["reason"], command["last"]["SwitchFeedback"]) == (
        "open_command",
        1,
        100.002,
    )
    assert (contacts["event"], opened["event"]) == ("contacts_open", "opened")
    assert (verdict["event"], verdict["reaction"], verdict["cause"]) == ("verdict", 5, 101)


def test_a_corrupt_frame_shows_nothing(bus: Bus) -> None:
    encoder = FrameEncoder(find_message(load_databases(DBC), "SwitchCommand"))
    frame = encoder.encode({"Closed": 3, "ArmChallenge": 0, "Arm": 0, "Reason": 0})
    frame.data[3] ^= 0x10
    bus.observer.take(frame)
    bus.send("SwitchCommand", Closed=0)
    assert bus.said() == []
