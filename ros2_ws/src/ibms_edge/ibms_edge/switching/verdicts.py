# SPDX-License-Identifier: Apache-2.0
"""Which verdicts of protection count, and what they forbid even if they do not. No ROS."""

from collections import deque
from dataclasses import replace

from ibms_edge.switching.conditions import SAMPLES
from ibms_edge.switching.exchange import VerdictInput, is_ahead, is_fresh


class Verdicts:
    """The newest verdict, and what has happened to the chain since the last step."""

    def __init__(self, stale_s: float) -> None:
        self.newest: VerdictInput | None = None
        self.opening_demanded = False  # by any verdict since the last step, accepted or not
        self.interrupted = False  # the chain was broken since the last step
        self.rejected = 0
        # Voltages of the strings by the newest verdicts of an unbroken chain.
        self.string_voltages_v: deque[tuple[float, ...]] = deque(maxlen=SAMPLES)
        self._stale_s = stale_s
        self._crc: int | None = None
        self._is_new = False

    def take(self, verdict: VerdictInput, is_open: bool) -> bool:
        """A verdict arrived. Old ones, repeated ones, another configuration's are rejected.

        Whatever forbids counts even so: a demand to open from any verdict, and what a changed
        verdict on the known scan takes back.

        Returns:
            True if another table of diagnoses was taken over, which only happens while all is open.
        """
        self.opening_demanded |= verdict.demands_opening
        known = self.newest
        if known is not None and not self._is_newer(verdict, known):
            self.rejected += 1
            if (verdict.scan_counter, verdict.boot_ns) == (known.scan_counter, known.boot_ns):
                self.newest = replace(
                    known,
                    complete=known.complete and verdict.complete,
                    demands_opening=known.demands_opening or verdict.demands_opening,
                    close_allowed=known.close_allowed and verdict.close_allowed,
                    isolate_cells=known.isolate_cells | verdict.isolate_cells,
                )
            return False
        is_other_table = self._crc is not None and verdict.configuration_crc != self._crc
        if is_other_table and not is_open:
            self.rejected += 1
            self.interrupted = True
            return False
        self._crc = verdict.configuration_crc
        if known is not None and not self._follows(verdict, known):
            self.interrupted = True
            self.string_voltages_v.clear()
        self.string_voltages_v.append(verdict.string_voltage_v)
        self.newest = verdict
        self._is_new = True
        return is_other_table

    def take_new(self) -> VerdictInput | None:
        """The newest verdict, if it was not taken before."""
        is_new, self._is_new = self._is_new, False
        return self.newest if is_new else None

    def is_unbroken(self, now_ns: int) -> bool:
        """Whether the newest verdict is fresh, and the chain was not broken since the last step."""
        return (
            self.newest is not None
            and not self.interrupted
            and is_fresh(now_ns, self.newest.boot_ns, self._stale_s)
        )

    def _is_newer(self, verdict: VerdictInput, known: VerdictInput) -> bool:
        if verdict.boot_ns <= known.boot_ns:
            return False
        # After a gap, which opens the pack, the device may count anew.
        return not self._follows(verdict, known) or is_ahead(
            verdict.scan_counter, known.scan_counter
        )

    def _follows(self, verdict: VerdictInput, known: VerdictInput) -> bool:
        """True if no more time than the stale limit lies between two verdicts."""
        return is_fresh(verdict.boot_ns, known.boot_ns, self._stale_s)
