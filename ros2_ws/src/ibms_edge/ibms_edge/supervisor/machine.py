# SPDX-License-Identifier: Apache-2.0
"""State machine of the pack as users see it. No ROS.

It wants switch configurations; whether they are carried out is decided by switch control and
protection. ``states.STAYS`` says how long each substate may last and where it leads;
``docs/pack_states.md`` draws it.
"""

from dataclasses import dataclass, field

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection.table import Reaction
from ibms_edge.supervisor.inputs import Inputs, Wish, words
from ibms_edge.supervisor.precharge import Precharge
from ibms_edge.supervisor.states import (
    ATTEMPT,
    CONNECTED,
    FAILED,
    LEAVING,
    OFF,
    REQUESTABLE,
    STAYS,
    Code,
    Limits,
    Place,
    State,
    Substate,
)
from ibms_edge.supervisor.strings import Strings
from ibms_edge.supervisor.topology import OPEN, PRECHARGING
from ibms_edge.switching.exchange import Reason


@dataclass
class PackSupervisor:
    """State machine of one pack; call ``step`` at least ten times per second.

    Raises:
        ValueError: if the pack's switches know no way from open over precharge to closed.
    """

    pack: Pack
    wish: Wish = field(default_factory=Wish)
    entered_ns: int = 0
    inputs: Inputs = field(default_factory=Inputs)
    place: Place = OFF
    requested: State = State.STANDBY
    cause: int = 0
    cause_element: int = -1
    since_ns: int = 0  # when the substate was entered

    def __post_init__(self) -> None:
        self.limits = Limits.of(self.pack)
        self.precharge = Precharge(self.pack, self.limits)
        self.strings = Strings(self.pack, self.limits)
        self.since_ns = self.entered_ns
        self._text = "started"
        self._target = State.STANDBY  # where precharge or zero current leads to
        self._blamed = _NOBODY
        self._held = False  # in this substate, by a current above what the contactors break

    @property
    def state(self) -> State:
        """The pack's state."""
        return self.place.state

    @property
    def zero_current_requested(self) -> bool:
        """Whether consumers are asked to draw nothing."""
        return self.state in CONNECTED and self.place.substate in LEAVING

    @property
    def attempt(self) -> int:
        """Number of the present precharge attempt; 0 outside of precharge."""
        return self.precharge.attempt if self.state is State.PRECHARGE else 0

    @property
    def text(self) -> str:
        """Why the pack is where it is, one sentence."""
        if self.inputs.break_current_hold:
            return (
                f"{self._text}; the contactors are held closed, because the current is above "
                "what they can break"
            )
        return self._text

    # Requests ------------------------------------------------------------------------------------

    def request(self, state: int, now_ns: int) -> tuple[Code, str]:
        """A user asks for a state; answered at once with a code and a sentence."""
        try:
            wanted = State(state)
        except ValueError:
            return Code.UNKNOWN_STATE, f"there is no pack state {state}"
        code, refusal = self._refusal(wanted, now_ns)
        if code is not Code.OK:
            return code, refusal
        self.requested = wanted
        if wanted is self.state:
            return Code.OK, f"already in {_name(wanted)}"
        if wanted in CONNECTED:
            self._target = wanted
            self.precharge.attempt = 0
            self._begin_attempt(now_ns)
        elif self.state in CONNECTED:
            self._target = wanted
            if self.zero_current_requested:  # a new target lengthens nothing
                self._text = f"{self.place.substate} before {_name(wanted)}"
            else:
                leaving = Place(self.state, Substate.ZERO_CURRENT)
                self._go(leaving, now_ns, f"{leaving.substate} before {_name(wanted)}")
        else:
            self._want(OPEN)
            self._go(Place(wanted, Substate.OPENING), now_ns, f"{_name(wanted)} as requested")
        return Code.OK, self.text

    def _refusal(self, wanted: State, now_ns: int) -> tuple[Code, str]:
        if wanted not in REQUESTABLE[self.state]:
            return (
                Code.NOT_REACHABLE,
                f"{_name(wanted)} cannot be requested in state {_name(self.state)} ({self.text})",
            )
        if self.zero_current_requested and self._target is State.ERROR:
            return (
                Code.NOT_REACHABLE,
                "protection asks for opening; request again when that is done",
            )
        if self.zero_current_requested and wanted is self.state:
            return (
                Code.NOT_REACHABLE,
                f"opening for {_name(self._target)} has begun; request again afterwards",
            )
        if wanted in CONNECTED and wanted is not self.state:
            if silent := self._silent(now_ns):
                return Code.NOT_REACHABLE, f"{silent} is silent"
            if obstacle := self.inputs.obstacle_to_closing(self.wish):
                return Code.FAULT_STANDS, obstacle
            if cooling_s := self.precharge.cools_for_s(now_ns):
                return (
                    Code.NOT_REACHABLE,
                    f"the precharge resistor has to cool for another {cooling_s:.1f} s",
                )
        if self.state in (State.ERROR, State.SHUTDOWN) and wanted is State.STANDBY:
            if self.inputs.forbids:
                return (
                    Code.FAULT_STANDS,
                    f"a fault stands: {self.inputs.standing()}; clear it first "
                    "(service clear_faults)",
                )
            if self.inputs.configuration != OPEN:
                return (
                    Code.FAULT_STANDS,
                    f"the switches are not open but {self.inputs.configuration}",
                )
        return Code.OK, ""

    # Time ----------------------------------------------------------------------------------------

    def fall_silent(self, now_ns: int) -> None:
        """The supervisor stops: want open, and begin anew from off."""
        self._want(OPEN)
        self._go(OFF, now_ns, "stopped")

    def step(self, now_ns: int) -> None:
        """Advance with the present inputs, or because a limit is over."""
        self._held |= self.inputs.break_current_hold
        self._blame()
        if silent := self._silent(now_ns):
            self._without_inputs(silent, now_ns)
        elif self.state is State.OFF:
            self._step_off(now_ns)
        elif self.state is State.PRECHARGE:
            self._step_precharge(now_ns)
        elif self.state in CONNECTED:
            self._step_connected(now_ns)
        else:
            self._step_disconnected(now_ns)
        if self._is_late(now_ns):
            self._after_limit(now_ns)

    def limit_s(self) -> float:
        """Longest stay in the present substate [s]; infinite where the machine may rest."""
        return self.limits.longest_s(STAYS[self.place].limits, self._held)

    def _step_off(self, now_ns: int) -> None:
        # The first wish that switch control receives after a start is void, so it must have had
        # one before a user's request may follow.
        if self.inputs.request_sequence == self.wish.sequence:
            self._go(Place(State.STANDBY, Substate.OPENING), now_ns, "ready")
        else:
            self._text = "waiting for switch control to hear the pack supervisor"

    def _step_disconnected(self, now_ns: int) -> None:
        is_open = self.inputs.configuration == OPEN
        substate = self.place.substate
        if is_open and substate is not Substate.OPEN:
            self._go(Place(self.state, Substate.OPEN), now_ns, self._text)
        elif not is_open and substate is Substate.OPEN:
            self._go(Place(self.state, Substate.OPENING), now_ns, self._text)

    def _step_precharge(self, now_ns: int) -> None:
        inputs, substate = self.inputs, self.place.substate
        if fault := inputs.latched_fault:
            self._fail(now_ns, f"protection forbids closing: {fault}")
        elif substate is Substate.OPENING:
            if inputs.configuration == OPEN:
                self._go(Place(State.PRECHARGE, Substate.PAUSE), now_ns, self._text)
        elif substate is Substate.PAUSE:
            waited_s = (now_ns - self.since_ns) / NS_PER_S
            if waited_s >= self.limits.pause_s and not inputs.obstacle_to_closing(self.wish):
                self._begin_attempt(now_ns)
        elif inputs.forbids:
            self._attempt_failed(now_ns, f"protection forbids closing: {inputs.standing()}")
        elif inputs.is_overtaken(self.wish):
            text = f"switch control opened: {words(inputs.open_reason)}"
            if inputs.open_reason is Reason.PROTECTION:
                self._attempt_failed(now_ns, text)
            else:  # the chain was broken: closing needs a new request
                self._fail(now_ns, text)
        else:
            self._go_on_closing(now_ns)

    def _go_on_closing(self, now_ns: int) -> None:
        # A fault that is still being debounced only holds closing back, within the time limits.
        inputs, substate = self.inputs, self.place.substate
        if substate is Substate.ARMING:
            if inputs.configuration == PRECHARGING:
                self._go(
                    Place(State.PRECHARGE, Substate.PRECHARGING),
                    now_ns,
                    f"precharging for {_name(self._target)}, {self.precharge.count}",
                )
        elif inputs.configuration == OPEN:
            self._fail(now_ns, f"the switch board opened by itself ({words(inputs.open_reason)})")
        elif substate is Substate.PRECHARGING:
            if inputs.configuration == PRECHARGING and not self.precharge.what_is_missing(
                inputs, now_ns
            ):
                self._want_within_request(self.strings.all_connected)
                self._go(
                    Place(State.PRECHARGE, Substate.CLOSING),
                    now_ns,
                    f"closing for {_name(self._target)}",
                )
        elif inputs.configuration == self.strings.all_connected:
            self._connect(now_ns)

    def _step_connected(self, now_ns: int) -> None:
        inputs, substate = self.inputs, self.place.substate
        if inputs.reaction >= Reaction.OPEN_NOW:
            self._fail(now_ns, f"protection demands opening: {inputs.standing()}")
            return
        if substate is Substate.OPENING:
            if inputs.configuration == OPEN:
                self._opened(now_ns)
            return
        if inputs.configuration == OPEN or inputs.is_opening:
            self._fail(now_ns, f"opened unasked: {words(inputs.open_reason)}")
        elif inputs.forbids and self._target is not State.ERROR:
            self._target = State.ERROR
            text = f"protection asks for zero current, then opening: {inputs.standing()}"
            if substate is Substate.ZERO_CURRENT:  # a further reason gives no further time
                self._text = text
            else:
                self._go(Place(self.state, Substate.ZERO_CURRENT), now_ns, text)
        elif substate is Substate.ZERO_CURRENT:
            waited_s = (now_ns - self.since_ns) / NS_PER_S
            is_zero = inputs.current_within(self.limits.zero_current_a, now_ns)
            if is_zero and waited_s > self.limits.zero_current_heard_s:
                self._open(now_ns)
        else:
            self._watch_wiring(now_ns)

    def _watch_wiring(self, now_ns: int) -> None:
        """Connected: elements may be bypassed, and a string that was left out may join."""
        inputs, is_rewiring = self.inputs, self.place.substate is Substate.REWIRING
        rewiring = Place(self.state, Substate.REWIRING)
        if not self.strings.carry(inputs.configuration):
            if not is_rewiring:
                self._go(rewiring, now_ns, self._text)
            return
        missing = self.strings.missing(inputs.configuration)
        may_join = bool(missing) and self.strings.may_join(inputs, now_ns)
        if may_join and not is_rewiring:
            self._want_within_request(self.strings.all_connected)
            self._go(rewiring, now_ns, f"connecting string {missing[0]}")
        elif not may_join and (is_rewiring or self.wish.configuration != inputs.configuration):
            self._connect(now_ns)

    def _without_inputs(self, silent: str, now_ns: int) -> None:
        if self.state in (State.PRECHARGE, *CONNECTED):
            self._fail(now_ns, f"{silent} silent")
        elif self.state in (State.STANDBY, State.REST):
            self._want(OPEN)
            self._go(OFF, now_ns, f"waiting for {silent}")
        elif self.state is State.OFF:
            self._text = f"waiting for {silent}"

    def _after_limit(self, now_ns: int) -> None:
        state, substate = self.place
        carries = self.strings.carry(self.inputs.configuration)
        if state is State.PRECHARGE and substate in ATTEMPT:
            if substate is Substate.CLOSING and carries:
                self._connect(now_ns)
            else:
                self._attempt_failed(now_ns, self._what_took_too_long(now_ns))
        elif substate is Substate.PAUSE:
            self._fail(now_ns, f"no further attempt: {self.inputs.obstacle_to_closing(self.wish)}")
        elif substate is Substate.ZERO_CURRENT:
            self._open(now_ns)
        elif substate is Substate.REWIRING and carries:
            self.strings.wait_anew()
            self._connect(now_ns)
        elif substate is Substate.REWIRING:
            self._fail(now_ns, "the wiring did not settle in time")
        elif state is State.ERROR:
            self._go(Place(State.ERROR, Substate.NOT_OPEN), now_ns, self._text)
        else:
            self._fail(
                now_ns,
                f"the contactors did not open in time, they are {self.inputs.configuration}",
            )

    def _what_took_too_long(self, now_ns: int) -> str:
        inputs, limit_s = self.inputs, self.limit_s()
        held_back = "" if inputs.close_allowed else ", protection did not allow closing"
        if inputs.waiting_for:
            held_back += f", switch control waits for {inputs.waiting_for}"
        match self.place.substate:
            case Substate.ARMING:
                return f"the switches did not begin to close within {limit_s:.1f} s{held_back}"
            case Substate.PRECHARGING:
                missing = self.precharge.what_is_missing(inputs, now_ns)
                return f"precharge was not complete after {limit_s:.1f} s: {missing}{held_back}"
            case _:
                return f"the contactors did not close within {limit_s:.1f} s{held_back}"

    # Moves ---------------------------------------------------------------------------------------

    def _begin_attempt(self, now_ns: int) -> None:
        self._blamed = _NOBODY
        self.precharge.attempt += 1
        self._want(PRECHARGING, arm=True)
        self._go(
            Place(State.PRECHARGE, Substate.ARMING),
            now_ns,
            f"arming for {_name(self._target)}, {self.precharge.count}",
        )

    def _attempt_failed(self, now_ns: int, text: str) -> None:
        """Causes that may pass: another attempt after a pause, until there were enough."""
        text = f"{text} ({self.precharge.count})"
        if self.precharge.is_last:
            self._fail(now_ns, text)
        else:
            self._want(OPEN)
            self._go(Place(State.PRECHARGE, Substate.OPENING), now_ns, text)

    def _connect(self, now_ns: int) -> None:
        """The consumer may draw, by all strings or by those that fit."""
        reached = self.inputs.configuration
        missing = self.strings.missing(reached)
        self._want_within_request(reached)  # a further string joins on the machine's wish only
        left_out = f", without {', '.join(missing)}: the voltage does not fit" if missing else ""
        self._go(
            Place(self._target, Substate.CONNECTED),
            now_ns,
            f"{_name(self._target)} as requested{left_out}",
        )

    def _blame(self) -> None:
        """Keep the cause: a fault may recover before the pack is open and in error."""
        if not self.inputs.forbids:
            return
        if self.place != FAILED:
            self._blamed = self.inputs.blamed
        elif self.cause == 0 and self.inputs.open_reason is Reason.PROTECTION:
            # Switch control told of the opening before protection's verdict came.
            self.cause, self.cause_element = self.inputs.blamed

    def _open(self, now_ns: int) -> None:
        opening = Place(self.state, Substate.OPENING)
        was_asked_for = self._target is not State.ERROR
        text = f"{opening.substate} before {_name(self._target)}" if was_asked_for else self._text
        self._want(OPEN)
        self._go(opening, now_ns, text)

    def _opened(self, now_ns: int) -> None:
        if self._target is State.ERROR:
            self._fail(now_ns, "opened after zero current on demand of protection")
        else:
            target = Place(self._target, Substate.OPEN)
            self._go(target, now_ns, f"{_name(self._target)} as requested")

    def _fail(self, now_ns: int, text: str) -> None:
        self._want(OPEN)
        self._go(FAILED, now_ns, text)

    def _go(self, place: Place, now_ns: int, text: str) -> None:
        if _breaks_off_precharge(self.place, place):
            self.precharge.broken_off(now_ns)
        if place.state is not self.place.state:
            self.entered_ns = now_ns
            is_error = place.state is State.ERROR
            self.cause, self.cause_element = self._blamed if is_error else _NOBODY
            self._blamed = _NOBODY
        self.place, self.since_ns, self._text = place, now_ns, text
        self._held = self.inputs.break_current_hold

    def _want(self, configuration: str, arm: bool = False) -> None:
        if configuration != self.wish.configuration or arm:
            self.wish = Wish(configuration, (self.wish.sequence + 1) & 0xFFFFFFFF, arm)

    def _want_within_request(self, configuration: str) -> None:
        self.wish = Wish(configuration, self.wish.sequence, self.wish.arm)

    def _silent(self, now_ns: int) -> str:
        return self.inputs.silent(now_ns, self.limits.input_stale_s)

    def _is_late(self, now_ns: int) -> bool:
        return now_ns - self.since_ns > self.limit_s() * NS_PER_S


_NOBODY = (0, -1)


def _breaks_off_precharge(before: Place, after: Place) -> bool:
    charging = (
        Place(State.PRECHARGE, Substate.PRECHARGING),
        Place(State.PRECHARGE, Substate.CLOSING),
    )
    return before in charging and after not in charging and after.state not in CONNECTED


def _name(state: State) -> str:
    return state.name.lower()
