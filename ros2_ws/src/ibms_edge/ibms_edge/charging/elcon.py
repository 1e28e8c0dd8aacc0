# SPDX-License-Identifier: Apache-2.0
"""Frames of Elcon/TC chargers after ``config/can/elcon.dbc``. No ROS."""

import math
from collections import Counter
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

import can

from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, limits_of, load_databases
from ibms_end.can.identifier import message_identifier

REQUEST_PERIOD_S = 1.0  # the charger stops 5 s after the last request
REPORT_PERIOD_S = 1.0
STEP_V = STEP_A = 0.1


class ChargerStatus(IntFlag):
    """What the charger says of itself; equal to ChargerState.CHARGER_*."""

    HARDWARE_FAILURE = 1
    OVERTEMPERATURE = 2
    INPUT_VOLTAGE = 4
    STARTING = 8
    COMMUNICATION = 16


_SIGNALS = {
    "HardwareFailure": ChargerStatus.HARDWARE_FAILURE,
    "OverTemperature": ChargerStatus.OVERTEMPERATURE,
    "InputVoltage": ChargerStatus.INPUT_VOLTAGE,
    "Starting": ChargerStatus.STARTING,
    "Communication": ChargerStatus.COMMUNICATION,
}


@dataclass(frozen=True, slots=True)
class Report:
    """One report of the charger."""

    boot_ns: int
    voltage_v: float
    current_a: float
    status: ChargerStatus


@dataclass(frozen=True, slots=True)
class Request:
    """The most that the charger may give; ``NO_OUTPUT`` is a request to stop."""

    voltage_v: float
    current_a: float


NO_OUTPUT = Request(0.0, 0.0)


def floor_to_step(value: float, step: float) -> float:
    """Largest multiple of ``step`` that is not above ``value``."""
    # The smallest part of a step makes up for 0.1 not being a binary fraction.
    return math.floor(value / step + 1e-6) * step


class ElconLink:
    """Encodes requests and decodes reports.

    Raises:
        DatabaseError: if the database is missing, malformed or lacks a message.
    """

    def __init__(self, can_folder: Path) -> None:
        database = load_databases([can_folder / "elcon.dbc"])
        self._encoder = FrameEncoder(find_message(database, "ElconRequest"))
        status = find_message(database, "ElconStatus")
        self._decoder = FrameDecoder(status, protected=False)
        self._ranges = {signal.name: limits_of(signal) for signal in status.signals}
        self.report_identifier = message_identifier(status)

    @property
    def rejected(self) -> Counter[str]:
        """Reports that could not be used, by reason."""
        return self._decoder.rejected

    def encode(self, request: Request) -> can.Message:
        """Frame of a request, rounded down to what the protocol can say."""
        return self._encoder.encode(
            {
                "MaximumVoltage": floor_to_step(request.voltage_v, STEP_V),
                "MaximumCurrent": floor_to_step(request.current_a, STEP_A),
                "Stop": int(request.current_a < STEP_A),
            }
        )

    def decode(self, message: can.Message, boot_ns: int) -> Report | None:
        """Report in a frame, or ``None`` if it was rejected (and counted)."""
        values = self._decoder.decode(message.data)
        if values is None:
            return None
        for name, (low, high) in self._ranges.items():
            if not low <= values[name] <= high:
                self._decoder.rejected["range"] += 1
                return None
        status = ChargerStatus(0)
        for name, bit in _SIGNALS.items():
            if values[name]:
                status |= bit
        return Report(boot_ns, values["OutputVoltage"], values["OutputCurrent"], status)
