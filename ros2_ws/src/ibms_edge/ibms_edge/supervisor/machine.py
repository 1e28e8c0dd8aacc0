# SPDX-License-Identifier: Apache-2.0
"""State machine of the pack as users see it. No ROS.

It wants switch configurations; whether they are carried out is decided by switch control and
protection. Every state has a way out: each wait has a time limit. ``docs/pack_states.md`` draws it.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection.table import Reaction
from ibms_edge.switching.controller import Reason, route


class State(IntEnum):
    """Pack states; equal to PackState.STATE_*."""

    OFF = 0
    STANDBY = 1
    PRECHARGE = 2
    DRIVE = 3
    CHARGE = 4
    REST = 5
    ERROR = 6
    SHUTDOWN = 7


class Code(IntEnum):
    """Answers to requests; equal to RequestPackState.CODE_*."""

    OK = 0
    UNKNOWN_STATE = 100
    NOT_REACHABLE = 101
    FAULT_STANDS = 102


OPEN, PRECHARGING, CLOSED = "open", "precharge", "closed"

# What a user may ask for, from which state.
REQUESTABLE: dict[State, frozenset[State]] = {
    State.OFF: frozenset(),
    State.STANDBY: frozenset(
        {State.STANDBY, State.DRIVE, State.CHARGE, State.REST, State.SHUTDOWN}
    ),
    State.PRECHARGE: frozenset({State.STANDBY, State.SHUTDOWN}),
    State.DRIVE: frozenset({State.DRIVE, State.STANDBY, State.REST, State.SHUTDOWN}),
    State.CHARGE: frozenset({State.CHARGE, State.STANDBY, State.REST, State.SHUTDOWN}),
    State.REST: frozenset({State.REST, State.STANDBY, State.DRIVE, State.CHARGE, State.SHUTDOWN}),
    State.ERROR: frozenset({State.STANDBY, State.SHUTDOWN}),
    State.SHUTDOWN: frozenset({State.STANDBY}),
}

# Where the machine goes by itself: what fails ends in error.
AUTOMATIC: dict[State, frozenset[State]] = {
    State.OFF: frozenset({State.STANDBY}),
    State.STANDBY: frozenset({State.OFF, State.ERROR}),
    State.PRECHARGE: frozenset({State.DRIVE, State.CHARGE, State.ERROR}),
    State.DRIVE: frozenset({State.ERROR}),
    State.CHARGE: frozenset({State.ERROR}),
    State.REST: frozenset({State.OFF, State.ERROR}),
    State.ERROR: frozenset(),
    State.SHUTDOWN: frozenset({State.ERROR}),
}

_CONNECTED = (State.DRIVE, State.CHARGE)
_DISCONNECTED = (State.STANDBY, State.REST, State.SHUTDOWN)


@dataclass(slots=True)
class Inputs:
    """What the supervisor knows."""

    status_boot_ns: int | None = None
    reaction: int = 0  # ProtectionStatus.REACTION_*
    close_allowed: bool = False
    cause: int = 0
    cause_element: int = -1
    switch_boot_ns: int | None = None
    request_sequence: int | None = None  # newest wish that switch control has received
    configuration: str = "unknown"
    open_reason: Reason = Reason.NOT_ARMED  # why switch control holds the switches open, if it does
    pack_voltage_v: float = math.nan
    link_voltage_v: float = math.nan
    current_boot_ns: int | None = None
    current_a: float = math.nan


@dataclass(slots=True)
class Timing:
    """Time limits [s] and the current taken as zero [A]."""

    input_stale_s: float = 0.5
    arming_s: float = 1.5
    closing_s: float = 0.5
    zero_current_s: float = 2.0
    opening_s: float = 1.0
    zero_current_a: float = 2.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the supervisor wants of switch control."""

    configuration: str = OPEN
    sequence: int = 1
    arm: bool = False


