# SPDX-License-Identifier: Apache-2.0
"""Bringing the cells to a temperature before use, on request. No ROS."""

from dataclasses import dataclass
from enum import Enum, auto

from ibms_battery.clock import NS_PER_S
from ibms_edge.thermal.temperatures import CellTemperatures

LONGEST_S = 7200.0


class Wish(Enum):
    """What a running preconditioning wants."""

    NONE = auto()
    HEAT = auto()
    COOL = auto()


class OutOfRangeError(ValueError):
    """A request asks for a temperature or time that is never allowed."""


class ForbiddenError(ValueError):
    """A request cannot be granted now; the text says why."""


@dataclass(frozen=True)
class Situation:
    """Everything that decides whether actuators may run for comfort."""

    supervised: bool  # the supervisor was heard lately
    state_allows: bool  # the pack is in standby, rest, drive or charge
    judged: bool  # protection was heard lately
    fault: bool  # a fault stands that isolates or opens
    charging: bool
    soc: float  # [1] of the emptiest cell; NaN if unknown
    temperatures_known: bool

    def obstacle(self, lowest_soc: float) -> str:
        """Why preconditioning may not run; empty if it may."""
        if not self.supervised:
            return "the pack supervisor is silent"
        if not self.judged:
            return "protection has judged no fresh scan"
        if self.fault:
            return "a fault stands that opens the pack"
        if not self.state_allows:
            return "the pack is neither in standby, rest, drive nor charge"
        if not self.temperatures_known:
            return "too few cell temperatures are known"
        if not self.charging and not self.soc >= lowest_soc:
            known = "unknown" if self.soc != self.soc else f"{100 * self.soc:.0f} %"
            return f"the state of charge is {known}, needed are {100 * lowest_soc:.0f} %"
        return ""


class Preconditioning:
    """Heats or cools to a target; ends there, after its time, or when it is no longer permitted.

    Args:
        coldest_target_c: lowest target allowed [degC].
        hottest_target_c: highest target allowed; heating ends where a cell gets this warm [degC].
        lowest_soc: of the emptiest cell, below which it runs only while charging [1].
    """

    def __init__(self, coldest_target_c: float, hottest_target_c: float, lowest_soc: float) -> None:
        self.wish = Wish.NONE
        self.target_c = float("nan")
        self._coldest_target_c = coldest_target_c
        self._hottest_target_c = hottest_target_c
        self._lowest_soc = lowest_soc
        self._end_ns = 0

    def request(
        self,
        target_c: float,
        duration_s: float,
        cells: CellTemperatures,
        situation: Situation,
        now_ns: int,
    ) -> str:
        """Begin, or replace what runs; returns a sentence for people.

        Raises:
            OutOfRangeError: if target [degC] or duration [s] are never allowed.
            ForbiddenError: if it may not run now.
        """
        low_c, high_c = self._coldest_target_c, self._hottest_target_c
        if not low_c <= target_c <= high_c:
            raise OutOfRangeError(
                f"a target of {target_c:g} degC is outside of {low_c:g} to {high_c:g} degC"
            )
        if not 0.0 < duration_s <= LONGEST_S:
            raise OutOfRangeError(
                f"a duration of {duration_s:g} s is outside of 0 to {LONGEST_S:g} s"
            )
        if obstacle := situation.obstacle(self._lowest_soc):
            raise ForbiddenError(obstacle)
        # The cell that is farther from the target decides.
        heats = target_c - cells.coldest_c >= cells.hottest_c - target_c
        wish = Wish.HEAT if heats else Wish.COOL
        if reached := self._reached(wish, target_c, cells):
            self.end()
            return f"nothing to do: {reached}"
        self.wish, self.target_c = wish, target_c
        self._end_ns = now_ns + round(duration_s * NS_PER_S)
        verb = "heats" if heats else "cools"
        return f"{verb} to {target_c:g} degC for {duration_s:g} s at the most"

    def update(self, cells: CellTemperatures, situation: Situation, now_ns: int) -> str:
        """Go on or end; returns why it ended now, else an empty text."""
        if self.wish is Wish.NONE:
            return ""
        reason = situation.obstacle(self._lowest_soc) or self._reached(
            self.wish, self.target_c, cells
        )
        if not reason and now_ns >= self._end_ns:
            reason = "its time is over"
        if reason:
            self.end()
        return reason

    def end(self) -> None:
        """Stop at once."""
        self.wish, self.target_c = Wish.NONE, float("nan")

    def _reached(self, wish: Wish, target_c: float, cells: CellTemperatures) -> str:
        if wish is Wish.COOL:
            return "the target is reached" if cells.hottest_c <= target_c else ""
        if cells.coldest_c >= target_c:
            return "the target is reached"
        if cells.hottest_c >= self._hottest_target_c:
            return f"a cell is already at {cells.hottest_c:.0f} degC"
        return ""
