# SPDX-License-Identifier: Apache-2.0
"""An independent process that speaks only CAN and says when the switch board was told to open.

It prints one JSON object per line on standard output; times are the kernel's receive stamps [s]:
    {"event": "fault_scan", "at": last frame of the first faulty scan, "scan": counter}
    {"event": "open_command", "at": ...}        first SwitchCommand that opens
    {"event": "opened", "at": ..., "cause": ...}  first SwitchFeedback with everything open
    {"event": "closed", "at": ..., "mask": ...}   SwitchFeedback with another set of closed switches
    {"event": "scans", "at": ..., "first": ..., "last": ..., "frames": ...}  once per second
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

import can

from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, find_message, load_databases


class Observer:
    """Follows the frames of one pack."""

    def __init__(self, dbc: Path, modules: int, cell_above_v: float) -> None:
        database = load_databases([dbc])
        names = [f"AfeMeasurement_{module:02d}" for module in range(modules)]
        self._decoders = {
            message.frame_id: FrameDecoder(message, protected=True)
            for message in (
                find_message(database, name) for name in (*names, "SwitchCommand", "SwitchFeedback")
            )
        }
        self._command = find_message(database, "SwitchCommand").frame_id
        self._feedback = find_message(database, "SwitchFeedback").frame_id
        self._modules = modules
        self._cell_above_v = cell_above_v
        self._scan: int | None = None
        self._scan_frames = 0
        self._scan_carries_fault = False
        self._fault_stands = False
        self._commanded = 0
        self._closed = 0
        self._first_scan: int | None = None
        self._frames = 0
        self._next_report = 0.0

    @property
    def identifiers(self) -> list[int]:
        """Identifiers to receive."""
        return list(self._decoders)

    def take(self, frame: can.Message) -> None:
        """Follow one frame."""
        decoder = self._decoders.get(frame.arbitration_id)
        values = decoder.decode(frame.data) if decoder is not None else None
        if values is None:
            return
        if frame.arbitration_id == self._command:
            closed = int(values["Closed"])
            if self._commanded and not closed:
                _say(event="open_command", at=frame.timestamp, reason=int(values["Reason"]))
            self._commanded = closed
        elif frame.arbitration_id == self._feedback:
            closed = int(values["Closed"])
            if closed != self._closed:
                name = "closed" if closed else "opened"
                _say(event=name, at=frame.timestamp, mask=closed, cause=int(values["OpenCause"]))
            self._closed = closed
        else:
            self._take_scan(frame, values)

    def _take_scan(self, frame: can.Message, values: dict[str, float]) -> None:
        self._frames += 1
        counter = int(values["ScanCounter"])
        if self._first_scan is None:
            self._first_scan = counter
        if counter != self._scan:
            if self._scan is not None and not self._scan_carries_fault:
                self._fault_stands = False
            self._scan, self._scan_frames, self._scan_carries_fault = counter, 0, False
        self._scan_frames += 1
        highest_v = max(v for name, v in values.items() if name.startswith("CellVoltage"))
        self._scan_carries_fault = self._scan_carries_fault or highest_v > self._cell_above_v
        if (
            self._scan_frames == self._modules
            and self._scan_carries_fault
            and not self._fault_stands
        ):
            self._fault_stands = True
            _say(event="fault_scan", at=frame.timestamp, scan=counter)
        if frame.timestamp >= self._next_report:
            self._next_report = frame.timestamp + 1.0
            _say(
                event="scans",
                at=frame.timestamp,
                first=self._first_scan,
                last=counter,
                frames=self._frames,
            )


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def main() -> int:
    """Observe until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dbc", type=Path, required=True)
    parser.add_argument("--modules", type=int, required=True)
    parser.add_argument("--bus-interface", default="ibms_local")
    parser.add_argument("--bus-channel", required=True)
    parser.add_argument("--cell-above-v", type=float, default=4.4)
    arguments = parser.parse_args()
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    observer = Observer(arguments.dbc, arguments.modules, arguments.cell_above_v)
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
