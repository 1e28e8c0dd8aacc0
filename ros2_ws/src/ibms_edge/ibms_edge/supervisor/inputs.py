# SPDX-License-Identifier: Apache-2.0
"""What the supervisor knows, and what follows from it for closing. No ROS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S
from ibms_edge.protection.table import Reaction
from ibms_edge.supervisor.topology import OPEN
from ibms_edge.switching.exchange import Reason

_CURRENT_STALE_S = 0.5


@dataclass(frozen=True, slots=True)
class Fault:
    """An active diagnosis that demands opening."""

    identifier: int
    element: int = -1
    text: str = ""  # name and meaning, for people
    latched: bool = True  # one that is not known better does not go by itself

    def __str__(self) -> str:
        where = f", element {self.element}" if self.element >= 0 else ""
        return f"diagnosis {self.identifier}{where}" + (f" ({self.text})" if self.text else "")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the supervisor wants of switch control."""

    configuration: str = OPEN
    sequence: int = 1
    arm: bool = False


@dataclass(slots=True)
class Inputs:
    """What protection, switch control and the pack sensor said last."""

    status_boot_ns: int | None = None
    reaction: int = 0  # ProtectionStatus.REACTION_*
    close_allowed: bool = False
    cause: int = 0
    cause_element: int = -1
    faults: Sequence[Fault] = ()
    switch_boot_ns: int | None = None
    request_sequence: int | None = None  # newest wish that switch control has received
    configuration: str = "unknown"  # as verified by feedback
    commanded: str = OPEN
    open_reason: Reason = Reason.NOT_ARMED  # why switch control holds the switches open, if it does
    break_current_hold: bool = False
    waiting_for: str = ""  # what the next step of the switches waits for
    pack_voltage_v: float = math.nan
    link_voltage_v: float = math.nan
    string_voltage_v: Sequence[float] = ()  # per parallel string
    current_boot_ns: int | None = None
    current_a: float = math.nan

    def silent(self, now_ns: int, limit_s: float) -> str:
        """Who has not been heard within ``limit_s``; "" if nobody."""
        sources = {
            "protection": self.status_boot_ns,
            "switch control or its board": self.switch_boot_ns,
        }
        return " and ".join(
            name for name, stamp in sources.items() if not _is_fresh(stamp, now_ns, limit_s)
        )

    @property
    def forbids(self) -> bool:
        """Whether protection demands opening, at once or after zero current."""
        return self.reaction >= Reaction.OPEN_AFTER_ZERO_CURRENT

    @property
    def latched_fault(self) -> Fault | None:
        """A standing fault that does not go by itself."""
        if self.forbids and not self.faults:
            return Fault(self.cause, self.cause_element)
        return next((fault for fault in self.faults if fault.latched), None)

    @property
    def blamed(self) -> tuple[int, int]:
        """Diagnosis and element that first demanded opening; of those that stand if not told."""
        if self.cause == 0 and self.faults:
            return self.faults[0].identifier, self.faults[0].element
        return self.cause, self.cause_element

    def standing(self) -> str:
        """The fault that stands against closing, in words."""
        if self.faults:
            return str(self.faults[0])
        if self.forbids:
            return str(Fault(self.cause, self.cause_element))
        # What was the first cause once may be over by now.
        return "something is not measured yet or a diagnosis is being debounced"

    def current_within(self, limit_a: float, now_ns: int) -> bool:
        """Whether a fresh sample shows no more current than this, either way."""
        # A comparison with NaN is false: unmeasured is never little.
        return (
            _is_fresh(self.current_boot_ns, now_ns, _CURRENT_STALE_S)
            and abs(self.current_a) <= limit_a
        )

    def obstacle_to_closing(self, wish: Wish) -> str:
        """Why closing cannot begin now; "" if it can."""
        if self.forbids or not self.close_allowed:
            return f"protection forbids closing: {self.standing()}"
        if self.configuration != OPEN:
            return f"the switches are not open but {self.configuration}"
        # What it receives while something holds it open is void, so it is not asked.
        if self.request_sequence != wish.sequence:
            return "switch control has not heard the pack supervisor yet"
        if self.open_reason is not Reason.REQUEST:
            return f"switch control holds the pack open: {words(self.open_reason)}"
        return ""

    @property
    def is_opening(self) -> bool:
        """Whether switch control opens or has opened; while it holds for the fuse as well."""
        return self.commanded == OPEN or self.break_current_hold

    def is_overtaken(self, wish: Wish) -> bool:
        """Whether an opening has made the wish void: switch control has it, and was interrupted."""
        return (
            self.request_sequence == wish.sequence
            and self.is_opening
            and self.open_reason not in (Reason.REQUEST, Reason.NOT_ARMED)
        )


def words(reason: Reason) -> str:
    """A reason for people."""
    return reason.name.lower().replace("_", " ")


def _is_fresh(stamp_ns: int | None, now_ns: int, limit_s: float) -> bool:
    # One from the future is as doubtful as an old one.
    return stamp_ns is not None and abs(now_ns - stamp_ns) <= limit_s * NS_PER_S
