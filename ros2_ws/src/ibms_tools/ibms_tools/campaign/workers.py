# SPDX-License-Identifier: Apache-2.0
"""Runs cases: worker processes bring a closed loop to each pack state once and copy it per case."""

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from itertools import groupby
from multiprocessing.connection import Connection, wait
from pathlib import Path

import msgspec
import rclpy
from rclpy.context import Context

from ibms_battery.pack import load_pack
from ibms_battery.threads import die_with_parent
from ibms_msgs.msg import PackState
from ibms_sim.configuration import Profile, Simulation, load_simulation
from ibms_tools.campaign.case import Case
from ibms_tools.campaign.closed_loop import ClosedLoop
from ibms_tools.campaign.forking import ForkError, in_a_copy
from ibms_tools.campaign.provocations import EARLIER_FAULT, LOAD_A_PER_CELL, PROVOCATIONS
from ibms_tools.campaign.trial import Outcome, Trial

_SETTLE_S = 5.0  # in standby, before anything else
_IN_STATE_S = 1.0
_CASE_LIMIT_S = 300.0  # of wall time
_LOAD_PERIOD_S = 4.0
_PAYLOAD_STATES = {
    "drive": PackState.STATE_DRIVE,
    "charge": PackState.STATE_CHARGE,
    "precharge": PackState.STATE_DRIVE,
    "rest": PackState.STATE_REST,
}
_SET_UP_S = 10.0  # what a part of the cases costs beside them, in virtual time
_PARTS_PER_WORKER = 6  # at least: none is larger than that
_LoopKey = tuple[str, str, bool]


def run_cases(config: Path, cases: Sequence[Case], jobs: int) -> Iterator[Outcome]:
    """Outcomes of ``cases``, as they come, from ``jobs`` processes.

    A case whose worker ends before it has failed.
    """
    context = multiprocessing.get_context("spawn")
    connections: list[Connection] = []
    processes = []
    left = {case.number: case for case in cases}
    with tempfile.TemporaryDirectory(prefix="ibms_campaign_") as folder:
        for job, share in enumerate(shares(cases, jobs)):
            receiving, sending = context.Pipe(duplex=False)
            own_folder = Path(folder) / str(job)
            process = context.Process(
                target=_work, args=(os.getpid(), config, share, own_folder, sending)
            )
            process.start()
            sending.close()
            connections.append(receiving)
            processes.append(process)
        try:
            while connections:
                for connection in wait(connections):
                    assert isinstance(connection, Connection)
                    try:
                        outcome: Outcome = connection.recv()
                    except EOFError:
                        connections.remove(connection)
                        continue
                    del left[outcome.case.number]
                    yield outcome
        finally:
            is_given_up = bool(connections)
            for connection in connections:
                connection.close()
            for process in processes:
                if is_given_up:
                    process.terminate()
                process.join()
    for case in left.values():
        yield Outcome(case, ("not run: its worker ended early",))


def shares(cases: Sequence[Case], jobs: int) -> list[list[Case]]:
    """The cases of each worker: those that begin alike together, the largest parts dealt first."""
    parts: list[list[Case]] = []
    whole_s = sum(map(_cost_s, cases))
    for _, group in groupby(sorted(cases, key=_group_of), key=_group_of):
        part: list[Case] = []
        for case in group:
            if sum(map(_cost_s, part)) > whole_s / (jobs * _PARTS_PER_WORKER):
                parts.append(part)
                part = []
            part.append(case)
        parts.append(part)
    dealt: list[list[Case]] = [[] for _ in range(jobs)]
    load_s = [0.0] * jobs
    for part in sorted(parts, key=lambda part: -sum(map(_cost_s, part))):
        least = load_s.index(min(load_s))
        dealt[least] += part
        load_s[least] += sum(map(_cost_s, part)) + _SET_UP_S + part[0].warm_up_s
    return [sorted(share, key=_group_of) for share in dealt if share]


def _cost_s(case: Case) -> float:
    return case.watch_s + 1.0


def _loop_of(case: Case) -> _LoopKey:
    """What cases share that begin from the same loop: pack and load."""
    return case.pack, load_of(case.state), case.is_stubborn


def _group_of(case: Case) -> tuple[_LoopKey, tuple[str, float]]:
    """What cases share that begin from the same state of the same loop."""
    return _loop_of(case), _state_of(case)


def load_of(state: str) -> str:
    """Name of the load that goes with a pack state."""
    return "charge" if state == "charge" else "drive"


def _state_of(case: Case) -> tuple[str, float]:
    """What cases share that begin from the same state of a loop."""
    return case.state, case.warm_up_s


