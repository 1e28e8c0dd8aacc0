# SPDX-License-Identifier: Apache-2.0
"""What the event memory holds. No ROS.

Times called ``boot_ns`` or ending in ``_ns`` are CLOCK_BOOTTIME [ns] unless they say wall; they can
be compared only within one boot of the computer, which ``boot`` numbers.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

NAN = math.nan


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event, as in ``ibms_msgs/msg/Event``."""

    wall_ns: int
    boot_ns: int
    source: str
    kind: int
    severity: int
    diagnosis: int
    element: int
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """Pack and extreme cells in the newest samples before an opening; NaN and -1: unmeasured."""

    current_a: float = NAN
    voltage_v: float = NAN
    lowest_voltage_v: float = NAN
    lowest_voltage_cell: int = -1
    highest_voltage_v: float = NAN
    highest_voltage_cell: int = -1
    lowest_temperature_c: float = NAN
    lowest_temperature_sensor: int = -1
    highest_temperature_c: float = NAN
    highest_temperature_sensor: int = -1


@dataclass(frozen=True, slots=True)
class Opening:
    """The pack left its closed switches; ``boot_ns`` is the command, else when it was seen.

    ``reason`` is as in SwitchCommand.REASON_*. The cause is what protection called its first cause.
    """

    boot_ns: int
    wall_ns: int
    reason: int
    commanded_ns: int | None = None  # None: nobody commanded it, the switch board opened by itself
    opened_ns: int | None = None  # feedback showed all switches open; None: never verified
    cause: int = 0
    cause_element: int = -1
    cause_value: float = NAN
    closed_until_wall_ns: int | None = None  # of an opening while nobody recorded
    moment: Moment = Moment()


@dataclass(frozen=True, slots=True)
class LockOut:
    """A lock-out that stands; ``element`` -1: the pack as a whole."""

    diagnosis: int
    element: int
    value: float


@dataclass(frozen=True, slots=True)
class SwitchUse:
    """Openings of one switch so far, or one to be added; life is NaN where not known."""

    operations: int = 0
    under_load: int = 0
    above_break: int = 0
    life_used: float = 0.0


@dataclass(frozen=True, slots=True)
class DiagnosisText:
    """A row of the table of diagnoses in words: the memory is read without the table."""

    id: int
    name: str
    text: str
    reaction: str
    limit: str  # e.g. "above 4.25 V"; empty where the signal is a mere flag
    unit: str  # of its value; empty if it has none
    element: str  # what it has one value of: cell, sensor, ...


class Recorded(NamedTuple):
    """One message of a freeze frame as it came."""

    topic: str
    received_ns: int
    data: bytes  # serialized (CDR)


class Piece(NamedTuple):
    """A part of a freeze frame. Parts of one frame have the same ``trigger_ns``."""

    trigger_ns: int
    trigger_wall_ns: int
    messages: list[Recorded]
    by_fault: bool  # a fault stands behind it, not only a request
    is_last: bool
