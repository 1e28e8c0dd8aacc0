# SPDX-License-Identifier: Apache-2.0
"""What the switch board's feedback shows against what is commanded. No ROS, no CAN."""

import math
from collections import deque

from ibms_battery.pack import Pack
from ibms_edge.switching.bypasses import Bypasses
from ibms_edge.switching.conditions import SAMPLES, LinkVoltages
from ibms_edge.switching.contradictions import Contradictions
from ibms_edge.switching.currents import CurrentHistory
from ibms_edge.switching.exchange import FeedbackInput, Notice, Timing, is_fresh


class Board:
    """The switches as commanded and as fed back. It decides nothing."""

    def __init__(self, pack: Pack, timing: Timing) -> None:
        self.timing = timing
        self._switching = pack.switching
        self._masks = {name: self._switching.mask(name) for name in self._switching.configurations}
        self._bypasses = Bypasses(pack)
        self._contradictions = Contradictions(self._switching.switches, timing)
        self._feedback: FeedbackInput | None = None
        self._mask = 0  # switches commanded closed
        self._wiring_ns = 0
        self._source_since_ns: int | None = (
            None  # when feedback first showed the commanded switches
        )
        # Newest samples by feedback that shows the commanded switches.
        self._link: deque[LinkVoltages] = deque(maxlen=SAMPLES)
        self._opened: list[tuple[int, int]] = []  # switch and time of feedback, not told yet

    def feedback(self, feedback: FeedbackInput) -> None:
        """The board's state arrived; an older one than the known is ignored."""
        known = self._feedback
        if known is not None:
            if feedback.boot_ns < known.boot_ns:
                return
            if not is_fresh(feedback.boot_ns, known.boot_ns, self.timing.feedback_stale_s):
                self._link.clear()
            self._note_openings(known.closed, feedback)
            if (known.closed ^ feedback.closed) & self._bypasses.switches:
                self._wiring_ns = feedback.boot_ns
        self._feedback = feedback
        self._contradictions.feedback(feedback)
        if feedback.closed != self._mask:
            self._source_is_unknown()
            return
        if self._source_since_ns is None:
            self._source_since_ns = feedback.boot_ns
        if known is not None and feedback.boot_ns == known.boot_ns and self._link:
            self._link.pop()  # not a further sample
        self._link.append(LinkVoltages(feedback.pack_voltage_v, feedback.link_voltage_v))

    def _note_command(self, mask: int, now_ns: int) -> None:
        """The switches in ``mask`` are commanded closed from now on, all others open."""
        moved = mask ^ self._mask
        self._contradictions.command(mask, now_ns)
        if moved:
            self._source_is_unknown()
        if moved & self._bypasses.switches:
            self._wiring_ns = now_ns
        self._mask = mask

    @property
    def commanded_mask(self) -> int:
        """Switches that are commanded closed."""
        return self._mask

    @property
    def last_feedback(self) -> FeedbackInput | None:
        """Newest feedback, however old."""
        return self._feedback

    @property
    def is_moving(self) -> bool:
        """True until feedback shows the commanded switches."""
        return self._source_since_ns is None

    @property
    def wiring_ns(self) -> int:
        """When a switch of a bypass was last commanded or seen to move [ns]; 0: never."""
        return self._wiring_ns

    def isolated(self, now_ns: int) -> list[int]:
        """Per cell 1 where fresh feedback shows it bypassed; empty if the pack has no bypasses."""
        fresh = self.feedback_fresh(now_ns) and self._feedback is not None
        return self._bypasses.isolated(self._feedback.closed if fresh and self._feedback else 0)

    def feedback_fresh(self, now_ns: int) -> bool:
        """True while the board's feedback may be relied on."""
        return self._feedback is not None and is_fresh(
            now_ns, self._feedback.boot_ns, self.timing.feedback_stale_s
        )

    def verified(self, now_ns: int) -> str:
        """Configuration that feedback shows, whatever it bypasses; else "transition", "unknown"."""
        if not self.feedback_fresh(now_ns) or self._feedback is None:
            return "unknown"
        closed = self._feedback.closed
        shown = self._bypasses.shown(closed)
        for name, mask in self._masks.items():
            if self._bypasses.lay_over(mask, shown) == closed:
                return name
        return "transition"

    def mismatch(self, now_ns: int) -> int:
        """Switches whose feedback contradicts the command beyond doubt, as a mask."""
        return self._contradictions.established if self.feedback_fresh(now_ns) else 0

    def shown_mismatch(self, now_ns: int) -> list[int]:
        """Mismatch as told to others for a while, per switch SwitchState.MISMATCH_*."""
        return self._contradictions.shown(now_ns)

    def _note_openings(self, before: int, feedback: FeedbackInput) -> None:
        # One that is seen closed again before it was told has only bounced.
        self._opened = [opened for opened in self._opened if not feedback.closed >> opened[0] & 1]
        self._opened += [
            (index, feedback.boot_ns)
            for index in range(len(self._switching.switches))
            if (before & ~feedback.closed) >> index & 1
        ]

    def _tell_openings(self, currents: CurrentHistory, now_ns: int) -> list[Notice]:
        """Tell each opening once it is beyond doubt: commanded, by the board, or established."""
        notices = []
        by_board = self._feedback is not None and not self._feedback.armed
        in_doubt = 0 if by_board else self._mask & ~self.mismatch(now_ns)
        untold, self._opened = self._opened, []
        for index, feedback_ns in untold:
            if in_doubt >> index & 1:
                self._opened.append((index, feedback_ns))
                continue
            switch = self._switching.switches[index]
            current_a = currents.at_opening_a(feedback_ns)
            limit_a = switch.maximum_break_current_a
            is_above = limit_a is not None and abs(current_a) > limit_a
            at = "an unmeasured current" if math.isnan(current_a) else f"{current_a:.1f} A"
            above = f", more than the {limit_a:g} A that it breaks" if is_above else ""
            notices.append(
                Notice(f"{switch.name} opened at {at}{above}", is_above, index, current_a)
            )
        return notices

    def _source_is_unknown(self) -> None:
        self._source_since_ns = None
        self._link.clear()
