# SPDX-License-Identifier: Apache-2.0
"""Runs one case in a settled closed loop and judges what happened."""

from dataclasses import dataclass, field
from typing import Any

from ibms_edge.protection.table import Reaction
from ibms_msgs.msg import Event, PackState
from ibms_sim.faults import NO_ELEMENT
from ibms_tools.campaign.case import Case, Deed, Expected
from ibms_tools.campaign.closed_loop import ClosedLoop

_RESTING = (
    PackState.STATE_OFF,  # waits for what protection or the board have lost
    PackState.STATE_STANDBY,
    PackState.STATE_DRIVE,
    PackState.STATE_CHARGE,
    PackState.STATE_REST,
    PackState.STATE_ERROR,
    PackState.STATE_SHUTDOWN,
)
_CONTACTS_S = 0.1  # until they have followed the state
_SETTLE_S = 0.2  # after everything expected has happened
_LONGEST_TRANSITION_S = 20.0  # until the supervisor has to rest again
_EARLIEST_S = 1e-6


@dataclass(frozen=True)
class Outcome:
    """What happened in a case; times count from its first deed."""

    case: Case
    failures: tuple[str, ...] = ()
    detected_s: dict[int, float] = field(default_factory=dict)  # diagnosis -> first seen active
    opened_s: float | None = None
    first_cause: int = 0
    reaction: int = 0  # the first that opens, or the strongest that was demanded
    state: int = 0  # of the pack in the end
    text: str = ""