def _work(
    parent: int, config: Path, cases: Sequence[Case], folder: Path, connection: Connection
) -> None:
    die_with_parent(parent)
    folder.mkdir()
    context = Context()
    rclpy.init(args=[], context=context)
    for (pack, load, is_stubborn), of_loop in groupby(cases, key=_loop_of):
        simulation = simulation_with(config, pack, load, is_stubborn, folder)
        loop = ClosedLoop(
            config / "packs" / f"{pack}.yaml", simulation, config / "simulation", context
        )
        loop.run(_SETTLE_S)
        for (state, warm_up_s), group in groupby(of_loop, key=_state_of):
            chosen = list(group)
            try:
                in_a_copy(
                    lambda loop=loop, state=state, warm_up_s=warm_up_s, chosen=chosen: _run_group(  # type: ignore[misc]
                        loop, state, warm_up_s, chosen, connection
                    ),
                    _CASE_LIMIT_S * (len(chosen) + 1),
                )
            except ForkError:  # its cases are missed by who waits for them
                traceback.print_exc()
        loop.close()
    connection.close()
    context.try_shutdown()


def simulation_with(
    config: Path, pack: str, load: str, is_stubborn: bool, folder: Path
) -> Simulation:
    """The simulated pack, with a load that moves so that resistances can be learnt."""
    parallel = load_pack(config / "packs" / f"{pack}.yaml").parallel
    high_a, low_a = (current_a * parallel for current_a in LOAD_A_PER_CELL[load])
    half_s, step_s = _LOAD_PERIOD_S / 2, 0.1
    points = [
        (0.0, high_a),
        (half_s - step_s, high_a),
        (half_s, low_a),
        (_LOAD_PERIOD_S - step_s, low_a),
        (_LOAD_PERIOD_S, high_a),
    ]
    path = folder / f"{pack}_{load}.csv"
    path.write_text("time_s,current_a\n" + "".join(f"{t},{a}\n" for t, a in points))
    base = load_simulation(config / "simulation" / "robot.yaml")
    return msgspec.structs.replace(base, load=Profile(str(path), not is_stubborn))


def _run_group(
    loop: ClosedLoop, state: str, warm_up_s: float, cases: Sequence[Case], connection: Connection
) -> None:
    """Bring the loop to a state, then run each case in a copy of it."""
    problem = bring_to(loop, state)
    if not problem and state != "precharge":
        loop.run(max(_IN_STATE_S, warm_up_s))
        problem = _left(loop, state)
    for case in cases:
        if problem:
            connection.send(Outcome(case, (f"the case could not begin: {problem}",)))
            continue
        try:
            outcome = in_a_copy(lambda case=case: _run(loop, case), _CASE_LIMIT_S)  # type: ignore[misc]
        except ForkError as error:
            outcome = Outcome(case, (f"hang or crash: {error}",))
        connection.send(outcome)


def _run(loop: ClosedLoop, case: Case) -> Outcome:
    try:
        return Trial(loop, case).run()
    except Exception:  # noqa: BLE001 - whatever it is, it is this case's failure
        return Outcome(case, (f"crash: {traceback.format_exc()}",))


def bring_to(loop: ClosedLoop, state: str) -> str:
    """Bring a settled loop to a pack state; returns what stands against it."""
    if state == "error":
        return bring_to(loop, "drive") or _open_for_a_fault(loop)
    wanted = _PAYLOAD_STATES.get(state)
    if wanted is None:
        return _left(loop, state)
    answer = loop.request(wanted)
    if not answer.success:
        return str(answer.message)
    if state == "precharge":
        loop.run(1.0, until=lambda: bool(loop.conducting))
        return "" if loop.conducting else "precharge did not begin"
    loop.run(6.0, until=lambda: bool(loop.newest["pack/state"].state == wanted))
    return _left(loop, state)


def _open_for_a_fault(loop: ClosedLoop) -> str:
    """Open for a fault that is over again, but stays until somebody acknowledges it."""
    steps = PROVOCATIONS[EARLIER_FAULT].steps
    for is_over in (False, True):
        for step in steps:
            loop.inject(step.name, remove=is_over)
        loop.run(_IN_STATE_S)
    return _left(loop, "error")


def _left(loop: ClosedLoop, state: str) -> str:
    now: PackState = loop.newest["pack/state"]
    if now.state == getattr(PackState, f"STATE_{state.upper()}"):
        return ""
    return f"the pack is in state {now.state} instead of {state}: {now.text}"
