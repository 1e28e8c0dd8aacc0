# SPDX-License-Identifier: Apache-2.0
"""An independent process that speaks only CAN and says what the bus shows of faults and openings.

It prints one JSON object per line on standard output; times are the kernel's receive stamps [s]:
    {"event": "sign", "name": ..., "at": ...}   first frame that shows something beyond a limit:
        cell_above, cell_below, hot, current_above, current_below, interlock, emergency_stop, crash
    {"event": "faulty_scan", "at": last frame of a scan with cell_above, "number": so many in a row}
    {"event": "open_command", "at": ..., "last": {...}}   first SwitchCommand that opens a switch:
        contactors open one after the other; last valid frame of each sender
    {"event": "contacts_open", "at": ...}       no contact truly conducts any more (simulation only)
    {"event": "opened", "at": ..., "cause": ...}  first SwitchFeedback with everything open
    {"event": "closed", "at": ..., "mask": ...}   SwitchFeedback with another set of closed switches
    {"event": "verdict", "at": ..., "reaction": ..., "cause": ..., "last": {...}}  VehicleStatus has
        changed
    {"event": "scans", "at": ..., "first": ..., "last": ..., "frames": ...}  once per second
"""

import argparse
import json
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType

import can

from ibms_battery.threads import die_with_parent
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, data_id_of, find_message, load_databases

_OTHERS = (
    "PackSensor",
    "PackSensorRedundant",
    "InsulationMonitor",
    "Environment",
    "SwitchCommand",
    "SwitchFeedback",
    "SimulationContacts",
    "VehicleStatus",
)


@dataclass(frozen=True)
class Limits:
    """Beyond which a measured value is a sign of a fault."""

    cell_above_v: float
    cell_below_v: float
    hot_c: float
    current_above_a: float
    current_below_a: float


class Observer:
    """Follows the frames of one pack."""

    def __init__(self, dbc: list[Path], modules: int, limits: Limits) -> None:
        database = load_databases(dbc)
        afe = [f"AfeMeasurement_{module:02d}" for module in range(modules)]
        self._decoders = {
            message.frame_id: FrameDecoder(message, data_id_of(message) is not None)
            for message in (find_message(database, name) for name in (*afe, *_OTHERS))
        }
        self._afe = frozenset(afe)
        self._modules = modules
        self._limits = limits
        self._last: dict[str, float] = {}  # sender -> stamp of its last valid frame
        self._signs: dict[str, bool] = {}
        self._scan: int | None = None
        self._scan_frames = 0
        self._scan_is_faulty = False
        self._faulty_in_a_row = 0
        self._commanded = 0
        self._closed = 0
        self._conducting = 0
        self._verdict = (0, 0)
        self._first_scan: int | None = None
        self._frames = 0
        self._next_report = 0.0
        self._scan_signs: set[str] = set()

    @property
    def identifiers(self) -> list[int]:
        """Identifiers to receive."""
        return list(self._decoders)

    def take(self, frame: can.Message) -> None:
        """Follow one frame."""
        decoder = self._decoders.get(frame.arbitration_id)
        values = decoder.decode(frame.data) if decoder is not None else None
        if decoder is None or values is None:
            return
        name, at = decoder.message.name, frame.timestamp
        self._last[name] = at
        if name in self._afe:
            self._take_scan(at, values)
        elif name == "PackSensor":
            self._sign("current_above", values["Current"] > self._limits.current_above_a, at)
            self._sign("current_below", values["Current"] < self._limits.current_below_a, at)
        elif name == "SwitchCommand":
            closed = int(values["Closed"])
            if self._commanded & ~closed:
                reason = int(values["Reason"])
                _say(event="open_command", at=at, reason=reason, last=self._last)
            self._commanded = closed
        elif name == "SwitchFeedback":
            self._take_feedback(at, values)
        elif name == "SimulationContacts":
            conducting = int(values["Closed"])
            if self._conducting and not conducting:
                _say(event="contacts_open", at=at)
            self._conducting = conducting
        elif name == "VehicleStatus":
            verdict = (int(values["Reaction"]), int(values["Cause"]))
            if verdict != self._verdict:
                _say(event="verdict", at=at, reaction=verdict[0], cause=verdict[1], last=self._last)
            self._verdict = verdict

    def _sign(self, name: str, is_there: bool, at: float) -> None:
        if is_there and not self._signs.get(name):
            _say(event="sign", name=name, at=at)
        self._signs[name] = is_there

    def _take_feedback(self, at: float, values: dict[str, float]) -> None:
        self._sign("interlock", not values["InterlockClosed"], at)
        self._sign("emergency_stop", bool(values["EmergencyStop"]), at)
        self._sign("crash", bool(values["CrashInput"]), at)
        closed = int(values["Closed"])
        if closed != self._closed:
            name = "closed" if closed else "opened"
            _say(event=name, at=at, mask=closed, cause=int(values["OpenCause"]))
        self._closed = closed

    def _take_scan(self, at: float, values: dict[str, float]) -> None:
        self._frames += 1
        counter = int(values["ScanCounter"])
        if self._first_scan is None:
            self._first_scan = counter
        if counter != self._scan:
            self._end_scan()
            self._scan, self._scan_frames, self._scan_is_faulty = counter, 0, False
            self._scan_signs = set()
        self._scan_frames += 1
        volts = [v for name, v in values.items() if name.startswith("CellVoltage")]
        degrees = [v for name, v in values.items() if name.startswith("Temperature")]
        limits = self._limits
        for sign, is_there in (
            ("cell_above", max(volts) > limits.cell_above_v),
            # Cells that do not exist read zero.
            ("cell_below", any(0.0 < v < limits.cell_below_v for v in volts)),
            ("hot", max(degrees) > limits.hot_c),
        ):
            if is_there:
                self._scan_signs.add(sign)
                self._sign(sign, True, at)
        self._scan_is_faulty = "cell_above" in self._scan_signs
        if self._scan_frames == self._modules and self._scan_is_faulty:
            self._faulty_in_a_row += 1
            _say(event="faulty_scan", at=at, scan=counter, number=self._faulty_in_a_row)
        if at >= self._next_report:
            self._next_report = at + 1.0
            _say(event="scans", at=at, first=self._first_scan, last=counter, frames=self._frames)

    def _end_scan(self) -> None:
        """A sign is over when a whole scan does not carry it."""
        if self._scan is None:
            return
        if not self._scan_is_faulty:
            self._faulty_in_a_row = 0
        for sign in ("cell_above", "cell_below", "hot"):
            self._signs[sign] = sign in self._scan_signs


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def main() -> int:
    """Observe until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dbc", type=Path, action="append", required=True)
    parser.add_argument("--modules", type=int, required=True)
    parser.add_argument("--bus-interface", default="ibms_local")
    parser.add_argument("--bus-channel", required=True)
    for field in fields(Limits):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True, help="process with which it ends")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    limits = Limits(*(getattr(arguments, field.name) for field in fields(Limits)))
    observer = Observer(arguments.dbc, arguments.modules, limits)
    bus = open_bus(
        BusConfiguration(arguments.bus_interface, arguments.bus_channel), observer.identifiers
    )
    _say(event="ready")
    while not stopping:
        frame = bus.recv(0.2)
        if frame is not None and not frame.is_error_frame:
            observer.take(frame)
    bus.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
