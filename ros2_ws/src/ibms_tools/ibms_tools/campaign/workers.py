# SPDX-License-Identifier: Apache-2.0
"""Runs cases: worker processes bring a closed loop to each pack state once and copy it per case."""

import multiprocessing
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
from ibms_msgs.msg import PackState
from ibms_sim.configuration import Profile, Simulation, load_simulation
from ibms_tools.campaign.case import CampaignError, Case
from ibms_tools.campaign.closed_loop import ClosedLoop
from ibms_tools.campaign.forking import ForkError, in_a_copy
from ibms_tools.campaign.provocations import LOAD_A_PER_CELL
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
_LoopKey = tuple[bool, str, str, bool]


def run_cases(config: Path, cases: Sequence[Case], jobs: int) -> Iterator[Outcome]:
    """Outcomes of ``cases``, as they come, from ``jobs`` processes.

    Raises:
        CampaignError: if a worker ends without having done its part.
    """
    context = multiprocessing.get_context("spawn")
    ordered = sorted(cases, key=lambda case: (_loop_of(case), _state_of(case), case.number))
    connections: list[Connection] = []
    processes = []
    for job in range(jobs):
        receiving, sending = context.Pipe(duplex=False)
        # Every second case of each kind of loop: all workers then have about the same to do.
        process = context.Process(target=_work, args=(config, ordered[job::jobs], sending))
        process.start()
        sending.close()
        connections.append(receiving)
        processes.append(process)
    done = 0
    try:
        while connections:
            for connection in wait(connections):
                assert isinstance(connection, Connection)
                try:
                    outcome: Outcome = connection.recv()
                except EOFError:
                    connections.remove(connection)
                    continue
                done += 1
                yield outcome
    finally:
        for process in processes:
            process.join(0.0 if connections else 10.0)
            if process.is_alive():
                process.terminate()
    if done < len(cases):
        raise CampaignError(f"{len(cases) - done} cases were not run: a worker ended early")


def _loop_of(case: Case) -> _LoopKey:
    """What cases share that begin from the same loop: pack and load; the slow ones come last."""
    return case.warm_up_s > 0.0, case.pack, load_of(case.state), case.is_stubborn


def load_of(state: str) -> str:
    """Name of the load that goes with a pack state."""
    return "charge" if state == "charge" else "drive"


def _state_of(case: Case) -> tuple[str, float]:
    """What cases share that begin from the same state of a loop."""
    return case.state, case.warm_up_s


def _work(config: Path, cases: Sequence[Case], connection: Connection) -> None:
    context = Context()
    rclpy.init(args=[], context=context)
    with tempfile.TemporaryDirectory(prefix="ibms_campaign_") as folder:
        for (_, pack, load, is_stubborn), of_loop in groupby(cases, key=_loop_of):
            simulation = simulation_with(config, pack, load, is_stubborn, Path(folder))
            loop = ClosedLoop(
                config / "packs" / f"{pack}.yaml", simulation, config / "simulation", context
            )
            loop.run(_SETTLE_S)
            for (state, warm_up_s), group in groupby(of_loop, key=_state_of):
                chosen = list(group)
                in_a_copy(
                    lambda loop=loop, state=state, warm_up_s=warm_up_s, chosen=chosen: _run_group(  # type: ignore[misc]
                        loop, state, warm_up_s, chosen, connection
                    ),
                    _CASE_LIMIT_S * (len(chosen) + 1),
                )
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


def _left(loop: ClosedLoop, state: str) -> str:
    now: PackState = loop.newest["pack/state"]
    if now.state == getattr(PackState, f"STATE_{state.upper()}"):
        return ""
    return f"the pack is in state {now.state} instead of {state}: {now.text}"
