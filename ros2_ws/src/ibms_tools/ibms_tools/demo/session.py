# SPDX-License-Identifier: Apache-2.0
"""The course of the demo: wait for the nodes, ask for drive, inject, end. Never blocks."""

from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, Clock
from ibms_bringup.launcher import Launch
from ibms_msgs.msg import PackState
from ibms_msgs.srv import ClearFaults, InjectFault, RequestPackState
from ibms_tools.demo.arguments import Options
from ibms_tools.demo.playback import Playback
from ibms_tools.demo.trip import Trip
from ibms_tools.view import words
from ibms_tools.view.observer import Observer
from ibms_tools.view.picture import Picture

START_LIMIT_S = 30.0
_DRIVE_LIMIT_S = 15.0
_RETRY_NS = NS_PER_S // 2


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why."""


class Phase(Enum):
    """What the demo is doing, in words."""

    STARTING = "starting"
    REQUESTING = "asking"
    RUNNING = "running"


class Session:
    """Leads the graph from its start to the end of the demo.

    Args:
        options: what to do.
        observer: the node that looks on; its services are used.
        launch: the running processes.
        clock: the machine's clock.
        start_ns: when the demo was called.
        playback: where measured cells are replayed.
    """

    def __init__(
        self,
        options: Options,
        observer: Observer,
        launch: Launch,
        clock: Clock,
        start_ns: int,
        playback: Playback | None,
    ) -> None:
        self.phase = Phase.STARTING
        self.trips = [Trip(injection) for injection in options.injections]
        self.active_s: float | None = None
        self.drive_ns: int | None = None
        self.drive_s: float | None = None
        self.clearings = 0  # of faults before drive was reached
        self.goal = PackState.STATE_CHARGE if options.charge else PackState.STATE_DRIVE
        self.goal_name = words.STATES[self.goal]
        self._charger: list[str] = []
        self.playback = playback
        self._options = options
        self._observer = observer
        self._launch = launch
        self._clock = clock
        self._start_ns = start_ns
        self._phase_ns = start_ns
        self._asked_ns = 0
        self._answer: Future | None = None
        self._refusal = ""
        observer.on_message("events", lambda m: self._to_trips(Trip.on_event, m))
        observer.on_message("switch/command", lambda m: self._to_trips(Trip.on_command, m))
        observer.on_message("switch/state", self._on_switch)
        if options.charge:
            observer.on_message("charger/state", self._on_charger)
        if playback is not None:
            observer.on_message("cells/state", self._on_cells)

    @property
    def words(self) -> str:
        """The phase for people."""
        if self.phase is Phase.STARTING:
            states = list(self._observer.node_states.values())
            return f"starting: {states.count('active')} of {len(states) or '?'} nodes active"
        if self.phase is Phase.REQUESTING:
            return f"asking for {self.goal_name}" + (f": {self._refusal}" if self._refusal else "")
        return str(self.phase.value)

    def elapsed_s(self) -> float:
        """Time in drive or charge, before that time since the start."""
        since_ns = self._start_ns if self.drive_ns is None else self.drive_ns
        return (self._clock.boot_ns() - since_ns) / NS_PER_S

    def notes(self) -> list[str]:
        """What was or will be injected, and what the charger does."""
        return [*self._charger, *(trip.note() for trip in self.trips)]

    def step(self, picture: Picture) -> bool:
        """Go on; returns False when the demo is over.

        Raises:
            DemoError: if the graph does not come up, the pack does not drive or a process ended.
        """
        now_ns = self._clock.boot_ns()
        if self._launch.failures:
            raise DemoError("a process ended that must not: " + self._launch.failures[0])
        if self.phase is Phase.STARTING:
            self._start(now_ns)
        elif self.phase is Phase.REQUESTING:
            self._request(picture, now_ns)
        else:
            self._inject(picture, now_ns)
            return not self._is_over()
        return True

    def verdict(self, last: Picture | None) -> str:
        """What went wrong with the pack itself; empty if it reached the end or was to trip."""
        if self.drive_ns is None or self.trips or last is None:
            return ""
        if last.state is None:
            return "the pack's state is not known any more"
        if not self.has_left(last):
            return ""
        cause = last.diagnoses.get(last.state.cause, "no diagnosis")
        return f"the pack left {self.goal_name}: {last.state.text} (cause: {cause})"

    def has_left(self, last: Picture) -> bool:
        """Whether the pack was in drive or charge and is not any more."""
        return (
            self.drive_ns is not None and last.state is not None and last.state.state != self.goal
        )

    def _is_over(self) -> bool:
        duration_s = self._options.duration_s
        if self.playback is not None and self.playback.has_ended:
            return True
        return duration_s is not None and self.elapsed_s() >= duration_s

    def _start(self, now_ns: int) -> None:
        passed_s = (now_ns - self._start_ns) / NS_PER_S
        if self._observer.all_active():
            self.active_s = passed_s
            self._enter(Phase.REQUESTING, now_ns)
        elif passed_s > START_LIMIT_S:
            states = self._observer.node_states
            waiting = ", ".join(name for name, state in states.items() if state != "active")
            raise DemoError(
                f"after {START_LIMIT_S:g} s not all nodes are active: "
                f"{waiting or 'the lifecycle manager has not reported'}"
            )

    def _request(self, picture: Picture, now_ns: int) -> None:
        state = None if picture.state is None else picture.state.state
        if state == self.goal:
            self.drive_ns, self.drive_s = now_ns, (now_ns - self._phase_ns) / NS_PER_S
            self._observer.count_losses_anew()
            self._enter(Phase.RUNNING, now_ns)
            return
        if (now_ns - self._phase_ns) / NS_PER_S > _DRIVE_LIMIT_S:
            text = "its state is unknown"
            if picture.state is not None:
                text = (
                    f"it is in state {words.STATES.get(picture.state.state)}: {picture.state.text}"
                )
            raise DemoError(f"the pack does not reach {self.goal_name}, {text}. {self._refusal}")
        if self._answer is not None and self._answer.done():
            response, self._answer = self._answer.result(), None
            self._refusal = "" if response.success else response.message
        if state is None or now_ns - self._asked_ns <= _RETRY_NS:
            return
        self._asked_ns = now_ns
        if state in (PackState.STATE_OFF, PackState.STATE_STANDBY):
            self._ask(self.goal)
        elif state == PackState.STATE_ERROR:
            # A computer that is busy with starting may be late once, which opens the pack.
            self.clearings += 1
            self._observer.call("clear_faults", ClearFaults.Request())
            self._ask(PackState.STATE_STANDBY)

    def _ask(self, state: int) -> None:
        request = RequestPackState.Request(state=state, requester="demo")
        self._answer = self._observer.call("request_pack_state", request)

    def _inject(self, picture: Picture, now_ns: int) -> None:
        for trip in self.trips:
            if trip.sent_ns is None and self.elapsed_s() >= trip.injection.at_s:
                trip.sent_ns = now_ns
                request = InjectFault.Request(
                    fault=trip.injection.fault.name,
                    element=trip.injection.element,
                    value=trip.injection.value,
                )
                future = self._observer.call("inject_fault", request)
                future.add_done_callback(lambda done, trip=trip: _answered(trip, done))
            if trip.sent_ns is not None and picture.state is not None:
                name = words.STATES.get(picture.state.state, str(picture.state.state))
                trip.state = f"{name} ({picture.state.text})"

    def _enter(self, phase: Phase, now_ns: int) -> None:
        self.phase, self._phase_ns = phase, now_ns

    def _to_trips(self, take: Callable[[Trip, Any], None], message: Any) -> None:
        for trip in self.trips:
            take(trip, message)

    def _on_switch(self, message: Any) -> None:
        self._to_trips(Trip.on_switch, message)
        if self.playback is not None:
            self.playback.on_switch(message)

    def _on_charger(self, message: Any) -> None:
        gives = ""
        if message.output_current_a == message.output_current_a:
            gives = f"; gives {message.output_current_a:.1f} A at {message.output_voltage_v:.1f} V"
        self._charger = [f"charger: {message.text}{gives}"]

    def _on_cells(self, message: Any) -> None:
        state = self._observer.feeds["pack/state"].latest()
        if self.playback is not None and state is not None:
            connected = state.state == PackState.STATE_DRIVE and not state.zero_current_requested
            if connected and np.size(message.soc):
                self.playback.on_cells(message, self._observer.feeds["pack/measurement"].latest())


def _answered(trip: Trip, future: Future) -> None:
    response = future.result()
    if not response.success:
        trip.problem = response.message
