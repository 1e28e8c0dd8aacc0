# SPDX-License-Identifier: Apache-2.0
"""Drive and charge: connected, changing the wiring, and the way back over zero current."""

from ibms_edge.protection.table import Reaction
from ibms_edge.supervisor.course import Course, name_of
from ibms_edge.supervisor.inputs import words
from ibms_edge.supervisor.states import LEAVING, Place, State, Substate
from ibms_edge.supervisor.strings import Strings
from ibms_edge.supervisor.topology import OPEN


class Connection:
    """Moves of a connected pack."""

    def __init__(self, course: Course, strings: Strings) -> None:
        self._course = course
        self._strings = strings

    def connect(self, now_ns: int) -> None:
        """The consumer may draw, by all strings or by those that fit."""
        course = self._course
        reached = course.inputs.configuration
        missing = self._strings.missing(reached)
        course.want_within_request(reached)  # a further string joins on the machine's wish only
        left_out = f", without {', '.join(missing)}: the voltage does not fit" if missing else ""
        course.go(
            Place(course.target, Substate.CONNECTED),
            now_ns,
            f"{name_of(course.target)} as requested{left_out}",
        )

    def leave(self, wanted: State, now_ns: int) -> None:
        """A user asks for another state; a new target lengthens nothing."""
        course = self._course
        course.target = wanted
        if course.place.substate in LEAVING:
            course.text = f"{course.place.substate} before {name_of(wanted)}"
        else:
            waiting = Place(course.place.state, Substate.ZERO_CURRENT)
            course.go(waiting, now_ns, f"{waiting.substate} before {name_of(wanted)}")

    def step(self, now_ns: int) -> None:
        """Advance with the present inputs."""
        course, inputs = self._course, self._course.inputs
        if inputs.reaction >= Reaction.OPEN_NOW:
            course.fail(now_ns, f"protection demands opening: {inputs.standing()}")
        elif course.place.substate is Substate.OPENING:
            if inputs.configuration == OPEN:
                self._opened(now_ns)
        elif inputs.configuration == OPEN or inputs.is_opening:
            course.fail(now_ns, f"opened unasked: {words(inputs.open_reason)}")
        elif inputs.forbids and course.target is not State.ERROR:
            self._obey_protection(now_ns)
        elif course.place.substate is Substate.ZERO_CURRENT:
            is_zero = inputs.current_within(course.limits.zero_current_a, now_ns)
            if is_zero and course.waited_s(now_ns) > course.limits.zero_current_heard_s:
                self._open(now_ns)
        else:
            self._watch_wiring(now_ns)

    def after_limit(self, now_ns: int) -> None:
        """The present substate has lasted too long."""
        course = self._course
        if course.place.substate is Substate.ZERO_CURRENT:
            self._open(now_ns)
        elif self._strings.carry(course.inputs.configuration):
            self._strings.wait_anew()
            self.connect(now_ns)
        else:
            course.fail(now_ns, "the wiring did not settle in time")

    def _watch_wiring(self, now_ns: int) -> None:
        """Elements may be bypassed, and a string that was left out may join."""
        course, inputs = self._course, self._course.inputs
        is_rewiring = course.place.substate is Substate.REWIRING
        rewiring = Place(course.place.state, Substate.REWIRING)
        if not self._strings.carry(inputs.configuration):
            if not is_rewiring:
                course.go(rewiring, now_ns, course.text)
            return
        missing = self._strings.missing(inputs.configuration)
        may_join = bool(missing) and self._strings.may_join(inputs, now_ns)
        if may_join and not is_rewiring:
            course.want_within_request(self._strings.all_connected)
            course.go(rewiring, now_ns, f"connecting string {missing[0]}")
        elif not may_join and (is_rewiring or course.wish.configuration != inputs.configuration):
            self.connect(now_ns)

    def _obey_protection(self, now_ns: int) -> None:
        course = self._course
        course.target = State.ERROR
        text = f"protection asks for zero current, then opening: {course.inputs.standing()}"
        if course.place.substate is Substate.ZERO_CURRENT:
            course.text = text  # a further reason gives no further time
        else:
            course.go(Place(course.place.state, Substate.ZERO_CURRENT), now_ns, text)

    def _open(self, now_ns: int) -> None:
        course = self._course
        opening = Place(course.place.state, Substate.OPENING)
        text = f"{opening.substate} before {name_of(course.target)}"
        course.want(OPEN)
        course.go(opening, now_ns, course.text if course.target is State.ERROR else text)

    def _opened(self, now_ns: int) -> None:
        course = self._course
        if course.target is State.ERROR:
            course.fail(now_ns, "opened after zero current on demand of protection")
        else:
            target = Place(course.target, Substate.OPEN)
            course.go(target, now_ns, f"{name_of(course.target)} as requested")
