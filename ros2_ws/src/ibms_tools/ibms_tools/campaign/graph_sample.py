# SPDX-License-Identifier: Apache-2.0
"""Runs cases through the running graph over CAN, in real time, and compares the outcomes."""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ibms_battery.results import Result
from ibms_edge.protection.table import Reaction
from ibms_msgs.msg import PackState
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest
from ibms_tools.campaign.case import Case
from ibms_tools.campaign.trial import Outcome
from ibms_tools.campaign.workers import load_of, simulation_with

_STATES = {
    "standby": PackState.STATE_STANDBY,
    "rest": PackState.STATE_REST,
    "drive": PackState.STATE_DRIVE,
    "charge": PackState.STATE_CHARGE,
}
_CLOSED = (PackState.STATE_DRIVE, PackState.STATE_CHARGE)
_LONGEST_S = 7.0  # of a case that is taken
_LATER_S = 0.5  # on a real computer, and until all have told
_RECOVERY_S = 20.0
# What they do to the cells does not end with them, so that no further case could follow.
_LASTING = frozenset({"temperature_rate", "runaway", "internal_short"})


@dataclass
class RealOutcome:
    """What happened to a case in the running graph."""

    case: Case
    reaction: int = 0
    first_cause: int = 0
    opened: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """A case both ways."""

    virtual: Outcome
    real: RealOutcome

    @property
    def differences(self) -> list[str]:
        """What is not the same; of several right causes each may come first."""
        virtual, real = self.virtual, self.real
        if real.problem:
            return [real.problem]
        found = []
        if virtual.reaction != real.reaction:
            found.append(f"reaction {real.reaction}, virtually {virtual.reaction}")
        if (virtual.opened_s is not None) != real.opened:
            found.append(f"opened {real.opened}, virtually {virtual.opened_s is not None}")
        right = virtual.case.causes
        if virtual.first_cause != real.first_cause and not {
            virtual.first_cause,
            real.first_cause,
        } <= set(right):
            found.append(f"first cause {real.first_cause}, virtually {virtual.first_cause}")
        return found


def suitable(cases: Sequence[Case], pack: str, count: int) -> list[Case]:
    """The first ``count`` cases that a pack can go through one after the other in real time.

    Those with the same load come together. Precharge is left out: it is over before a computer that
    is in use can be sure to do something in it.
    """
    chosen = [
        case
        for case in cases
        if case.pack == pack
        and case.state in _STATES
        and case.watch_s <= _LONGEST_S
        and not case.warm_up_s
        and not case.is_stubborn
        and all(deed.action in ("inject", "request") for deed in case.deeds)
        and not any(deed.name in _LASTING for deed in case.deeds)
    ]
    return sorted(chosen[:count], key=lambda case: load_of(case.state))


class GraphSample:
    """Context: the graph, started anew where one case left something that the next cannot have.

    What protection learns of the cells outlasts a case: a reading that was wrong for a while makes
    the others look wrong for minutes. A fault that cannot be cleared or a supervisor that hangs
    would look the same, so each such start is told with its reason.
    """

    def __init__(self, config: Path, pack: str, domain: int, channel: str, folder: Path) -> None:
        self.restarts: list[str] = []
        self._start = functools.partial(_graph_of, config, pack, domain, channel, folder)
        self._stack = ExitStack()
        self._running: PackUnderTest | None = None
        self._load = ""

    def __enter__(self) -> "GraphSample":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, case: Case) -> RealOutcome:
        """One case; once more in a new graph if the old one could not go through it."""
        load = load_of(case.state)
        if self._running is not None and self._load == load:
            outcome = run_in_graph(self._running, case)
            if not outcome.problem:
                return outcome
            self.restarts.append(f"{case.number} {case.name}: {outcome.problem}")
            print(f"a new graph for {self.restarts[-1]}", flush=True)
        self._stack.close()
        self._running, self._load = self._stack.enter_context(self._start(load)), load
        return run_in_graph(self._running, case)


def restarts_result(restarts: Sequence[str]) -> Result:
    """How often the graph had to be started anew, and for which cases."""
    return Result("campaign.graph.restarts", len(restarts), "1", None, "; ".join(restarts))


@contextmanager
def _graph_of(
    config: Path, pack: str, domain: int, channel: str, folder: Path, load: str
) -> Iterator[PackUnderTest]:
    """The graph with the pack and load that the virtual loop has."""
    simulation = simulation_with(config, pack, load, False, folder)
    document: dict[str, Any] = msgspec.to_builtins(simulation)
    document["plant"]["cell"] = str(config / "simulation" / document["plant"]["cell"])
    path = folder / "simulation.yaml"
    path.write_text(yaml.safe_dump(document))
    with PackUnderTest(pack, domain, channel, folder, {"simulation": str(path)}) as running:
        running.wait_for_standby()
        running.wait_for_all_active()
        yield running


def run_in_graph(running: PackUnderTest, case: Case) -> RealOutcome:
    """Bring the pack to the case's state, do its deeds, watch, and take the faults away."""
    outcome = RealOutcome(case)
    try:
        _bring_to(running, case.state)
        _watch(running, case, outcome)
    except NotReachedError as error:
        standing = list(running.status.active_diagnosis) if running.status is not None else []
        what = str(error).partition(", last events")[0]
        outcome.problem = f"not done: {what}; active: {standing}"
    for deed in case.deeds:
        if deed.action == "inject":
            running.injection.inject(deed.name, deed.element, remove=True)
    return outcome


def _watch(running: PackUnderTest, case: Case, outcome: RealOutcome) -> None:
    was_closed = running.state in _CLOSED
    time.sleep(case.phase_s)
    running.can.clear()
    start_s = time.monotonic()
    waiting = list(case.deeds)
    end_s = case.watch_s + _LATER_S
    while (now_s := time.monotonic() - start_s) < end_s:
        while waiting and waiting[0].at_s <= now_s:
            _do(running, waiting.pop(0))
        status = running.status
        if status is not None:
            if outcome.reaction < Reaction.ISOLATE:  # what opens may escalate afterwards
                outcome.reaction = max(outcome.reaction, status.reaction)
            outcome.first_cause = outcome.first_cause or status.first_cause
        time.sleep(0.002)
    closed = was_closed
    while not running.can.events.empty():
        event = running.can.events.get_nowait()
        closed = closed or event["event"] == "closed"
        outcome.opened = outcome.opened or (closed and event["event"] == "opened")


def _do(running: PackUnderTest, deed: Any) -> None:
    if deed.action == "request":
        running.request(int(deed.name))
        return
    answer = running.injection.inject(deed.name, deed.element, deed.value, count=deed.count)
    if not answer.success:
        raise NotReachedError(answer.message)


def _bring_to(running: PackUnderTest, state: str) -> None:
    """Acknowledge everything, also by name, and go to ``state``."""
    if running.state in _CLOSED and running.status is not None and running.status.active_diagnosis:
        running.go_to(PackState.STATE_STANDBY)  # faults are cleared only while it is open
    running.wait_until("faults cleared", functools.partial(_cleared, running), _RECOVERY_S)
    running.go_to(_STATES[state])


def _cleared(running: PackUnderTest) -> bool:
    status = running.status
    if status is None or not running.is_judged():
        return False
    if not len(status.active_diagnosis) and status.close_allowed:
        return True
    if len(status.active_diagnosis):
        running.clear_faults(list(status.active_diagnosis))
    time.sleep(0.1)
    return False
