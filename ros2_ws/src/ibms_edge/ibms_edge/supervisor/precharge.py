# SPDX-License-Identifier: Apache-2.0
"""Precharge: arming, charging the link, closing; tried again for causes that may pass."""

import math

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.supervisor.connection import Connection
from ibms_edge.supervisor.course import Course, name_of
from ibms_edge.supervisor.inputs import words
from ibms_edge.supervisor.states import ATTEMPT, Place, State, Substate
from ibms_edge.supervisor.strings import Strings
from ibms_edge.supervisor.topology import OPEN, PRECHARGING, transitions_of, way_between
from ibms_edge.switching.exchange import Reason


class Precharge:
    """Moves of a pack on its way to connected.

    Attributes:
        attempt: number of the present or last attempt, from 1.
    """

    def __init__(
        self, pack: Pack, course: Course, strings: Strings, connection: Connection
    ) -> None:
        self.attempt = 0
        self._pack = pack
        self._course = course
        self._strings = strings
        self._connection = connection
        way = way_between(pack.switching, OPEN, PRECHARGING)
        self._needs_empty_link = any(
            step.requires_link_discharged for step in transitions_of(pack.switching, way)
        )
        self._heated_ns: int | None = None  # when the resistor last carried current for nothing

    def begin(self, target: State, now_ns: int) -> None:
        """A user wants to be connected."""
        self._course.target = target
        self.attempt = 0
        self._begin_attempt(now_ns)

    def what_to_wait_for(self, now_ns: int) -> str:
        """What only time brings before closing may begin; "" if nothing."""
        if self._heated_ns is not None:
            waited_s = (now_ns - self._heated_ns) / NS_PER_S
            if (cooling_s := self._course.limits.pause_s - waited_s) > 0.0:
                return f"the precharge resistor has to cool for another {cooling_s:.1f} s"
        # A charged link would be taken for a welded contactor.
        inputs = self._course.inputs
        cells_v = inputs.string_voltage_v[0] if len(inputs.string_voltage_v) else math.nan
        if self._needs_empty_link and not self._pack.link_is_discharged(
            cells_v, inputs.link_voltage_v
        ):
            limit_v = self._pack.precharge.discharged_ratio * cells_v
            return (
                f"the link has to discharge below {limit_v:.0f} V, it has "
                f"{inputs.link_voltage_v:.0f} V"
            )
        return ""

    def step(self, now_ns: int) -> None:
        """Advance with the present inputs."""
        course, inputs = self._course, self._course.inputs
        if course.place.substate in (Substate.PRECHARGING, Substate.CLOSING):
            self._heated_ns = now_ns
        if fault := inputs.latched_fault:
            course.fail(now_ns, f"protection forbids closing: {fault}")
        elif course.place.substate is Substate.OPENING:
            if inputs.configuration == OPEN:
                course.go(Place(State.PRECHARGE, Substate.PAUSE), now_ns, course.text)
        elif course.place.substate is Substate.PAUSE:
            has_paused = course.waited_s(now_ns) >= course.limits.pause_s
            if has_paused and not self._obstacle(now_ns):
                self._begin_attempt(now_ns)
        elif inputs.forbids:
            self._attempt_failed(now_ns, f"protection forbids closing: {inputs.standing()}")
        elif inputs.is_overtaken(course.wish):
            text = f"switch control opened: {words(inputs.open_reason)}"
            if inputs.open_reason is Reason.PROTECTION:
                self._attempt_failed(now_ns, text)
            else:  # the chain was broken: closing needs a new request
                course.fail(now_ns, text)
        else:
            self._go_on(now_ns)

    def after_limit(self, now_ns: int) -> None:
        """The present substate has lasted too long."""
        course, substate = self._course, self._course.place.substate
        if substate is Substate.CLOSING and self._strings.carry(course.inputs.configuration):
            self._connect(now_ns)
        elif substate in ATTEMPT:
            self._attempt_failed(now_ns, self._what_took_too_long(now_ns))
        else:
            course.fail(now_ns, f"no further attempt: {self._obstacle(now_ns)}")

    def _go_on(self, now_ns: int) -> None:
        # A fault that is still being debounced only holds closing back, within the time limits.
        course, inputs = self._course, self._course.inputs
        substate, target = course.place.substate, name_of(course.target)
        if substate is Substate.ARMING:
            if inputs.configuration == PRECHARGING:
                self._heated_ns = now_ns
                place = Place(State.PRECHARGE, Substate.PRECHARGING)
                course.go(place, now_ns, f"precharging for {target}, {self._count}")
        elif inputs.configuration == OPEN:
            reason = words(inputs.open_reason)
            course.fail(now_ns, f"the switch board opened by itself ({reason})")
        elif substate is Substate.PRECHARGING:
            if inputs.configuration == PRECHARGING and not self._what_is_missing(now_ns):
                course.want_within_request(self._strings.all_connected)
                place = Place(State.PRECHARGE, Substate.CLOSING)
                course.go(place, now_ns, f"closing for {target}")
        elif inputs.configuration == self._strings.all_connected:
            self._connect(now_ns)

    def _obstacle(self, now_ns: int) -> str:
        course = self._course
        return course.inputs.obstacle_to_closing(course.wish) or self.what_to_wait_for(now_ns)

    def _connect(self, now_ns: int) -> None:
        self._heated_ns = None
        self._connection.connect(now_ns)

    def _begin_attempt(self, now_ns: int) -> None:
        course = self._course
        self.attempt += 1
        course.blame_nobody()
        course.want(PRECHARGING, arm=True)
        text = f"arming for {name_of(course.target)}, {self._count}"
        course.go(Place(State.PRECHARGE, Substate.ARMING), now_ns, text)

    def _attempt_failed(self, now_ns: int, text: str) -> None:
        """Causes that may pass: another attempt after a pause, until there were enough."""
        text = f"{text} ({self._count})"
        if self.attempt >= self._pack.precharge.attempts:
            self._course.fail(now_ns, text)
        else:
            self._course.want(OPEN)
            self._course.go(Place(State.PRECHARGE, Substate.OPENING), now_ns, text)

    @property
    def _count(self) -> str:
        return f"attempt {self.attempt} of {self._pack.precharge.attempts}"

    def _what_is_missing(self, now_ns: int) -> str:
        """Why the link is not precharged yet; "" when the main contactors may close.

        The current has to be no more than what the resistor lets flow at the remaining voltage
        difference: more means that something else than the resistor connects both sides, or that
        a consumer draws.
        """
        course, inputs = self._course, self._course.inputs
        pack_v, link_v = inputs.pack_voltage_v, inputs.link_voltage_v
        if not self._pack.precharge_is_complete(pack_v, link_v):
            return f"the link has {link_v:.1f} V of {pack_v:.1f} V"
        limit_a = (
            abs(pack_v - link_v) / self._pack.precharge.resistor_ohm
            + course.limits.precharge_tolerance_a
        )
        if not inputs.current_within(limit_a, now_ns):
            return f"the current is {inputs.current_a:.1f} A, allowed {limit_a:.1f} A"
        return ""

    def _what_took_too_long(self, now_ns: int) -> str:
        course, inputs = self._course, self._course.inputs
        limit_s = course.limit_s()
        held_back = "" if inputs.close_allowed else ", protection did not allow closing"
        if inputs.waiting_for:
            held_back += f", switch control waits for {inputs.waiting_for}"
        match course.place.substate:
            case Substate.ARMING:
                return f"the switches did not begin to close within {limit_s:.1f} s{held_back}"
            case Substate.PRECHARGING:
                missing = self._what_is_missing(now_ns)
                return f"precharge was not complete after {limit_s:.1f} s: {missing}{held_back}"
            case _:
                return f"the contactors did not close within {limit_s:.1f} s{held_back}"
