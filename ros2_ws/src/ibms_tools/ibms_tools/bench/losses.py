# SPDX-License-Identifier: Apache-2.0
"""Processes and threads of the chain killed, frozen and hung while the pack drives."""

import signal
import time
from collections.abc import Callable
from functools import partial

import psutil
from rich.console import Console

from ibms_battery.results import Result
from ibms_tools.bench.figures import prefix, quantiles
from ibms_tools.bench.pack_under_test import COMPOSED, PackUnderTest
from ibms_tools.bench.thread_freezer import hung

_CHAIN_THREADS = {
    "afe_driver": ("main", "can_receiver"),
    "protection": ("main", "protection_loop"),
    "switch_control": ("main", "switch_con_loop", "can_receiver"),
    COMPOSED: ("main", "can_receiver#1", "can_receiver#2", "protection_loop", "switch_con_loop"),
}


def measure_losses(
    running: PackUnderTest, trials: int, composed: bool, console: Console
) -> list[Result]:
    """Kill, freeze and hang parts of the chain and time the opened feedback."""
    console.print(f"[bold]loss[/bold]: each part of the chain, {trials} times")
    times: dict[str, list[float]] = {}
    for _ in range(trials):
        for process in running.chain_processes:
            times.setdefault("killed", []).append(
                time_loss(running, partial(running.stop_process, process, signal.SIGKILL))
            )
            running.wait_until("respawn", partial(alive, running, process), 10.0)
            times.setdefault("frozen", []).append(
                time_loss(running, partial(running.stop_process, process, signal.SIGSTOP))
            )
            running.stop_process(process, signal.SIGCONT)
            for thread in _CHAIN_THREADS[process]:
                times.setdefault("hung_thread", []).append(
                    time_hung_thread(running, process, thread)
                )
    results: list[Result] = []
    for kind, values in times.items():
        context = (
            f"{len(values)} trials over all parts of the chain, to opened feedback on the bus; "
            "foxBMS 2 does not detect it by itself"
        )
        milliseconds = [1000.0 * value for value in values]
        name = f"loss.{prefix(composed)}{kind}.opened"
        results += quantiles(name, milliseconds, context, p99_target="<= 300")
    return results


def time_loss(running: PackUnderTest, disturb: Callable[[], float]) -> float:
    """Drive, disturb, and return the seconds to the opened feedback."""
    running.drive()
    time.sleep(0.3)
    running.can.clear()
    took_s = running.opened_after(disturb())
    running.wait_until_noticed()
    return took_s


def time_hung_thread(running: PackUnderTest, process: str, thread: str) -> float:
    """Drive, stop one thread, and return the seconds to the opened feedback."""
    running.drive()
    time.sleep(0.3)
    running.can.clear()
    with hung(running.pid_of(process), thread) as at:
        took_s = running.opened_after(at)
        running.wait_until_noticed()
        return took_s


def alive(running: PackUnderTest, process: str) -> bool:
    """Whether a process runs."""
    try:
        return bool(psutil.pid_exists(running.pid_of(process)))
    except LookupError:
        return False
