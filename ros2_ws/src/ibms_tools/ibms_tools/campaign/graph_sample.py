# SPDX-License-Identifier: Apache-2.0
"""Runs cases through the running graph over CAN, in real time, and compares the outcomes."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

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


@dataclass
class RealOutcome:
    """What happened to a case in the running graph."""

    case: Case
    reaction: int = 0
    first_cause: int = 0
    opened: bool = False
    active: set[int] = field(default_factory=set)  # diagnoses seen active
    held_up: bool = False  # the computer kept protection's loop from running
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
            found.append(
                f"reaction {real.reaction} (active: {sorted(real.active)}), "
                f"virtually {virtual.reaction}"
            )
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
    """The first ``count`` cases of a pack that real time has room for.

    Precharge is left out: it is over before a computer that is in use can be sure to do something
    in it.
    """
    chosen = (
        case
        for case in cases
        if case.pack == pack
        and case.state in _STATES
        and case.watch_s <= _LONGEST_S
        and not case.warm_up_s
        and not case.is_stubborn
        and all(deed.action in ("inject", "request") for deed in case.deeds)
    )
    return list(itertools.islice(chosen, count))


def run_in_new_graph(
    config: Path, case: Case, domain: int, channel: str, folder: Path
) -> RealOutcome:
    """One case in a graph of its own, with the pack and load that the virtual loop has.

    Anything less would carry over what protection has learned of the cells, a charged link and
    currents that an inverse-time curve remembers.
    """
    simulation = simulation_with(config, case.pack, load_of(case.state), False, folder)
    document: dict[str, Any] = msgspec.to_builtins(simulation)
    document["plant"]["cell"] = str(config / "simulation" / document["plant"]["cell"])
    path = folder / "simulation.yaml"
    path.write_text(yaml.safe_dump(document))
    with PackUnderTest(case.pack, domain, channel, folder, {"simulation": str(path)}) as running:
        running.wait_for_standby()
        running.wait_for_all_active()
        return run_in_graph(running, case)


def run_in_graph(running: PackUnderTest, case: Case) -> RealOutcome:
    """Bring the pack to the case's state, do its deeds and watch."""
    outcome = RealOutcome(case)
    try:
        running.go_to(_STATES[case.state])
        _watch(running, case, outcome)
    except NotReachedError as error:
        standing = list(running.status.active_diagnosis) if running.status is not None else []
        what = str(error).partition(", last events")[0]
        outcome.problem = f"not done: {what}; active: {standing}"
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
            outcome.active.update(status.active_diagnosis)
        time.sleep(0.002)
    overrun = running.table.named("loop_overrun")
    outcome.held_up = overrun is not None and overrun.id in outcome.active
    closed = was_closed
    while not running.can.events.empty():
        event = running.can.events.get_nowait()
        closed = closed or event["event"] == "closed"
        # The contacts themselves, too: a board may open without being able to say so.
        opened = event["event"] in ("opened", "contacts_open")
        outcome.opened = outcome.opened or (closed and opened)


def _do(running: PackUnderTest, deed: Any) -> None:
    if deed.action == "request":
        response = running.request(int(deed.name))
        if not response.success:
            raise NotReachedError(f"request refused: {response.message}")
        return
    answer = running.injection.inject(deed.name, deed.element, deed.value, count=deed.count)
    if not answer.success:
        raise NotReachedError(answer.message)
