# SPDX-License-Identifier: Apache-2.0
"""Decisions of switch control: permits, arming, sequencing, verification. No ROS, no CAN.

The rule behind everything: a permit is emitted only by a call that checked a *new, fresh, healthy*
verdict, and opening needs no permission. Whoever stops calling stops the permits, and the board
opens by itself.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from enum import IntEnum

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack, Switching

OPEN = "open"
_SCANS_PER_STALE_LIMIT = 3  # two may be missing before the pack opens


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


@dataclass(slots=True)
class Actions:
    """What one call wants sent and told."""

    permit: Permit | None = None
    command: Command | None = None
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Timing:
    """Time limits of switch control [s]."""

    status_stale_s: float = 0.18
    feedback_stale_s: float = 0.10
    request_silent_s: float = 3.0
    verification_margin_s: float = 0.06
    command_repeat_s: float = 0.1
    arming_timeout_s: float = 1.0
    mismatch_shown_s: float = 1.0  # a mismatch is told for this long, though opening may end it


def route(switching: Switching, source: str, target: str) -> list[str] | None:
    """Shortest allowed way from ``source`` (left out) to ``target``; None if there is none."""
    if target in (OPEN, source):
        return [target] if target != source else []
    ways: deque[list[str]] = deque([[source]])
    seen = {source}
    while ways:
        way = ways.popleft()
        for transition in switching.transitions:
            if transition.source == way[-1] and transition.target not in seen:
                if transition.target == target:
                    return [*way[1:], target]
                seen.add(transition.target)
                ways.append([*way, transition.target])
    return None


class SwitchController:
    """State machine of the switches of one pack.

    Call ``verdict``, ``request`` and ``feedback`` with new inputs and ``step`` afterwards and at
    least every 20 ms; ``step`` returns what has to be sent.
    """

    def __init__(self, pack: Pack, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self._pack = pack
        self._switching = pack.switching
        self._masks = {name: self._switching.mask(name) for name in self._switching.configurations}
        self._verdict: VerdictInput | None = None
        self._verdict_is_new = False
        self._crc: int | None = None
        self._request: RequestInput | None = None
        self._feedback: FeedbackInput | None = None
        self._foreign: list[str] = []
        self._commanded = OPEN  # configuration that the last command stands for
        self._commanded_ns = 0
        self._last_command_ns = 0
        self._reason = Reason.NOT_ARMED
        self._newest_sequence: int | None = None
        self._void_sequence: int | None = (
            None  # requests up to this one were overtaken by an opening
        )
        self._arming_since_ns: int | None = None
        self._opening_demanded = False  # by any verdict since the last step, accepted or not
        self._interrupted = False  # the chain was broken since the last step
        self._last_step_ns: int | None = None
        self._shown_mismatch = 0
        self._shown_until_ns = 0
        self._unreachable_told: int | None = None
        self.verdicts_rejected = 0
        self.requests_rejected = 0

    @property
    def is_monitored_only(self) -> bool:
        """Whether scans come too slowly for the time budget: then the switches are never closed."""
        return _SCANS_PER_STALE_LIMIT * self._pack.scan_period_s >= self.timing.status_stale_s

    # Inputs --------------------------------------------------------------------------------------

    def verdict(self, verdict: VerdictInput) -> None:
        """A verdict arrived. Old ones, repeated ones, another configuration's are rejected.

        Whatever forbids counts even so: a demand to open from any verdict, and what a changed
        verdict on the known scan takes back.
        """
        self._opening_demanded |= verdict.demands_opening
        known = self._verdict
        if known is not None and not self._is_newer(verdict, known):
            self.verdicts_rejected += 1
            if (verdict.scan_counter, verdict.boot_ns) == (known.scan_counter, known.boot_ns):
                self._verdict = replace(
                    known,
                    complete=known.complete and verdict.complete,
                    demands_opening=known.demands_opening or verdict.demands_opening,
                    close_allowed=known.close_allowed and verdict.close_allowed,
                )
            return
        if self._crc is not None and verdict.configuration_crc != self._crc:
            if self._commanded != OPEN:
                self.verdicts_rejected += 1
                self._interrupted = True
                return
            self._void_requests()  # another table is taken over only while all is open
        self._crc = verdict.configuration_crc
        if known is not None and not self._follows(verdict, known):
            self._interrupted = True
        self._verdict = verdict
        self._verdict_is_new = True

    def request(self, request: RequestInput) -> None:
        """The supervisor's wish arrived; the first one after a start is void."""
        known = self._request
        if known is not None and request.boot_ns < known.boot_ns:
            self.requests_rejected += 1
            return
        if self._newest_sequence is None or _is_ahead(request.sequence, self._newest_sequence):
            self._newest_sequence = request.sequence
        if known is None:
            self._void_sequence = request.sequence
        self._request = request

    def feedback(self, feedback: FeedbackInput) -> None:
        """The board's state arrived; an older one than the known is ignored."""
        if self._feedback is None or feedback.boot_ns >= self._feedback.boot_ns:
            self._feedback = feedback

    def foreign_publishers(self, topics: list[str]) -> None:
        """Topics of the chain with more than one publisher."""
        self._foreign = topics

    # State ---------------------------------------------------------------------------------------

    @property
    def reason(self) -> Reason:
        """Why the switches are commanded as they are."""
        return self._reason

    @property
    def commanded(self) -> str:
        """Configuration that is commanded."""
        return self._commanded

    @property
    def commanded_mask(self) -> int:
        """Switches that are commanded closed."""
        return self._masks[self._commanded]

    @property
    def newest_sequence(self) -> int:
        """Sequence of the newest request; 0 before the first."""
        return self._request.sequence if self._request is not None else 0

    @property
    def last_feedback(self) -> FeedbackInput | None:
        """Newest feedback, however old."""
        return self._feedback

    def feedback_fresh(self, now_ns: int) -> bool:
        """True while the board's feedback may be relied on."""
        return self._feedback is not None and self._fresh(
            now_ns, self._feedback.boot_ns, self.timing.feedback_stale_s
        )

    def verified(self, now_ns: int) -> str:
        """Configuration that feedback shows; "transition" or "unknown" otherwise."""
        if not self.feedback_fresh(now_ns) or self._feedback is None:
            return "unknown"
        for name, mask in self._masks.items():
            if mask == self._feedback.closed:
                return name
        return "transition"

    def mismatch(self, now_ns: int) -> int:
        """Switches whose feedback contradicts the command beyond their switching time."""
        if not self.feedback_fresh(now_ns) or self._feedback is None:
            return 0
        differing = self._feedback.closed ^ self.commanded_mask
        if not differing or now_ns - self._commanded_ns <= self._settling_ns(differing):
            return 0
        if not self._feedback.armed and not self._feedback.closed:
            return 0  # the board opened by itself: its own latch says so, nothing contradicts
        return differing

    def shown_mismatch(self, now_ns: int) -> int:
        """Mismatch as told to others: held for a while, as the opening that follows may end it."""
        return self._shown_mismatch if now_ns < self._shown_until_ns else 0

    # Decision ------------------------------------------------------------------------------------

    def step(self, now_ns: int) -> Actions:
        """Decide what to send now."""
        actions = Actions()
        if self._last_step_ns is not None and not self._fresh(
            now_ns, self._last_step_ns, self.timing.status_stale_s
        ):
            self._interrupted = True  # this loop itself stood still
        self._last_step_ns = now_ns
        if mismatch := self.mismatch(now_ns):
            self._shown_mismatch = mismatch
            self._shown_until_ns = now_ns + self._ns(self.timing.mismatch_shown_s)
        obstacle = self._obstacle(now_ns)
        self._opening_demanded = self._interrupted = False
        if obstacle is not None:
            self._void_requests()
            if self._commanded != OPEN or self._reason is not obstacle:
                self._command(OPEN, obstacle, now_ns, actions)
        new_verdict, self._verdict_is_new = self._verdict_is_new, False
        verdict = self._verdict
        if obstacle in (None, Reason.REQUEST_SILENT) and new_verdict and verdict is not None:
            actions.permit = Permit(verdict.scan_counter, verdict.close_allowed)
        if obstacle is None:
            self._pursue(now_ns, actions)
        if actions.command is None and now_ns - self._last_command_ns >= self._ns(
            self.timing.command_repeat_s
        ):
            self._send(now_ns, actions)
        return actions

    def open_at_once(self) -> None:
        """Open with the next step whatever is requested; closing needs a new request."""
        self._void_requests()

    def shut_down(self, now_ns: int) -> Actions:
        """Open and say why; used when the node stops."""
        actions = Actions()
        self._command(OPEN, Reason.SHUTDOWN, now_ns, actions)
        return actions

    def check(self, configuration: str) -> str | None:
        """Reason why ``configuration`` can never be reached from the present one, or ``None``."""
        if configuration not in self._masks:
            return (
                f"no configuration is called {configuration!r}, known are {', '.join(self._masks)}"
            )
        if route(self._switching, self._commanded, configuration) is None:
            return f"the topology allows no way from {self._commanded!r} to {configuration!r}"
        return None

    def _obstacle(self, now_ns: int) -> Reason | None:
        if self._foreign:
            return Reason.PUBLISHERS
        verdict = self._verdict
        if self._opening_demanded:
            return Reason.PROTECTION
        if (
            verdict is None
            or self._interrupted
            or not self._fresh(now_ns, verdict.boot_ns, self.timing.status_stale_s)
        ):
            return Reason.STATUS_STALE
        if verdict.demands_opening or not verdict.complete:
            return Reason.PROTECTION
        if not self.feedback_fresh(now_ns) or self.mismatch(now_ns):
            return Reason.FEEDBACK
        request = self._request
        if request is None or not self._fresh(
            now_ns, request.boot_ns, self.timing.request_silent_s
        ):
            return Reason.REQUEST_SILENT
        return None

    def _pursue(self, now_ns: int, actions: Actions) -> None:
        request, feedback, verdict = self._request, self._feedback, self._verdict
        assert request is not None and feedback is not None and verdict is not None  # noqa: PT018
        target = request.configuration
        if target not in self._masks:
            if self._commanded != OPEN:
                self._command(OPEN, Reason.REQUEST, now_ns, actions)
                actions.events.append(f"unknown configuration {target!r} requested, opening")
            return
        if target == OPEN:
            self._void_requests()  # closing again needs a new sequence
            if self._commanded != OPEN or self._reason is not Reason.REQUEST:
                self._command(OPEN, Reason.REQUEST, now_ns, actions)
            return
        if self._is_void(request):
            # This wish was overtaken by an opening; a new one is needed.
            if self._commanded != OPEN or self._reason is Reason.REQUEST:
                self._command(OPEN, Reason.NOT_ARMED, now_ns, actions)
            return
        if not feedback.armed:
            if self._commanded != OPEN:
                # The board opened by itself.
                self._command(OPEN, Reason.NOT_ARMED, now_ns, actions)
                actions.events.append("the switch board opened by itself")
            elif request.arm and verdict.close_allowed:
                self._arm(now_ns, feedback, actions)
            return
        self._arming_since_ns = None
        if feedback.closed != self.commanded_mask:
            return  # the last step is not verified yet
        if self._commanded == OPEN and not request.arm:
            return  # no user stands behind this
        way = route(self._switching, self._commanded, target)
        if way is None and self._unreachable_told != request.sequence:
            self._unreachable_told = request.sequence
            actions.events.append(
                f"{target!r} requested, but the topology allows no way from {self._commanded!r}"
            )
        if not way or not verdict.close_allowed:
            return
        if self._requires_precharged(
            self._commanded, way[0]
        ) and not self._pack.precharge_is_complete(
            feedback.pack_voltage_v, feedback.link_voltage_v
        ):
            return
        self._command(way[0], Reason.REQUEST, now_ns, actions)

    def _arm(self, now_ns: int, feedback: FeedbackInput, actions: Actions) -> None:
        if self._arming_since_ns is None:
            self._arming_since_ns = now_ns
            actions.events.append("arming the switch board")
        elif now_ns - self._arming_since_ns > self._ns(self.timing.arming_timeout_s):
            self._void_requests()
            actions.events.append("the switch board did not arm in time")
            return
        if now_ns - self._last_command_ns >= self._ns(0.02):
            self._commanded = OPEN
            self._reason = Reason.NOT_ARMED
            self._last_command_ns = now_ns
            actions.command = Command(0, True, feedback.arm_challenge, Reason.REQUEST)

    def _command(self, configuration: str, reason: Reason, now_ns: int, actions: Actions) -> None:
        if configuration == OPEN:
            self._void_requests()
        if configuration != self._commanded:
            # Only a change restarts the settling time, else a weld would hide behind new reasons.
            self._commanded = configuration
            self._commanded_ns = now_ns
        self._reason = reason
        self._send(now_ns, actions)

    def _send(self, now_ns: int, actions: Actions) -> None:
        self._last_command_ns = now_ns
        challenge = self._feedback.arm_challenge if self._feedback else 0
        actions.command = Command(self.commanded_mask, False, challenge, self._reason)

    def _void_requests(self) -> None:
        self._arming_since_ns = None
        self._void_sequence = self._newest_sequence

    def _is_void(self, request: RequestInput) -> bool:
        known = self._void_sequence
        return known is not None and not _is_ahead(request.sequence, known)

    def _requires_precharged(self, source: str, target: str) -> bool:
        return any(
            way.requires_precharged
            for way in self._switching.transitions
            if way.source == source and way.target == target
        )

    def _settling_ns(self, differing: int) -> int:
        slowest_s = (
            max(
                max(switch.closing_time_s, switch.opening_time_s)
                for index, switch in enumerate(self._switching.switches)
                if differing >> index & 1
            )
            if differing < 1 << len(self._switching.switches)
            else 0.0
        )
        return self._ns(slowest_s + self.timing.verification_margin_s)

    def _is_newer(self, verdict: VerdictInput, known: VerdictInput) -> bool:
        if verdict.boot_ns <= known.boot_ns:
            return False
        # After a gap, which opens the pack, the device may count anew.
        return not self._follows(verdict, known) or _is_ahead(
            verdict.scan_counter, known.scan_counter
        )

    def _follows(self, verdict: VerdictInput, known: VerdictInput) -> bool:
        """True if no more time than the stale limit lies between two verdicts."""
        return self._fresh(verdict.boot_ns, known.boot_ns, self.timing.status_stale_s)

    @staticmethod
    def _fresh(now_ns: int, boot_ns: int, limit_s: float) -> bool:
        return -1_000_000 <= now_ns - boot_ns <= round(limit_s * NS_PER_S)

    @staticmethod
    def _ns(seconds: float) -> int:
        return round(seconds * NS_PER_S)


def _is_ahead(number: int, reference: int) -> bool:
    """True if a counter modulo 2^32 has advanced from ``reference`` to ``number``."""
    return 0 < (number - reference) & 0xFFFFFFFF < 0x80000000
