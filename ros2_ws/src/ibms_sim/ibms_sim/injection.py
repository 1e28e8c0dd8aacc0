# SPDX-License-Identifier: Apache-2.0
"""Client of fault injection: names a fault, sends it over CAN and waits for the device's answer."""

import enum
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, load_databases
from ibms_sim.faults import BY_NAME, FAULTS, NO_ELEMENT, InjectCode

ANSWER_TIMEOUT_S = 0.3


class ResultCode(enum.IntEnum):
    """Codes of ``ibms_msgs/srv/InjectFault``."""

    OK = 0
    UNKNOWN_FAULT = 400
    OUT_OF_RANGE = 401
    NO_ANSWER = 402


@dataclass(frozen=True)
class InjectionResult:
    """What became of an injection."""

    code: ResultCode
    message: str

    @property
    def success(self) -> bool:
        """Whether the device took it."""
        return self.code is ResultCode.OK


class InjectionClient:
    """Sends injections to the simulated devices on one bus.

    Args:
        bus: the bus of the simulated pack.
        can_folder: the folder ``config/can``.

    Raises:
        DatabaseError: if ``ibms_sim.dbc`` is missing or malformed.
        can.CanError: if the bus does not open.
    """

    def __init__(self, bus: BusConfiguration, can_folder: Path) -> None:
        database = load_databases([can_folder / "ibms_sim.dbc"])
        self._encoder = FrameEncoder(find_message(database, "SimulationInject"))
        self._decoder = FrameDecoder(find_message(database, "SimulationAnswer"), protected=False)
        self._bus = open_bus(bus, [self._decoder.message.frame_id])
        # Random, so that two clients on one bus hardly take each other's answers.
        self._sequence = os.urandom(1)[0]

    def close(self) -> None:
        """Close the bus."""
        self._bus.shutdown()

    def inject(
        self,
        name: str,
        element: int = NO_ELEMENT,
        value: float = math.nan,
        duration_s: float = 0.0,
        remove: bool = False,
        count: int = 0,
    ) -> InjectionResult:
        """Inject or remove fault ``name`` and wait up to ``ANSWER_TIMEOUT_S`` for the answer.

        Args:
            name: as in ``ibms_sim.faults.FAULTS``.
            element: cell, sensor, module or switch; -1 where the fault has none, and in a removal
                for all elements.
            value: in the unit of the fault; NaN where it has none.
            duration_s: 0 until removed.
            remove: remove the fault instead.
            count: scans, samples or feedback frames after which it ends by itself; 0: not counted.
        """
        fault = BY_NAME.get(name)
        if fault is None:
            names = ", ".join(fault.name for fault in FAULTS)
            return InjectionResult(
                ResultCode.UNKNOWN_FAULT, f"no fault is called {name!r}; there are {names}"
            )
        wanted = (
            f"{name} takes {'no element' if fault.element == 'none' else 'a ' + fault.element}"
            + (f" and {fault.minimum:g} to {fault.maximum:g} {fault.unit}" if fault.unit else "")
            + (f", and can be counted in {fault.counted}s" if fault.counted else "")
        )
        lacks_value = bool(fault.unit) and not math.isfinite(value)
        uncountable = not 0 <= count <= (0xFFFF if fault.counted else 0)
        if uncountable or not 0 <= duration_s < 4e6 or (lacks_value and not remove):
            return InjectionResult(ResultCode.OUT_OF_RANGE, wanted)
        self._sequence = (self._sequence + 1) & 0xFF
        while self._bus.recv(0) is not None:
            pass  # answers to others
        self._bus.send(
            self._encoder.encode(
                {
                    "Sequence": self._sequence,
                    "Remove": remove,
                    "Fault": fault.number,
                    "Element": element,
                    "ValueMicro": value if fault.unit and math.isfinite(value) else 0.0,
                    "Duration": round(duration_s * 1e3),
                    "Count": count,
                }
            )
        )
        code = self._answer()
        if code is None:
            device = {"plant": "pack"}.get(fault.device, fault.device.replace("_", " "))
            return InjectionResult(
                ResultCode.NO_ANSWER,
                f"the simulated {device} did not answer on this bus; is it running?",
            )
        if code is InjectCode.OK:
            return InjectionResult(ResultCode.OK, f"{name} {'removed' if remove else 'injected'}")
        if code is InjectCode.OUT_OF_RANGE:
            return InjectionResult(
                ResultCode.OUT_OF_RANGE, f"{wanted}; this pack refused element {element}"
            )
        return InjectionResult(
            ResultCode.UNKNOWN_FAULT, f"the simulated pack does not know {name!r}: another version?"
        )

    def _answer(self) -> InjectCode | None:
        end = time.monotonic() + ANSWER_TIMEOUT_S
        while (left := end - time.monotonic()) > 0:
            message = self._bus.recv(left)
            if message is None or message.is_error_frame:
                continue
            values = self._decoder.decode(message.data)
            if values is not None and int(values["Sequence"]) == self._sequence:
                return InjectCode(int(values["Code"]))
        return None