class Trial:
    """One case: does its deeds, watches, and says what is not as it has to be."""

    def __init__(self, loop: ClosedLoop, case: Case) -> None:
        self._loop = loop
        self._case = case
        self._start_s = 0.0
        self._detected_s: dict[tuple[int, int], float] = {}
        self._element: dict[tuple[int, int], int] = {}  # at that time
        self._told: set[tuple[int, int]] = set()  # diagnosis and element of events
        self._isolated_s: float | None = None
        self._opened_s: float | None = None
        self._closed_again_s: float | None = None
        self._first_cause = 0
        self._first_cause_element = NO_ELEMENT
        self._reaction = 0

    def run(self) -> Outcome:
        """Run it to its end."""
        loop, case = self._loop, self._case
        loop.run(case.phase_s)
        status = loop.newest["protection/status"]
        standing = set(status.active_diagnosis)
        if case.state == "error":
            standing -= {status.first_cause}
        if standing:
            return Outcome(case, (f"the case could not begin: faults stand: {sorted(standing)}",))
        was_closed = bool(loop.conducting)
        self._start_s = loop.now_s
        loop.heard = self._hear
        for deed in case.deeds:
            loop.run(max(deed.at_s - self._now_s, 0.0), self._look)
            self._do(deed)
        left_s = case.watch_s - self._now_s
        if loop.run(max(left_s, 0.0), self._look_for_the_end):
            loop.run(_SETTLE_S, self._look)
        if not self._supervisor_is_frozen:
            loop.run(_LONGEST_TRANSITION_S, self._look_for_rest)
            loop.run(_CONTACTS_S, self._look)
        return self._outcome(was_closed)

    @property
    def _now_s(self) -> float:
        return self._loop.now_s - self._start_s

    def _do(self, deed: Deed) -> None:
        loop = self._loop
        if deed.action == "inject":
            loop.inject(deed.name, deed.element, deed.value, deed.remove, deed.count)
        elif deed.action == "request":
            loop.request(int(deed.name))
        elif deed.action == "freeze":
            (loop.thaw if deed.remove else loop.freeze)(deed.name)
        elif deed.action == "second_publisher":
            loop.add_second_publisher(deed.name)
        else:
            loop.step_wall_time(deed.value)

    def _hear(self, topic: str, message: Any) -> None:
        if topic == "events" and message.kind == Event.KIND_FAULT_SET:
            self._told.add((message.diagnosis, message.element))
        if topic != "protection/status":
            return
        for identifier, level, element in zip(
            message.active_diagnosis, message.active_level, message.active_element, strict=True
        ):
            if (identifier, level) not in self._detected_s:
                self._detected_s[identifier, level] = max(self._now_s, _EARLIEST_S)
                self._element[identifier, level] = element
        if self._reaction < Reaction.ISOLATE:  # what opens may escalate afterwards
            self._reaction = max(self._reaction, message.reaction)
        if not self._first_cause:
            self._first_cause = message.first_cause
            self._first_cause_element = message.first_cause_element

    def _look(self) -> bool:
        """Follow the contacts and the wiring; never the end."""
        if self._isolated_s is None and any(self._loop.newest["switch/state"].isolated):
            self._isolated_s = self._now_s
        conducting = self._loop.conducting & ~self._case.welded
        if not conducting and self._opened_s is None:
            self._opened_s = self._now_s
        elif conducting and self._opened_s is not None and self._closed_again_s is None:
            self._closed_again_s = self._now_s
        return False

    def _look_for_the_end(self) -> bool:
        self._look()
        case = self._case
        if not case.expected or case.kind == "spike":
            return False
        seen = all((e.diagnosis, e.level) in self._detected_s for e in case.expected)
        return (
            seen
            and (case.opened_s is None or self._opened_s is not None)
            and (case.isolated_s is None or self._isolated_s is not None)
        )

    def _look_for_rest(self) -> bool:
        self._look()
        state: PackState = self._loop.newest["pack/state"]
        return state.state in _RESTING and not state.zero_current_requested

    # Judgement -----------------------------------------------------------------------------------

    def _outcome(self, was_closed: bool) -> Outcome:
        case, loop = self._case, self._loop
        state: PackState = loop.newest["pack/state"]
        opened_s = self._opened_s if was_closed or self._closed_again_s is not None else None
        failures = [
            *self._missed(),
            *self._contacts(was_closed),
            *self._isolated(),
            *self._cause(state),
            *self._standing(state),
        ]
        if not self._look_for_rest() and not self._supervisor_is_frozen:
            failures.append(f"hang: the pack is still in state {state.state} ({state.text})")
        detected_s: dict[int, float] = {}
        for (identifier, _), at_s in self._detected_s.items():
            detected_s[identifier] = min(at_s, detected_s.get(identifier, at_s))
        expected = {e.diagnosis: (e.diagnosis, e.level) for e in case.expected}
        detected_s |= {
            identifier: self._detected_s[key]
            for identifier, key in expected.items()
            if key in self._detected_s
        }
        return Outcome(
            case,
            tuple(failures),
            detected_s,
            opened_s,
            self._first_cause,
            self._reaction,
            state.state,
            state.text,
        )

    def _missed(self) -> list[str]:
        failures = []
        for wanted in self._case.expected:
            at_s = self._detected_s.get((wanted.diagnosis, wanted.level))
            if at_s is None:
                failures.append(f"missed: {wanted.name} is not active, active were {self._seen()}")
            elif at_s > wanted.detected_s:
                failures.append(
                    f"late: {wanted.name} after {at_s:.3f} s, latest {wanted.detected_s:.3f} s"
                )
            if at_s is not None:
                failures += self._wrong_element(wanted)
        failures += [
            f"judged where it does not apply: diagnosis {identifier}"
            for identifier in self._case.absent
            if any(key[0] == identifier for key in self._detected_s)
        ]
        return failures

    def _wrong_element(self, wanted: Expected) -> list[str]:
        named = {self._element[wanted.diagnosis, wanted.level]}
        if self._first_cause == wanted.diagnosis:
            named.add(self._first_cause_element)
        told = {element for identifier, element in self._told if identifier == wanted.diagnosis}
        if not told:
            return [f"not told: no event of {wanted.name}"]
        if wanted.element is None or named | told == {wanted.element}:
            return []
        return [f"wrong element: {wanted.name} of {sorted(named | told)}, not {wanted.element}"]

    def _seen(self) -> list[int]:
        return sorted({key[0] for key in self._detected_s})

    def _contacts(self, was_closed: bool) -> list[str]:
        case = self._case
        conducting = self._loop.conducting & ~case.welded
        if not case.opens:
            demanded = self._reaction >= Reaction.ISOLATE
            failures = [f"opening demanded, by diagnosis {self._first_cause}"] if demanded else []
            if was_closed and self._opened_s is not None and not self._asked_to_open():
                failures.append(f"opened without need after {self._opened_s:.3f} s")
            return failures
        if case.opened_s is None:
            return []
        failures = []
        if conducting:
            failures.append(f"not open in the end: contacts {conducting:b} conduct")
        elif was_closed and (self._opened_s is None or self._opened_s > case.opened_s):
            at = "never" if self._opened_s is None else f"after {self._opened_s:.3f} s"
            failures.append(f"opened {at}, latest {case.opened_s:.3f} s")
        if was_closed and self._closed_again_s is not None:
            failures.append(f"closed again after {self._closed_again_s:.3f} s")
        return failures

    def _asked_to_open(self) -> bool:
        return any(
            deed.action == "request" and int(deed.name) != PackState.STATE_DRIVE
            for deed in self._case.deeds
        )

    def _isolated(self) -> list[str]:
        """What has to be isolated is bypassed in time, nothing else is, and the rest drives on."""
        case, loop = self._case, self._loop
        if case.isolated_s is None:
            return []
        failures = []
        shown = loop.newest["switch/state"].isolated
        cells = [cell for cell, is_isolated in enumerate(shown) if is_isolated]
        if cells != sorted(case.isolated):
            failures.append(f"isolated are cells {cells}, not {sorted(case.isolated)}")
        elif self._isolated_s is not None and self._isolated_s > case.isolated_s:
            failures.append(
                f"isolated after {self._isolated_s:.3f} s, latest {case.isolated_s:.3f} s"
            )
        switching = loop.pack.switching
        main = switching.mask("closed")
        for bypass in switching.bypasses:
            main &= ~switching.mask_of(bypass.opens)
        if self._opened_s is not None or loop.conducting & main != main:
            failures.append("opened, though only an element had to be isolated")
        return failures

    @property
    def _supervisor_is_frozen(self) -> bool:
        return any(deed.name == "pack_supervisor" for deed in self._case.deeds)

    def _cause(self, state: PackState) -> list[str]:
        case = self._case
        failures = []
        if self._first_cause and self._first_cause not in case.causes:
            failures.append(f"wrong cause: {self._first_cause}, right were {sorted(case.causes)}")
        if state.cause and state.cause not in case.causes:
            failures.append(f"wrong cause in pack/state: {state.cause}")
        return failures

    def _standing(self, state: PackState) -> list[str]:
        """While a fault stands that opens, the pack says so, and closes for nobody."""
        status = self._loop.newest["protection/status"]
        if status.reaction < Reaction.OPEN_AFTER_ZERO_CURRENT or self._case.opened_s is None:
            return []
        if self._supervisor_is_frozen:
            return []
        if state.state in (PackState.STATE_DRIVE, PackState.STATE_CHARGE):
            return [f"a fault stands that opens the pack, which says state {state.state}"]
        if self._loop.request(PackState.STATE_DRIVE).success:
            return ["a request for drive was accepted while a fault stands that opens the pack"]
        return []
