# SPDX-License-Identifier: Apache-2.0
"""Switches whose feedback contradicts the command. No ROS."""

from collections import deque
from collections.abc import Sequence

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Switch
from ibms_edge.switching.exchange import FeedbackInput, Timing

FRAMES = 3  # an auxiliary contact that bounces shows in one frame, seldom in two

# Equal to SwitchState.MISMATCH_*.
STAYS_OPEN = 1
STAYS_CLOSED = 2


class Contradictions:
    """Compares each frame of feedback with the command at its time.

    A contradiction is established by three frames in succession that show it, the last of them
    later than the switching time after the command. Frames within that time count, so that a
    contactor that does not move is known no later for it.
    """

    def __init__(self, switches: Sequence[Switch], timing: Timing) -> None:
        self._limits_ns = [
            round(
                (max(switch.closing_time_s, switch.opening_time_s) + timing.verification_margin_s)
                * NS_PER_S
            )
            for switch in switches
        ]
        self._shown_ns = round(timing.mismatch_shown_s * NS_PER_S)
        self._mask = 0
        self._moved_ns = [0] * len(switches)  # when each was last commanded anew
        # Before the first frame nothing has been seen to agree: a board that is found closed after
        # a restart contradicts from its first frame on.
        self._differing: deque[int] = deque([~0] * FRAMES, maxlen=FRAMES)  # of the newest frames
        self._newest_ns = 0
        self._kinds = [0] * len(switches)
        self._shown_until_ns = [0] * len(switches)

    def command(self, mask: int, now_ns: int) -> None:
        """The switches in ``mask`` are commanded closed from now on, all others open."""
        moved = mask ^ self._mask
        # Only a change restarts the settling time, else a weld would hide behind new reasons.
        for index in range(len(self._moved_ns)):
            if moved >> index & 1:
                self._moved_ns[index] = now_ns
        self._mask = mask
        if moved:
            self._differing = deque((d & ~moved for d in self._differing), maxlen=FRAMES)

    def feedback(self, feedback: FeedbackInput) -> None:
        """A frame arrived, not older than the one before; one of the same stamp replaces it."""
        differing = feedback.closed ^ self._mask
        if not feedback.armed and not feedback.closed:
            differing = 0  # the board opened by itself: its own latch says so
        for index, moved_ns in enumerate(self._moved_ns):
            if feedback.boot_ns <= moved_ns:
                differing &= ~(1 << index)  # received before the command
        if feedback.boot_ns == self._newest_ns:
            self._differing.pop()
        self._newest_ns = feedback.boot_ns
        self._differing.append(differing)

    @property
    def established(self) -> int:
        """Mask of the switches that contradict; it may hold more than the topology has."""
        standing = ~0
        for differing in self._differing:
            standing &= differing
        for index, limit_ns in enumerate(self._limits_ns):
            if self._newest_ns - self._moved_ns[index] <= limit_ns:
                standing &= ~(1 << index)
        return standing

    def remember(self, mask: int, now_ns: int) -> None:
        """Show the contradictions in ``mask`` from now on, in the sense that they have now."""
        for index in range(len(self._kinds)):
            if mask >> index & 1:
                self._kinds[index] = STAYS_OPEN if self._mask >> index & 1 else STAYS_CLOSED
                self._shown_until_ns[index] = now_ns + self._shown_ns

    def shown(self, now_ns: int) -> list[int]:
        """Per switch 0, ``STAYS_OPEN`` or ``STAYS_CLOSED``.

        It is held for a while and in its sense, as the opening that follows may end it.
        """
        return [
            kind if now_ns < until_ns else 0
            for kind, until_ns in zip(self._kinds, self._shown_until_ns, strict=True)
        ]
