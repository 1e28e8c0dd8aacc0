# SPDX-License-Identifier: Apache-2.0
"""How contactors open when the chain is healthy: held for the fuse, then in order. No ROS."""

import math

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack, Switching
from ibms_edge.switching.exchange import Reason, Timing


def break_current_a(switching: Switching, mask: int) -> float:
    """Largest current that every switch in ``mask`` can break [A]; infinite if none has a limit."""
    limits = [
        switch.maximum_break_current_a
        for index, switch in enumerate(switching.switches)
        if mask >> index & 1 and switch.maximum_break_current_a is not None
    ]
    return min(limits, default=math.inf)


class Opening:
    """An opening on its way. Whatever comes in between, it ends in open after a bounded time.

    Above the break current the contactors stay closed until the fuse has cleared, at most its
    clearing time after the first call; where it has not, all open together, so that they share the
    arc. Below it the one opens first that suits the direction of the current, and its partner
    follows when that is seen or its time is over.
    """

    def __init__(self, pack: Pack, timing: Timing, reason: Reason) -> None:
        self.reason = reason
        self.is_held = False
        self._pack = pack
        self._timing = timing
        self._held_since_ns: int | None = None
        self._first = 0
        self._others_due_ns: int | None = None

    def keeps_closed(self, mask: int, current_a: float, closed: int, now_ns: int) -> int:
        """Which of the switches in ``mask`` stay closed now.

        Args:
            mask: switches that are commanded closed.
            current_a: pack current [A], charge positive; NaN if unknown: then nothing waits.
            closed: switches that feedback shows closed.
            now_ns: present time.
        """
        if self._others_due_ns is not None:
            return mask if closed & self._first and now_ns < self._others_due_ns else 0
        fuse = self._pack.fuse
        # The comparison with an unknown current is false.
        if fuse is None or not abs(current_a) > break_current_a(self._pack.switching, mask):
            self.is_held = False
            return self._partners(mask, current_a, now_ns)
        if self._held_since_ns is None:
            self._held_since_ns = now_ns
        self.is_held = now_ns - self._held_since_ns < round(fuse.clearing_time_s * NS_PER_S)
        return mask if self.is_held else 0

    def _partners(self, mask: int, current_a: float, now_ns: int) -> int:
        """Contactors that suit the other direction, if one suits this direction; else none."""
        suited = partners = 0
        opening_time_s = 0.0
        direction = "charge" if current_a > 0 else "discharge" if current_a < 0 else ""
        for index, switch in enumerate(self._pack.switching.switches):
            if not mask >> index & 1 or switch.opens_first_at == "either":
                continue
            if switch.opens_first_at == direction:
                suited |= 1 << index
                opening_time_s = max(opening_time_s, switch.opening_time_s)
            else:
                partners |= 1 << index
        if not suited or not partners:
            return 0
        timing = self._timing
        wait_s = min(opening_time_s + timing.order_margin_s, timing.order_limit_s)
        self._first, self._others_due_ns = suited, now_ns + round(wait_s * NS_PER_S)
        return partners
