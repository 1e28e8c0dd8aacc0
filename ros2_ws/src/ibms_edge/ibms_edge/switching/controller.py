# SPDX-License-Identifier: Apache-2.0
"""Decisions of switch control: permits, arming, sequencing, verification. No ROS, no CAN.

The rule behind everything: a permit is emitted only by a call that checked a *new, fresh, healthy*
verdict, and opening needs no permission. Whoever stops calling stops the permits, and the board
opens by itself.
"""

import math

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.switching.board import Board
from ibms_edge.switching.bypasses import NO_BYPASS
from ibms_edge.switching.conditions import Surroundings, Wait, unmet_condition
from ibms_edge.switching.currents import CurrentHistory
from ibms_edge.switching.exchange import (
    OPEN,
    Actions,
    Command,
    FeedbackInput,
    Notice,
    Permit,
    Reason,
    RequestInput,
    Timing,
    VerdictInput,
    is_fresh,
)
from ibms_edge.switching.opening import Opening, break_current_a
from ibms_edge.switching.requests import Requests
from ibms_edge.switching.verdicts import Verdicts

_SCANS_PER_STALE_LIMIT = 3  # two may be missing before the pack opens


class SwitchController(Board):
    """State machine of the switches of one pack: decides by what its ``Board`` shows.

    Call ``verdict``, ``request``, ``feedback`` and ``current`` with new inputs and ``step``
    afterwards and at least every 20 ms; ``step`` returns what has to be sent.
    """

    def __init__(self, pack: Pack, timing: Timing | None = None) -> None:
        super().__init__(pack, timing or Timing())
        self._pack = pack
        self._currents = CurrentHistory()
        self._verdicts = Verdicts(self.timing.status_stale_s)
        self._requests = Requests()
        self._foreign: list[str] = []
        self._commanded = OPEN  # configuration that the last command stands for
        self._opening: Opening | None = None
        self._placed = NO_BYPASS  # bypasses that are laid over every configuration
        self._bypassing: int | None = None  # bypass whose switches move
        self._bypassing_since_ns = 0
        self._last_command_ns = 0
        self._reason = Reason.NOT_ARMED
        self._arming_since_ns: int | None = None
        self._last_step_ns: int | None = None
        self._waiting_for = ""
        self._told: tuple[int, str] | None = None  # sequence and what it waited for

    @property
    def monitored_only(self) -> str:
        """Why the switches are never closed: scans come too slowly for the time budget; else ""."""
        period_s = self._pack.scan_period_s
        if _SCANS_PER_STALE_LIMIT * period_s < self.timing.status_stale_s:
            return ""
        return f"a scan each {period_s:g} s is too slow for closing, the pack is monitored only"

    @property
    def verdicts_rejected(self) -> int:
        """Verdicts that did not count."""
        return self._verdicts.rejected

    @property
    def requests_rejected(self) -> int:
        """Requests that did not count."""
        return self._requests.rejected

    # Inputs --------------------------------------------------------------------------------------

    def verdict(self, verdict: VerdictInput) -> None:
        """A verdict arrived."""
        if self._verdicts.take(verdict, self._commanded == OPEN):
            self._void_requests()

    def request(self, request: RequestInput) -> None:
        """The supervisor's wish arrived."""
        self._requests.take(request)

    def current(self, boot_ns: int, current_a: float) -> None:
        """A sample of the pack current [A], charge positive; NaN where it was not measured."""
        self._currents.add(boot_ns, current_a)

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
    def newest_sequence(self) -> int:
        """Sequence of the newest request; 0 before the first."""
        return self._requests.newest.sequence if self._requests.newest is not None else 0

    @property
    def is_held(self) -> bool:
        """True while the contactors are held closed because of the current through them."""
        return self._reason is Reason.BREAK_CURRENT_HOLD

    @property
    def is_moving(self) -> bool:
        """True while feedback is to be looked at as soon as it comes."""
        return self._opening is not None or super().is_moving

    @property
    def waiting_for(self) -> str:
        """What the next step towards the requested configuration waits for; "" if nothing."""
        return self._waiting_for

    # Decision ------------------------------------------------------------------------------------

    def step(self, now_ns: int) -> Actions:
        """Decide what to send now."""
        actions = Actions()
        if self._last_step_ns is not None and not is_fresh(
            now_ns, self._last_step_ns, self.timing.status_stale_s
        ):
            self._verdicts.interrupted = True  # this loop itself stood still
        self._last_step_ns = now_ns
        self._waiting_for = ""
        self._contradictions.remember(self.mismatch(now_ns), now_ns)
        actions.events += self._tell_openings(self._currents, now_ns)
        obstacle = self._obstacle(now_ns)
        at_once = self._must_open_at_once(now_ns)
        self._verdicts.opening_demanded = self._verdicts.interrupted = False
        if obstacle is not None:
            self._open(obstacle, at_once, now_ns, actions)
        elif self._opening is not None:
            self._open(self._opening.reason, at_once, now_ns, actions)
        else:
            self._pursue(now_ns, actions)
        self._permit(obstacle, actions)
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
        self._open(Reason.SHUTDOWN, True, now_ns, actions)
        if actions.command is None:
            self._send(now_ns, actions)
        return actions

    def check(self, configuration: str) -> str | None:
        """Reason why ``configuration`` can never be reached from the present one, or ``None``."""
        if configuration not in self._masks:
            return (
                f"no configuration is called {configuration!r}, known are {', '.join(self._masks)}"
            )
        if configuration != OPEN and self.monitored_only:
            return self.monitored_only
        if self._switching.route(self._commanded, configuration) is None:
            return f"the topology allows no way from {self._commanded!r} to {configuration!r}"
        return None

    def _permit(self, obstacle: Reason | None, actions: Actions) -> None:
        """A permit for a new verdict that vouches, or during whose demand the contactors hold."""
        verdict = self._verdicts.take_new()
        vouches = obstacle in (None, Reason.REQUEST_SILENT)
        if verdict is not None and (vouches or self.is_held):
            may_close = self._opening is None and not self.monitored_only
            allowed = verdict.close_allowed and may_close
            actions.permit = Permit(verdict.scan_counter, allowed)

    def _obstacle(self, now_ns: int) -> Reason | None:
        if self._foreign:
            return Reason.PUBLISHERS
        verdict = self._verdicts.newest
        if self._verdicts.opening_demanded:
            return Reason.PROTECTION
        if verdict is None or not self._verdicts.is_unbroken(now_ns):
            return Reason.STATUS_STALE
        if verdict.demands_opening or not verdict.complete:
            return Reason.PROTECTION
        if not self.feedback_fresh(now_ns) or self.mismatch(now_ns):
            return Reason.FEEDBACK
        request = self._requests.newest
        if request is None or not is_fresh(now_ns, request.boot_ns, self.timing.request_silent_s):
            return Reason.REQUEST_SILENT
        return None

    def _must_open_at_once(self, now_ns: int) -> bool:
        """Whether an opening neither waits for the current nor keeps an order.

        Both need a chain that is known to work: else nobody may be there to end them. A contact
        that contradicts breaks no chain, and what flows burns the others all the same.
        """
        verdict, feedback = self._verdicts.newest, self._feedback
        return (
            bool(self._foreign)
            or verdict is None
            or not self._verdicts.is_unbroken(now_ns)
            or not verdict.complete
            or feedback is None
            or not self.feedback_fresh(now_ns)
            or feedback.emergency_stop
            or not feedback.armed
        )

    # Opening -------------------------------------------------------------------------------------

    def _open(self, reason: Reason, at_once: bool, now_ns: int, actions: Actions) -> None:
        """Begin to open, or go on with it."""
        self._void_requests()
        if self._mask == 0 or at_once:
            self._end_opening(reason, now_ns, actions)
            return
        if self._opening is None:
            self._opening = Opening(self._pack, self.timing, reason)
        elif reason is Reason.PROTECTION:
            self._opening.reason = reason
        opening = self._opening
        current_a = self._currents.present_a(now_ns)
        closed = self._feedback.closed if self._feedback else 0
        kept = opening.keeps_closed(self._mask, current_a, closed, now_ns)
        if not kept:
            self._end_opening(opening.reason, now_ns, actions)
        elif opening.is_held:
            if not self.is_held:
                limit_a = break_current_a(self._switching, self._mask)
                text = (
                    f"opening is demanded ({opening.reason.name.lower()}), but {current_a:.0f} A "
                    f"is more than the {limit_a:.0f} A that contactors break: held for the fuse"
                )
                actions.events.append(Notice(text, is_warning=True, value=current_a))
                hold = Reason.BREAK_CURRENT_HOLD
                self._command(self._commanded, self._mask, hold, now_ns, actions)
        elif kept != self._mask:
            self._command(OPEN, kept, opening.reason, now_ns, actions)

    def _end_opening(self, reason: Reason, now_ns: int, actions: Actions) -> None:
        self._opening = None
        self._bypassing = None
        if self._mask or self._commanded != OPEN or self._reason is not reason:
            self._command(OPEN, 0, reason, now_ns, actions)

    # Closing and bypassing -----------------------------------------------------------------------

    def _pursue(self, now_ns: int, actions: Actions) -> None:
        request, feedback, verdict = self._requests.newest, self._feedback, self._verdicts.newest
        assert request is not None and feedback is not None and verdict is not None  # noqa: PT018
        at_once = feedback.emergency_stop or not feedback.armed
        if self._commanded == OPEN:
            self._placed = self._bypasses.around(verdict.isolate_cells)
        target = request.configuration
        if target not in self._masks:
            if self._commanded != OPEN:
                self._open(Reason.REQUEST, at_once, now_ns, actions)
                actions.events.append(
                    Notice(f"unknown configuration {target!r} requested, opening")
                )
            return
        if target == OPEN:  # closing again needs a new sequence
            self._open(Reason.REQUEST, at_once, now_ns, actions)
            return
        if self._requests.is_void(request):
            # This wish was overtaken by an opening; a new one is needed.
            self._waiting_for = "a new request: this one was overtaken by an opening"
            if self._commanded != OPEN or self._reason is Reason.REQUEST:
                self._open(Reason.NOT_ARMED, at_once, now_ns, actions)
            return
        if self._commanded == OPEN and self.monitored_only:
            self._waiting_for = f"faster scans: {self.monitored_only}"
            self._tell_once(request, f"{target!r} requested, but {self.monitored_only}", actions)
            return
        if not feedback.armed:
            if self._commanded != OPEN:
                self._open(Reason.NOT_ARMED, True, now_ns, actions)
                actions.events.append(Notice("the switch board opened by itself"))
            elif request.arm and verdict.close_allowed:
                self._waiting_for = "arming of the switch board"
                self._arm(now_ns, feedback, actions)
            else:
                self._waiting_for = "permission of protection to close"
            return
        self._arming_since_ns = None
        if feedback.closed != self._mask or self._source_since_ns is None:
            self._waiting_for = "feedback of the last step"
            return
        if self._is_bypassing(verdict, now_ns, actions):
            return
        if self._commanded == OPEN and not request.arm:
            return  # no user stands behind this
        self._take_next_step(request, feedback, verdict, now_ns, actions)

    def _take_next_step(
        self,
        request: RequestInput,
        feedback: FeedbackInput,
        verdict: VerdictInput,
        now_ns: int,
        actions: Actions,
    ) -> None:
        way = self._switching.route(self._commanded, request.configuration)
        if way is None:
            text = (
                f"{request.configuration!r} requested, but the topology allows no way from "
                f"{self._commanded!r}"
            )
            self._waiting_for = f"another request: {text}"
            self._tell_once(request, text, actions)
            return
        if not way:
            return
        if not verdict.close_allowed:
            self._waiting_for = "permission of protection to close"
            return
        since_ns = self._source_since_ns
        assert since_ns is not None  # the last step is verified
        wait = unmet_condition(
            self._pack,
            self._switching.transition(self._commanded, way[0]),
            Surroundings(
                self._link,
                self._verdicts.string_voltages_v,
                (now_ns - since_ns) / NS_PER_S,
            ),
        )
        if wait is None:
            mask = self._bypasses.lay_over(self._masks[way[0]], self._placed)
            self._command(way[0], mask, Reason.REQUEST, now_ns, actions)
        else:
            self._stand(request, wait, actions)

    def _stand(self, request: RequestInput, wait: Wait, actions: Actions) -> None:
        self._waiting_for = wait.text
        if not wait.is_usual:
            self._tell_once(request, f"waits for {wait.text}", actions)

    def _tell_once(self, request: RequestInput, text: str, actions: Actions) -> None:
        if self._told != (request.sequence, text):
            self._told = (request.sequence, text)
            actions.events.append(Notice(text, is_warning=True))

    def _is_bypassing(self, verdict: VerdictInput, now_ns: int, actions: Actions) -> bool:
        """Bypass what protection wants isolated: break, then make, each step seen in feedback.

        Called while feedback shows what is commanded. A step that is not seen in its time is a
        mismatch, which opens the pack.
        """
        if self._commanded == OPEN:
            return False
        index = self._bypassing
        if index is None:
            wanted = self._bypasses.around(verdict.isolate_cells) - self._placed
            return bool(wanted) and self._begins_bypass(min(wanted), verdict, now_ns, actions)
        ways = self._bypasses.ways[index]
        cells = ", ".join(str(cell) for cell in sorted(ways.cells))
        if index in self._placed:
            self._bypassing, self._reason = None, Reason.REQUEST
            actions.events.append(Notice(f"cells {cells} are bypassed", is_warning=True))
            return False
        if verdict.close_allowed:
            self._placed |= {index}
            self._command(
                self._commanded, self._mask | ways.closes, Reason.ISOLATE, now_ns, actions
            )
        elif now_ns - self._bypassing_since_ns > self._ns(self.timing.status_stale_s):
            actions.events.append(
                Notice(f"cells {cells} cannot be bypassed: closing is not allowed", is_warning=True)
            )
            self._open(Reason.ISOLATE, False, now_ns, actions)
        return True

    def _begins_bypass(
        self, index: int, verdict: VerdictInput, now_ns: int, actions: Actions
    ) -> bool:
        ways = self._bypasses.ways[index]
        limit_a = break_current_a(self._switching, ways.opens)
        if self._mask & ways.opens != ways.opens:  # its cells are not in the circuit now
            self._placed |= {index}
            return False
        if not verdict.close_allowed:
            self._waiting_for = "permission of protection to close a bypass"
        # A comparison with NaN is false: unmeasured is never little.
        elif limit_a < math.inf and not abs(self._currents.present_a(now_ns)) <= limit_a:
            self._waiting_for = "less current, to open the switches of a bypass"
        else:
            self._bypassing, self._bypassing_since_ns = index, now_ns
            self._command(
                self._commanded, self._mask & ~ways.opens, Reason.ISOLATE, now_ns, actions
            )
        return True

    def _arm(self, now_ns: int, feedback: FeedbackInput, actions: Actions) -> None:
        if self._arming_since_ns is None:
            self._arming_since_ns = now_ns
            actions.events.append(Notice("arming the switch board"))
        elif now_ns - self._arming_since_ns > self._ns(self.timing.arming_timeout_s):
            self._void_requests()
            actions.events.append(Notice("the switch board did not arm in time", is_warning=True))
            return
        if now_ns - self._last_command_ns >= self._ns(0.02):
            self._reason = Reason.NOT_ARMED
            self._last_command_ns = now_ns
            actions.command = Command(0, True, feedback.arm_challenge, Reason.REQUEST)

    # Helpers -------------------------------------------------------------------------------------

    def _command(
        self, configuration: str, mask: int, reason: Reason, now_ns: int, actions: Actions
    ) -> None:
        self._note_command(mask, now_ns)
        self._commanded, self._reason = configuration, reason
        self._send(now_ns, actions)

    def _send(self, now_ns: int, actions: Actions) -> None:
        self._last_command_ns = now_ns
        challenge = self._feedback.arm_challenge if self._feedback else 0
        actions.command = Command(self._mask, False, challenge, self._reason)

    def _void_requests(self) -> None:
        self._arming_since_ns = None
        self._requests.void()

    @staticmethod
    def _ns(seconds: float) -> int:
        return round(seconds * NS_PER_S)
