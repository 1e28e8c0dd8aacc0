# SPDX-License-Identifier: Apache-2.0
"""Where the machine is, since when and why, and what it wants of switch control. No ROS."""

from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S
from ibms_edge.supervisor.inputs import Inputs, Wish
from ibms_edge.supervisor.states import FAILED, OFF, STAYS, Limits, Place, State
from ibms_edge.supervisor.topology import OPEN
from ibms_edge.switching.exchange import Reason

_NOBODY = (0, -1)


@dataclass(slots=True)
class Course:
    """The way of one pack through its states.

    Attributes:
        target: state that precharge or zero current leads to.
        cause: diagnosis that led to error, and its element.
        text: why the pack is where it is.
    """

    inputs: Inputs
    limits: Limits
    wish: Wish
    entered_ns: int  # the state
    place: Place = OFF
    since_ns: int = 0  # the substate
    target: State = State.STANDBY
    cause: tuple[int, int] = _NOBODY
    text: str = "started"
    _blamed: tuple[int, int] = _NOBODY
    _held: bool = False  # in this substate, by a current above what the contactors break

    def go(self, place: Place, now_ns: int, text: str) -> None:
        """Enter a substate."""
        if place.state is not self.place.state:
            self.entered_ns = now_ns
            self.cause = self._blamed if place.state is State.ERROR else _NOBODY
            self._blamed = _NOBODY
        self.place, self.since_ns, self.text = place, now_ns, text
        self._held = self.inputs.break_current_hold

    def fail(self, now_ns: int, text: str) -> None:
        """Open and be in error."""
        self.want(OPEN)
        self.go(FAILED, now_ns, text)

    def want(self, configuration: str, arm: bool = False) -> None:
        """Want something new; ``arm``: a user's request stands behind it."""
        if configuration != self.wish.configuration or arm:
            self.wish = Wish(configuration, (self.wish.sequence + 1) & 0xFFFFFFFF, arm)

    def want_within_request(self, configuration: str) -> None:
        """Want a further step of the same request."""
        self.wish = Wish(configuration, self.wish.sequence, self.wish.arm)

    def waited_s(self, now_ns: int) -> float:
        """Time in the present substate [s]."""
        return (now_ns - self.since_ns) / NS_PER_S

    def limit_s(self) -> float:
        """Longest stay in the present substate [s]; infinite where the machine may rest."""
        return self.limits.longest_s(STAYS[self.place].limits, self._held)

    def note_inputs(self) -> None:
        """Keep what may be over before it is needed: holding for the fuse, and the cause.

        A fault may recover before the pack is open and in error.
        """
        inputs = self.inputs
        self._held |= inputs.break_current_hold
        if not inputs.forbids:
            return
        if self.place != FAILED:
            self._blamed = inputs.blamed
        elif self.cause == _NOBODY and inputs.open_reason is Reason.PROTECTION:
            # Switch control told of the opening before protection's verdict came.
            self.cause = inputs.blamed

    def blame_nobody(self) -> None:
        """What stood before is over and did no harm."""
        self._blamed = _NOBODY


def name_of(state: int) -> str:
    """A state for people, also one that does not exist."""
    return State(state).name.lower() if state in frozenset(State) else f"state {state}"
