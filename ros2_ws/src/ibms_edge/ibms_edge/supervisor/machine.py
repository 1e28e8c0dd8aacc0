# SPDX-License-Identifier: Apache-2.0
"""State machine of the pack as users see it. No ROS.

It wants switch configurations; whether they are carried out is decided by switch control and
protection. ``states.STAYS`` says how long each substate may last and where it leads;
``docs/pack_states.md`` draws it. ``precharge`` and ``connection`` hold the moves of their states.
"""

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.supervisor.connection import Connection
from ibms_edge.supervisor.course import Course, name_of
from ibms_edge.supervisor.inputs import Inputs, Wish
from ibms_edge.supervisor.precharge import Precharge
from ibms_edge.supervisor.states import (
    CONNECTED,
    LEAVING,
    OFF,
    REQUESTABLE,
    Code,
    Limits,
    Place,
    State,
    Substate,
)
from ibms_edge.supervisor.strings import Strings
from ibms_edge.supervisor.topology import OPEN


class PackSupervisor:
    """State machine of one pack; call ``step`` at least ten times per second.

    Args:
        pack: its description.
        now_ns: present time.
        sequence: of the first wish.

    Attributes:
        course: where the pack is and what is wanted.
        requested: state that a user last asked for.

    Raises:
        ValueError: if the pack's switches know no way from open over precharge to closed.
    """

    def __init__(self, pack: Pack, now_ns: int = 0, sequence: int = 1) -> None:
        limits = Limits.of(pack)
        strings = Strings(pack, limits)
        self.inputs = Inputs()
        self.course = Course(
            self.inputs, limits, Wish(sequence=sequence), entered_ns=now_ns, since_ns=now_ns
        )
        self.requested = State.STANDBY
        self._connection = Connection(self.course, strings)
        self._precharge = Precharge(pack, self.course, strings, self._connection)

    @property
    def state(self) -> State:
        """The pack's state."""
        return self.course.place.state

    @property
    def zero_current_requested(self) -> bool:
        """Whether consumers are asked to draw nothing."""
        return self.state in CONNECTED and self.course.place.substate in LEAVING

    @property
    def attempt(self) -> int:
        """Number of the present precharge attempt; 0 outside of precharge."""
        return self._precharge.attempt if self.state is State.PRECHARGE else 0

    @property
    def text(self) -> str:
        """Why the pack is where it is, one sentence."""
        if self.inputs.break_current_hold:
            return (
                f"{self.course.text}; the contactors are held closed, because the current is "
                "above what they can break"
            )
        return self.course.text

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
            return Code.OK, f"already in {name_of(wanted)}"
        if wanted in CONNECTED:
            self._precharge.begin(wanted, now_ns)
        elif self.state in CONNECTED:
            self._connection.leave(wanted, now_ns)
        else:
            self.course.want(OPEN)
            opening = Place(wanted, Substate.OPENING)
            self.course.go(opening, now_ns, f"{name_of(wanted)} as requested")
        return Code.OK, self.text

    def _refusal(self, wanted: State, now_ns: int) -> tuple[Code, str]:
        if wanted not in REQUESTABLE[self.state]:
            return (
                Code.NOT_REACHABLE,
                f"{name_of(wanted)} cannot be requested in state {name_of(self.state)} "
                f"({self.text})",
            )
        if self.zero_current_requested:
            return self._refusal_while_leaving(wanted)
        if wanted in CONNECTED and wanted is not self.state:
            return self._refusal_to_close(now_ns)
        if self.state in (State.ERROR, State.SHUTDOWN) and wanted is State.STANDBY:
            return self._refusal_to_begin_anew()
        return Code.OK, ""

    def _refusal_while_leaving(self, wanted: State) -> tuple[Code, str]:
        target = self.course.target
        if target is State.ERROR:
            return (
                Code.NOT_REACHABLE,
                "protection asks for opening; request again when that is done",
            )
        if wanted is self.state:
            return (
                Code.NOT_REACHABLE,
                f"opening for {name_of(target)} has begun; request again afterwards",
            )
        return Code.OK, ""

    def _refusal_to_close(self, now_ns: int) -> tuple[Code, str]:
        if silent := self._silent(now_ns):
            return Code.NOT_REACHABLE, f"silence of {silent}"
        if obstacle := self.inputs.obstacle_to_closing(self.course.wish):
            return Code.FAULT_STANDS, obstacle
        if wait := self._precharge.what_to_wait_for(now_ns):
            return Code.NOT_REACHABLE, wait
        return Code.OK, ""

    def _refusal_to_begin_anew(self) -> tuple[Code, str]:
        if self.inputs.forbids:
            return (
                Code.FAULT_STANDS,
                f"a fault stands: {self.inputs.standing()}; clear it first (service clear_faults)",
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
        self.course.want(OPEN)
        self.course.go(OFF, now_ns, "stopped")

    def step(self, now_ns: int) -> None:
        """Advance with the present inputs, or because a limit is over."""
        course = self.course
        course.note_inputs()
        if silent := self._silent(now_ns):
            self._without_inputs(silent, now_ns)
        elif self.state is State.OFF:
            self._step_off(now_ns)
        elif self.state is State.PRECHARGE:
            self._precharge.step(now_ns)
        elif self.state in CONNECTED:
            self._connection.step(now_ns)
        else:
            self._step_disconnected(now_ns)
        if now_ns - course.since_ns > course.limit_s() * NS_PER_S:
            self._after_limit(now_ns)

    def _without_inputs(self, silent: str, now_ns: int) -> None:
        course = self.course
        if self.state in (State.PRECHARGE, *CONNECTED):
            course.fail(now_ns, f"silence of {silent}")
        elif self.state in (State.STANDBY, State.REST):
            course.want(OPEN)
            course.go(OFF, now_ns, f"waiting for {silent}")
        elif self.state is State.OFF:
            course.text = f"waiting for {silent}"

    def _step_off(self, now_ns: int) -> None:
        # The first wish that switch control receives after a start is void, so it must have had
        # one before a user's request may follow.
        if self.inputs.request_sequence == self.course.wish.sequence:
            self.course.go(Place(State.STANDBY, Substate.OPENING), now_ns, "ready")
        else:
            self.course.text = "waiting for switch control to hear the pack supervisor"

    def _step_disconnected(self, now_ns: int) -> None:
        is_open = self.inputs.configuration == OPEN
        if is_open is not (self.course.place.substate is Substate.OPEN):
            self._stay_in_state(Substate.OPEN if is_open else Substate.OPENING, now_ns)

    def _after_limit(self, now_ns: int) -> None:
        state, substate = self.course.place
        if substate is not Substate.OPENING:
            (self._precharge if state is State.PRECHARGE else self._connection).after_limit(now_ns)
        elif state is State.ERROR:
            self._stay_in_state(Substate.NOT_OPEN, now_ns)
        else:
            configuration = self.inputs.configuration
            self.course.fail(
                now_ns, f"the contactors did not open in time, they are {configuration}"
            )

    def _stay_in_state(self, substate: Substate, now_ns: int) -> None:
        self.course.go(Place(self.state, substate), now_ns, self.course.text)

    def _silent(self, now_ns: int) -> str:
        return self.inputs.silent(now_ns, self.course.limits.input_stale_s)
