# SPDX-License-Identifier: Apache-2.0
"""What a case of the campaign is: what is done to the pack, and what then has to follow."""

from dataclasses import dataclass
from typing import Literal

from ibms_sim.faults import NO_ELEMENT
from ibms_tools.campaign.provocations import Action

Kind = Literal["single", "spike", "double"]


@dataclass(frozen=True)
class Deed:
    """One thing that is done to the pack at a time after the start of the case."""

    at_s: float
    action: Action
    name: str
    element: int = NO_ELEMENT
    value: float = 0.0
    remove: bool = False
    count: int = 0


@dataclass(frozen=True)
class Expected:
    """A diagnosis that has to trip, and what it then demands."""

    diagnosis: int
    name: str
    level: int
    reaction: int
    detected_s: float  # latest, after the first deed
    opened_s: float | None  # latest; None if it opens nothing
    element: int | None = None  # None where more than one is right
    isolated_s: float | None = None  # latest; None if it isolates nothing


@dataclass(frozen=True)
class Case:
    """One case."""

    number: int
    kind: Kind
    name: str
    pack: str
    state: str
    warm_up_s: float
    phase_s: float
    deeds: tuple[Deed, ...]
    expected: tuple[Expected, ...]
    absent: tuple[int, ...]
    causes: frozenset[int]
    opens: bool
    watch_s: float
    welded: int = 0
    isolated: frozenset[int] = frozenset()  # cells that have to be bypassed, and no others
    is_stubborn: bool = False  # the load ignores the limits, which else end the current before

    @property
    def opened_s(self) -> float | None:
        """Latest time at which the contacts have to be open."""
        times = [e.opened_s for e in self.expected if e.opened_s is not None]
        return min(times, default=None)

    @property
    def isolated_s(self) -> float | None:
        """Latest time at which cells have to be bypassed."""
        times = [e.isolated_s for e in self.expected if e.isolated_s is not None]
        return min(times, default=None)
