# SPDX-License-Identifier: Apache-2.0
"""What goes into switch control and comes out of it, and its time limits. No ROS, no CAN."""

import math
from dataclasses import dataclass, field
from enum import IntEnum

from ibms_battery.clock import NS_PER_S

OPEN = "open"


class Reason(IntEnum):
    """Why the switches are commanded as they are; equal to SwitchCommand.REASON_*."""

    REQUEST = 0
    PROTECTION = 1
    STATUS_STALE = 2
    REQUEST_SILENT = 3
    FEEDBACK = 4
    PUBLISHERS = 5
    SHUTDOWN = 6
    NOT_ARMED = 7
    BREAK_CURRENT_HOLD = 8
    ISOLATE = 9


@dataclass(frozen=True, slots=True)
class VerdictInput:
    """What switch control needs of a verdict of protection."""

    boot_ns: int
    scan_counter: int
    complete: bool  # all diagnoses of the table were evaluated
    demands_opening: bool
    close_allowed: bool
    configuration_crc: int
    isolate_cells: frozenset[int] = frozenset()
    string_voltage_v: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestInput:
    """What the pack supervisor wants."""

    boot_ns: int
    sequence: int
    configuration: str
    arm: bool


@dataclass(frozen=True, slots=True)
class FeedbackInput:
    """What the switch board reports."""

    boot_ns: int
    closed: int
    armed: bool
    dead_man_latched: bool
    arm_challenge: int
    interlock_closed: bool = True
    emergency_stop: bool = False
    crash_input: bool = False
    switch_count: int = 0  # 0: the board does not say
    pack_voltage_v: float = math.nan
    link_voltage_v: float = math.nan
    open_cause: int = 0
    dead_man_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Permit:
    """A permit frame to send."""

    scan_counter: int
    close_allowed: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command frame to send."""

    closed: int
    arm: bool
    arm_challenge: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell people."""

    text: str
    is_warning: bool = False
    element: int = -1  # switch concerned
    value: float = math.nan  # current [A] at its opening


@dataclass(slots=True)
class Actions:
    """What one call wants sent and told."""

    permit: Permit | None = None
    command: Command | None = None
    events: list[Notice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Timing:
    """Time limits of switch control [s].

    The budget is 300 ms from the last good sign to opened feedback. Lost status or feedback: stale
    limit 180 ms + one period of the loop 20 ms leave 100 ms for opening (15 ms as shipped) and the
    frame that shows it (10 ms); what is stale opens everything at once, so no opening order adds to
    it. Where the board is lost altogether, it opens itself: no permit follows the stale feedback,
    and its dead-man time is 200 ms. Feedback comes each 10 ms; its limit is that of the status, so
    that both bear the same pause of the computer.
    """

    status_stale_s: float = 0.18
    feedback_stale_s: float = 0.18
    request_silent_s: float = 3.0
    verification_margin_s: float = 0.06
    command_repeat_s: float = 0.1
    arming_timeout_s: float = 1.0
    mismatch_shown_s: float = 1.0  # a mismatch is told for this long, though opening may end it
    # The second contactor follows the first after the first's opening time and this margin, at the
    # latest after the limit.
    order_margin_s: float = 0.01
    order_limit_s: float = 0.03


def is_ahead(number: int, reference: int) -> bool:
    """True if a counter modulo 2^32 has advanced from ``reference`` to ``number``."""
    return 0 < (number - reference) & 0xFFFFFFFF < 0x80000000


def is_fresh(now_ns: int, boot_ns: int, limit_s: float) -> bool:
    """True if ``boot_ns`` is at most ``limit_s`` old, and not from the future."""
    return -1_000_000 <= now_ns - boot_ns <= round(limit_s * NS_PER_S)