@dataclass
class PackSupervisor:
    """State machine of one pack; call ``step`` at least ten times per second.

    Raises:
        ValueError: if the pack's switches know no way from open over precharge to closed.
    """

    pack: Pack
    timing: Timing = field(default_factory=Timing)
    state: State = State.OFF
    requested: State = State.STANDBY
    text: str = "waiting for protection and switch control"
    wish: Wish = field(default_factory=Wish)
    zero_current_requested: bool = False
    cause: int = 0
    cause_element: int = -1
    entered_ns: int = 0
    inputs: Inputs = field(default_factory=Inputs)
    _target: State = State.STANDBY
    _zero_current_since_ns: int | None = None
    _open_since_ns: int | None = None
    _was_open_ns: int = 0  # when the switches were last seen open

    def __post_init__(self) -> None:
        for source, target in ((OPEN, PRECHARGING), (PRECHARGING, CLOSED)):
            known = {source, target} <= self.pack.switching.configurations.keys()
            if not known or route(self.pack.switching, source, target) is None:
                raise ValueError(
                    f"pack {self.pack.name!r}: its switches have no way from {source!r} to "
                    f"{target!r}, which the pack supervisor needs"
                )

    def request(self, state: int, now_ns: int) -> tuple[Code, str]:
        """A user asks for a state; answered at once with a code and a sentence."""
        try:
            wanted = State(state)
        except ValueError:
            return Code.UNKNOWN_STATE, f"there is no pack state {state}"
        if wanted not in REQUESTABLE[self.state]:
            return (
                Code.NOT_REACHABLE,
                f"{wanted.name.lower()} cannot be requested in state {self.state.name.lower()} "
                f"({self.text})",
            )
        if self._zero_current_since_ns is not None:
            refusal = self._obstacle_to_new_target(wanted)
            if refusal:
                return Code.NOT_REACHABLE, refusal
        if wanted in _CONNECTED and wanted is not self.state:
            obstacle = self._obstacle_to_closing()
            if obstacle:
                return Code.FAULT_STANDS, obstacle
        if self.state in (State.ERROR, State.SHUTDOWN) and wanted is State.STANDBY:
            obstacle = self._obstacle_to_standby()
            if obstacle:
                return Code.FAULT_STANDS, obstacle
        self.requested = wanted
        if wanted is self.state:
            return Code.OK, f"already in {wanted.name.lower()}"
        if wanted in _CONNECTED:
            self._target = wanted
            self._want(PRECHARGING, arm=True)
            self._enter(State.PRECHARGE, now_ns, f"precharging for {wanted.name.lower()}")
        elif self.state in _CONNECTED:
            self._target = wanted
            self._request_zero_current(now_ns)
            self.text = f"waiting for zero current before {wanted.name.lower()}"
        else:
            self._want(OPEN)
            self._enter(wanted, now_ns, f"{wanted.name.lower()} as requested")
        return Code.OK, self.text

    def fall_silent(self, now_ns: int) -> None:
        """The supervisor stops: want open, and begin anew from off."""
        self._want(OPEN)
        self._enter(State.OFF, now_ns, "waiting for protection and switch control")

    def step(self, now_ns: int) -> None:
        """Advance with the present inputs."""
        if not self._inputs_fresh(now_ns):
            self._without_inputs(now_ns)
        elif self.state is State.OFF:
            # The first wish that switch control receives after a start is void, so it must have had
            # one before a user's request may follow.
            if self.inputs.request_sequence == self.wish.sequence:
                self._enter(State.STANDBY, now_ns, "ready")
        elif self.state is State.PRECHARGE:
            self._step_precharge(now_ns)
        elif self.state in _CONNECTED:
            self._step_connected(now_ns)
        elif self.state in _DISCONNECTED:
            self._step_disconnected(now_ns)

    # Steps ---------------------------------------------------------------------------------------

    def _step_precharge(self, now_ns: int) -> None:
        inputs, timing = self.inputs, self.timing
        if inputs.reaction >= Reaction.OPEN_AFTER_ZERO_CURRENT:
            self._fail(now_ns, "protection forbids closing")
            return
        if self._is_overtaken():
            self._fail(now_ns, f"switch control opened: {_words(inputs.open_reason)}")
            return
        # A fault that is still being debounced only holds closing back, within the time limits.
        elapsed_s = (now_ns - self.entered_ns) / NS_PER_S
        limit_s = timing.arming_s + self.pack.precharge.timeout_s
        if self.wish.configuration == PRECHARGING:
            if inputs.configuration == PRECHARGING and self.pack.precharge_is_complete(
                inputs.pack_voltage_v, inputs.link_voltage_v
            ):
                self._want_same(CLOSED)
            elif elapsed_s > limit_s:
                why = "" if inputs.close_allowed else ": protection did not allow closing"
                self._fail(now_ns, f"precharge was not complete after {limit_s:.1f} s{why}")
        elif inputs.configuration == CLOSED:
            self._enter(self._target, now_ns, f"{self._target.name.lower()} as requested")
        elif elapsed_s > limit_s + timing.closing_s:
            self._fail(now_ns, "the contactors did not close in time")

    def _step_connected(self, now_ns: int) -> None:
        inputs, timing = self.inputs, self.timing
        if inputs.reaction >= Reaction.OPEN_NOW:
            self._fail(now_ns, "protection demands opening")
            return
        if self.wish.configuration == CLOSED and inputs.configuration != CLOSED:
            self._fail(now_ns, "the contactors opened unasked")
            return
        if inputs.reaction == Reaction.OPEN_AFTER_ZERO_CURRENT and self._target is not State.ERROR:
            self._target = State.ERROR
            self.text = "protection asks for zero current, then opening"
            self._request_zero_current(now_ns)
        since_ns = self._zero_current_since_ns
        if since_ns is None:
            return
        waited_s = (now_ns - since_ns) / NS_PER_S
        current_known = (
            inputs.current_boot_ns is not None and now_ns - inputs.current_boot_ns < NS_PER_S // 2
        )
        if self._open_since_ns is None:
            at_zero = current_known and abs(inputs.current_a) <= timing.zero_current_a
            if (at_zero and waited_s > 0.2) or waited_s > timing.zero_current_s:
                self._want(OPEN)
                self._open_since_ns = now_ns
        elif inputs.configuration == OPEN:
            if self._target is State.ERROR:
                self._fail(now_ns, "opened after zero current on demand of protection")
            else:
                self._enter(self._target, now_ns, f"{self._target.name.lower()} as requested")
        elif (now_ns - self._open_since_ns) / NS_PER_S > timing.opening_s:
            self._fail(now_ns, "the contactors did not open in time")

    def _step_disconnected(self, now_ns: int) -> None:
        if self.inputs.configuration == OPEN:
            self._was_open_ns = now_ns
        since_ns = max(self.entered_ns, self._was_open_ns)
        if now_ns - since_ns > self.timing.opening_s * NS_PER_S:
            self._fail(now_ns, f"the switches are not open but {self.inputs.configuration}")

    def _without_inputs(self, now_ns: int) -> None:
        if self.state in (State.PRECHARGE, *_CONNECTED):
            self._fail(now_ns, "protection or switch control is silent")
        elif self.state in (State.STANDBY, State.REST):
            self._want(OPEN)
            self._enter(State.OFF, now_ns, "waiting for protection and switch control")

    # Helpers -------------------------------------------------------------------------------------

    def _inputs_fresh(self, now_ns: int) -> bool:
        limit_ns = round(self.timing.input_stale_s * NS_PER_S)
        return all(
            stamp is not None and now_ns - stamp <= limit_ns
            for stamp in (self.inputs.status_boot_ns, self.inputs.switch_boot_ns)
        )

    def _obstacle_to_closing(self) -> str:
        inputs = self.inputs
        if inputs.reaction >= Reaction.OPEN_AFTER_ZERO_CURRENT or not inputs.close_allowed:
            cause = (
                f"diagnosis {inputs.cause}" if inputs.cause else "not everything is measured yet"
            )
            return f"protection forbids closing: {cause}"
        if inputs.configuration != OPEN:
            return f"the switches are not open but {inputs.configuration}"
        # What it receives while something holds it open is void, so it is not asked.
        if inputs.request_sequence != self.wish.sequence:
            return "switch control has not heard the pack supervisor yet"
        if inputs.open_reason is not Reason.REQUEST:
            return f"switch control holds the pack open: {_words(inputs.open_reason)}"
        return ""

    def _is_overtaken(self) -> bool:
        """Whether an opening has made the wish void: switch control has it, and was interrupted."""
        return (
            self.inputs.request_sequence == self.wish.sequence
            and self.inputs.open_reason not in (Reason.REQUEST, Reason.NOT_ARMED)
        )

    def _obstacle_to_standby(self) -> str:
        if self.inputs.reaction >= Reaction.OPEN_AFTER_ZERO_CURRENT:
            return (
                f"faults stand (diagnosis {self.inputs.cause}); clear them first "
                "(service clear_faults)"
            )
        if self.inputs.configuration != OPEN:
            return f"the switches are not open but {self.inputs.configuration}"
        return ""

    def _obstacle_to_new_target(self, wanted: State) -> str:
        """Why a request is refused while the pack is on its way to opening; "" if it may go on."""
        if self._target is State.ERROR:
            return "protection asks for opening; request again when that is done"
        if wanted is self.state:
            return f"opening for {self._target.name.lower()} has begun; request again afterwards"
        return ""

    def _request_zero_current(self, now_ns: int) -> None:
        self.zero_current_requested = True
        if self._zero_current_since_ns is None:  # a further reason gives no further time
            self._zero_current_since_ns = now_ns

    def _want(self, configuration: str, arm: bool = False) -> None:
        if configuration != self.wish.configuration or arm:
            self.wish = Wish(configuration, (self.wish.sequence + 1) & 0xFFFFFFFF, arm)

    def _want_same(self, configuration: str) -> None:
        self.wish = Wish(configuration, self.wish.sequence, self.wish.arm)

    def _fail(self, now_ns: int, text: str) -> None:
        self._want(OPEN)
        self.cause, self.cause_element = self.inputs.cause, self.inputs.cause_element
        self._enter(State.ERROR, now_ns, text)

    def _enter(self, state: State, now_ns: int, text: str) -> None:
        if state is not State.ERROR:
            self.cause, self.cause_element = 0, -1
        self.state, self.text, self.entered_ns = state, text, now_ns
        self.zero_current_requested = False
        self._zero_current_since_ns = self._open_since_ns = None


def _words(reason: Reason) -> str:
    return reason.name.lower().replace("_", " ")
