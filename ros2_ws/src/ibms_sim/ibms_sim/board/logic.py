# SPDX-License-Identifier: Apache-2.0
"""Logic of the switch board as a pure state machine; time is passed in.

Rules, in the order of their weight:

- A contactor is driven closed only while the board is armed.
- The board is armed only by a command with ``arm``, the right challenge and nothing to close, while
  permits advance, the last one allows closing, the interlock is closed, no emergency stop is
  pressed and no crash is signalled.
- When permits stop advancing for the dead-man time, on an open interlock, an emergency stop or a
  crash, everything opens at once, the board disarms, latches and draws a new challenge.
- A permit counts only if its scan counter is newer than the last one (modulo 2^32). The first one
  after start or after a standstill is only the reference for the next.
- A permit that does not allow closing stops further closing but opens nothing.
- Opening is never held back: what carries more than it can break draws an arc and welds.
"""

import enum
from collections.abc import Sequence

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Switch
from ibms_sim.board.contactor import Contactor

# With stale limit, hop and opening time it leaves room within 300 ms to opened feedback.
MAXIMUM_DEAD_MAN_TIME_S = 0.2
_COUNTER_RANGE = 1 << 32


class OpenCause(enum.IntEnum):
    """Why the board last opened, or refused to close, as in SwitchFeedback.OpenCause."""

    NONE = 0
    COMMAND = 1
    PERMIT_STOPPED = 2
    INTERLOCK = 3
    EMERGENCY_STOP = 4
    START = 5
    CLOSE_WITHOUT_ARMING = 6
    CRASH = 7


class SwitchBoard:
    """State of the board. Call ``advance`` with the present time before anything else.

    Args:
        switches: the switches, in the order of their bits.
        challenge: first arming challenge, 0 to 255; should differ between starts.
        dead_man_time_s: at most ``MAXIMUM_DEAD_MAN_TIME_S``.

    Raises:
        ValueError: if the dead-man time is out of range.
    """

    def __init__(self, switches: Sequence[Switch], challenge: int, dead_man_time_s: float) -> None:
        if not 0 < dead_man_time_s <= MAXIMUM_DEAD_MAN_TIME_S:
            raise ValueError(
                f"dead-man time is {dead_man_time_s} s, expected more than 0 and at most "
                f"{MAXIMUM_DEAD_MAN_TIME_S} s"
            )
        self.contactors = [Contactor(switch) for switch in switches]
        self.armed = False
        self.latched = False
        self.cause = OpenCause.START
        self.challenge = challenge & 0xFF
        self.interlock_closed = True
        self.emergency_stop = False
        self.crash = False
        self.last_permit_scan = 0
        self.unbreakable = 0  # bit mask of contacts that carry more than they can break
        self.dead_man_time_s = dead_man_time_s
        self._dead_man_ns = round(dead_man_time_s * NS_PER_S)
        self._all = (1 << len(self.contactors)) - 1
        self._target = 0
        self._close_allowed = False
        self._reference_scan: int | None = None
        self._advanced_at_ns: int | None = None

    @property
    def auxiliary(self) -> int:
        """Bit mask of what the auxiliary contacts say."""
        return sum(1 << i for i, contactor in enumerate(self.contactors) if contactor.auxiliary)

    @property
    def conducting(self) -> int:
        """Bit mask of the contacts that truly conduct."""
        return sum(1 << i for i, contactor in enumerate(self.contactors) if contactor.conducts)

    @property
    def moving(self) -> bool:
        """Whether a contact is on its way."""
        return any(contactor.moves_at_ns is not None for contactor in self.contactors)

    @property
    def driven(self) -> int:
        """Bit mask of the energised coils."""
        return self._target

    def permit_fresh(self, now_ns: int) -> bool:
        """Whether permits advance."""
        return (
            self._advanced_at_ns is not None and now_ns - self._advanced_at_ns < self._dead_man_ns
        )

    def next_event_ns(self) -> int | None:
        """When ``advance`` will next have something to do without input."""
        times = [c.moves_at_ns for c in self.contactors if c.moves_at_ns is not None]
        if self._advanced_at_ns is not None:
            times.append(self._advanced_at_ns + self._dead_man_ns)
        return min(times, default=None)

    def advance(self, now_ns: int) -> None:
        """Let time pass: dead-man first, then the contacts in motion."""
        if self._advanced_at_ns is not None and not self.permit_fresh(now_ns):
            self._advanced_at_ns = None
            self._close_allowed = False
            if self.armed:
                self._trip(OpenCause.PERMIT_STOPPED, now_ns)
        for index, contactor in enumerate(self.contactors):
            contactor.advance(now_ns, breaks=not self.unbreakable >> index & 1)

    def permit(self, scan_counter: int, close_allowed: bool, now_ns: int) -> None:
        """A valid permit frame that came in order of its alive counter."""
        self.advance(now_ns)
        reference, fresh = self._reference_scan, self.permit_fresh(now_ns)
        newer = reference is not None and (
            0 < (scan_counter - reference) % _COUNTER_RANGE < _COUNTER_RANGE // 2
        )
        if newer:
            self._advanced_at_ns = now_ns
            self._close_allowed = close_allowed
            self.last_permit_scan = scan_counter
        if newer or not fresh:
            # After a standstill, when all is open, the counter may start anew.
            self._reference_scan = scan_counter

    def command(self, closed: int, arm: bool, challenge: int, now_ns: int) -> None:
        """A valid command frame."""
        self.advance(now_ns)
        closed &= self._all
        if arm and closed == 0 and challenge == self.challenge and self._may_arm(now_ns):
            self.armed, self.latched, self.cause = True, False, OpenCause.NONE
        if not self.armed:
            if closed:
                self.cause = OpenCause.CLOSE_WITHOUT_ARMING
            return
        if not (self.permit_fresh(now_ns) and self._close_allowed):
            closed &= self._target
        if self._target and not closed:
            self.cause = OpenCause.COMMAND
        self._drive(closed, now_ns)

    def set_interlock(self, closed: bool, now_ns: int) -> None:
        """State of the interlock loop."""
        opened = self.interlock_closed and not closed
        self.interlock_closed = closed
        if opened:
            self._trip(OpenCause.INTERLOCK, now_ns)

    def set_emergency_stop(self, pressed: bool, now_ns: int) -> None:
        """State of the emergency stop."""
        newly = pressed and not self.emergency_stop
        self.emergency_stop = pressed
        if newly:
            self._trip(OpenCause.EMERGENCY_STOP, now_ns)

    def set_crash(self, signalled: bool, now_ns: int) -> None:
        """State of the vehicle's crash signal."""
        newly = signalled and not self.crash
        self.crash = signalled
        if newly:
            self._trip(OpenCause.CRASH, now_ns)

    def _may_arm(self, now_ns: int) -> bool:
        return (
            self.permit_fresh(now_ns)
            and self._close_allowed
            and self.interlock_closed
            and not self.emergency_stop
            and not self.crash
            and self._target == 0
        )

    def _trip(self, cause: OpenCause, now_ns: int) -> None:
        self.armed, self.latched, self.cause = False, True, cause
        self.challenge = (self.challenge + 1) & 0xFF
        self._drive(0, now_ns)

    def _drive(self, target: int, now_ns: int) -> None:
        self._target = target
        for index, contactor in enumerate(self.contactors):
            contactor.drive(bool(target >> index & 1), now_ns)
