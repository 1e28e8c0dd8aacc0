# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench graph``: what the running graph costs, what it loses, how fast it opens.

Figures of scans, reactions and openings are taken on the bus by an independent process that speaks
only CAN; processor time and memory are the kernel's figures of the edge's processes, the simulator
apart.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import yaml
from ament_index_python.packages import get_package_share_directory
from rich.console import Console
from rich.table import Table

from ibms_battery.results import Result, measured, write
from ibms_msgs.msg import PackState
from ibms_tools.bench.pack_under_test import CHAIN, COMPOSED, NotReachedError, PackUnderTest
from ibms_tools.bench.thread_freezer import hung

_CHANNEL = 43650
_SETTLE_S = 5.0
_OVER_VOLTAGE_V = 4.6
_TRIALS_OF_EACH_LOSS = 5
_CHAIN_THREADS = {
    "afe_driver": ("main", "can_receiver"),
    "protection": ("main", "protection"),
    "switch_control": ("main", "switch_control", "can_receiver"),
    COMPOSED: ("main", "can_receiver", "can_receiver#2", "protection", "switch_control"),
}


@dataclass
class Usage:
    """Processor time and memory of the edge's processes over a span."""

    seconds: float
    cpu_s: dict[str, float]
    pss_mb: dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 0 if it could measure, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="ibms bench graph", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--duration", type=float, default=600.0, help="of each load run [s]")
    parser.add_argument("--reactions", type=int, default=100, help="number of injected faults")
    parser.add_argument(
        "--only",
        choices=("load", "reaction", "loss"),
        action="append",
        help="only this part; may be repeated",
    )
    parser.add_argument(
        "--chain",
        choices=("separate", "composed"),
        default="separate",
        help="a process for each node of the chain, or one for all",
    )
    parser.add_argument("--packs", default="ev_96s,ev_192s", help="packs of the load runs")
    options = parser.parse_args(arguments)
    parts = options.only or ["load", "reaction", "loss"]
    console = Console()
    composed = options.chain == "composed"
    results: list[Result] = []
    try:
        with tempfile.TemporaryDirectory(prefix="ibms_bench_") as folder:
            if "load" in parts:
                for pack in options.packs.split(","):
                    results += measure_load(pack, options.duration, Path(folder), console, composed)
            if "reaction" in parts:
                results += measure_reaction(options.reactions, Path(folder), console, composed)
            if "loss" in parts:
                results += measure_losses(_TRIALS_OF_EACH_LOSS, Path(folder), console, composed)
    finally:  # what was measured is kept, whatever went wrong afterwards
        if options.json:
            command = " ".join(["./ibms bench graph", *(arguments or sys.argv[1:])])
            write(measured(command, results), options.json)
        show(results, console)
    return 0


def measure_load(
    pack: str, duration_s: float, folder: Path, console: Console, composed: bool = False
) -> list[Result]:
    """Drive for ``duration_s`` and count everything."""
    console.print(f"[bold]{pack}[/bold]: drive for {duration_s:.0f} s")
    with under_test(pack, folder, composed=composed) as running:
        running.wait_for_standby()
        startup_s = running.wait_for_all_active()
        running.drive()
        time.sleep(_SETTLE_S)
        lost_before = bus_count(running, "scan_lost")
        incomplete_before = bus_count(running, "scan_incomplete")
        first_scan = running.can.scans["last"]
        first_frames = running.can.scans["frames"]
        processes = running.usage()
        usage = watch_usage(processes, duration_s, lambda: stopped_driving(running))
        scans = running.can.scans["last"] - first_scan
        frames = running.can.scans["frames"] - first_frames
        time.sleep(1.5)  # the diagnostics that hold the last second
        diagnostics = dict(running.diagnostics)
        still = running.state == PackState.STATE_DRIVE
        events = running.texts()
        lost = bus_count(running, "scan_lost") - lost_before
        incomplete = bus_count(running, "scan_incomplete") - incomplete_before
    cells = running.pack.series
    context = (
        f"{cells} cells, {1 / running.pack.scan_period_s:.0f} scans/s, {duration_s:.0f} s drive"
    )
    cpu = {name: 100.0 * s / usage.seconds for name, s in usage.cpu_s.items()}
    name = f"graph.{prefix(composed)}{pack}"
    show_nodes(console, diagnostics, cpu, usage.pss_mb)
    if not still:
        console.print(f"[red]not driving any more[/red]: {events[-8:]}")
    return [
        Result(f"{name}.startup", round(startup_s, 2), "s", "<= 10", "start to all nodes active"),
        Result(f"{name}.drive_kept", int(still), "1", "== 1", context),
        Result(f"{name}.scans.seen_on_bus", scans, "1", None, context),
        Result(f"{name}.scans.lost", lost, "1", "== 0", context),
        Result(f"{name}.scans.incomplete", incomplete, "1", "== 0", context),
        Result(f"{name}.frames.seen_on_bus", frames, "1", None, context),
        Result(
            f"{name}.inputs.stale",
            total_of(diagnostics, " stale"),
            "1",
            None,
            "messages older than their freshness limit, all nodes",
        ),
        Result(f"{name}.cpu", round(sum(cpu.values()), 1), "%", "<= 100", "of one core, edge"),
        Result(
            f"{name}.memory",
            round(sum(usage.pss_mb.values()), 0),
            "MB",
            "<= 700",
            "sum of PSS, edge",
        ),
        *(
            Result(f"{name}.cpu.{process}", round(share, 1), "%", None, "of one core")
            for process, share in cpu.items()
        ),
        *(
            Result(f"{name}.memory.{process}", round(size, 0), "MB", None, "PSS")
            for process, size in usage.pss_mb.items()
        ),
        *lateness(name, diagnostics),
    ]


def measure_reaction(
    count: int, folder: Path, console: Console, composed: bool = False
) -> list[Result]:
    """Inject over-voltages without debounce and time the open command on the bus."""
    console.print(f"[bold]reaction[/bold]: {count} over-voltages without debounce")
    to_command, to_opened = [], []
    table = str(without_debounce(folder))
    with under_test("ev_96s", folder, {"diagnoses": table}, composed) as running:
        running.wait_for_standby()
        for trial in range(count):
            running.drive()
            # Not in step with the scans.
            time.sleep(0.2 + (trial * 0.0137) % 0.1)
            running.can.clear()
            cell = (trial * 37) % running.pack.series
            injected = running.injection.inject("cell_voltage", cell, _OVER_VOLTAGE_V)
            if not injected.success:
                raise NotReachedError(injected.message)
            fault = running.can.wait_for("fault_scan", 2.0)
            command = running.can.wait_for("open_command", 2.0)
            opened = running.can.wait_for("opened", 2.0)
            to_command.append(1000.0 * (command["at"] - fault["at"]))
            to_opened.append(1000.0 * (opened["at"] - fault["at"]))
            wait_until_noticed(running)
            running.injection.inject("cell_voltage", cell, remove=True)
    name = f"reaction.{prefix(composed)}over_voltage"
    context = f"{count} trials, 96 cells, last frame of the faulty scan to frame on the bus"
    return [
        *quantiles(f"{name}.open_command", to_command, context, "<= 5", "<= 15"),
        *quantiles(f"{name}.opened", to_opened, context),
    ]


def measure_losses(
    trials: int, folder: Path, console: Console, composed: bool = False
) -> list[Result]:
    """Kill, freeze and hang parts of the chain and time the opened feedback."""
    console.print(f"[bold]loss[/bold]: each part of the chain, {trials} times")
    times: dict[str, list[float]] = {}
    with under_test("ev_96s", folder, composed=composed) as running:
        running.wait_for_standby()
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
    results = []
    for kind, values in times.items():
        context = f"{len(values)} trials over all parts of the chain, to opened feedback on the bus"
        milliseconds = [1000.0 * value for value in values]
        name = f"loss.{prefix(composed)}{kind}.opened"
        results += quantiles(name, milliseconds, context, None, None, "<= 300")
    return results


def prefix(composed: bool) -> str:
    """Part of a figure's name that tells the composed chain from the separate one."""
    return "composed." if composed else ""


def time_loss(running: PackUnderTest, disturb: Callable[[], float]) -> float:
    """Drive, disturb, and return the seconds to the opened feedback."""
    running.drive()
    time.sleep(0.3)
    running.can.clear()
    at = disturb()
    took_s = float(running.can.wait_for("opened", 3.0)["at"]) - at
    wait_until_noticed(running)
    return took_s


def wait_until_noticed(running: PackUnderTest) -> None:
    """Wait until the supervisor knows of an opening: before that it takes no new request."""
    running.wait_until(
        "the supervisor sees it open", lambda: running.state != PackState.STATE_DRIVE, 2.0
    )


def time_hung_thread(running: PackUnderTest, process: str, thread: str) -> float:
    """Drive, stop one thread, and return the seconds to the opened feedback."""
    running.drive()
    time.sleep(0.3)
    running.can.clear()
    with hung(running.pid_of(process), thread) as at:
        took_s = float(running.can.wait_for("opened", 3.0)["at"]) - at
        wait_until_noticed(running)
        return took_s


def under_test(
    pack: str, folder: Path, arguments: dict[str, str] | None = None, composed: bool = False
) -> PackUnderTest:
    """The pack on its own DDS domain and bus."""
    domain = int(os.environ.get("ROS_DOMAIN_ID", "80"))
    return PackUnderTest(pack, domain, str(_CHANNEL), folder, arguments, composed)


def without_debounce(folder: Path) -> Path:
    """The shipped table of diagnoses with every debounce taken out of over-voltage."""
    share = Path(get_package_share_directory("ibms_bringup"))
    table = yaml.safe_load((share / "config" / "diagnoses" / "nmc.yaml").read_text())
    for row in table["diagnoses"]:
        if row["signal"] == "cell_voltage" and "above" in row:
            row |= {"samples": 1, "time_s": 0.0, "recovery_s": 0.1}
    path = folder / "without_debounce.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def watch_usage(
    processes: dict[str, psutil.Process], duration_s: float, stop: Callable[[], bool]
) -> Usage:
    """Processor time and memory of ``processes`` over ``duration_s``."""

    def cpu() -> dict[str, float]:
        return {name: sum(p.cpu_times()[:2]) for name, p in processes.items()}

    start, before = time.monotonic(), cpu()
    while time.monotonic() - start < duration_s and not stop():
        time.sleep(0.5)
    seconds, after = time.monotonic() - start, cpu()
    return Usage(
        seconds,
        {name: after[name] - before[name] for name in processes},
        {name: p.memory_full_info().pss / 1e6 for name, p in processes.items()},
    )


def stopped_driving(running: PackUnderTest) -> bool:
    """Whether the pack is no longer in drive."""
    return running.state != int(PackState.STATE_DRIVE)


def bus_count(running: PackUnderTest, key: str) -> int:
    """A counter of the AFE driver's bus."""
    return int(running.diagnostics.get("afe_driver: bus", {}).get(key, "0"))


def alive(running: PackUnderTest, process: str) -> bool:
    """Whether a process runs."""
    try:
        return bool(psutil.pid_exists(running.pid_of(process)))
    except LookupError:
        return False


def quantiles(
    name: str,
    values_ms: list[float],
    context: str,
    median_target: str | None = None,
    p99_target: str | None = None,
    maximum_target: str | None = None,
) -> list[Result]:
    """Median, 99th percentile and maximum."""
    ordered = sorted(values_ms)
    p99 = ordered[min(len(ordered) - 1, -(-99 * len(ordered) // 100) - 1)]
    return [
        Result(
            f"{name}.median", round(statistics.median(ordered), 2), "ms", median_target, context
        ),
        Result(f"{name}.p99", round(p99, 2), "ms", p99_target, context),
        Result(f"{name}.max", round(ordered[-1], 2), "ms", maximum_target, context),
    ]


def total_of(diagnostics: dict[str, dict[str, str]], ending: str) -> int:
    """Sum of all counters whose name ends so."""
    return sum(
        int(value)
        for status in diagnostics.values()
        for key, value in status.items()
        if key.endswith(ending)
    )


def lateness(name: str, diagnostics: dict[str, dict[str, str]]) -> list[Result]:
    """Oldest age at which each node of the chain took its inputs in the last second."""
    results = []
    for node in CHAIN:
        for key, value in diagnostics.get(f"{node}: node", {}).items():
            if key.endswith(" oldest [ms]"):
                topic = key.removesuffix(" oldest [ms]").replace("/", "_")
                results.append(
                    Result(
                        f"{name}.lateness.{node}.{topic}",
                        float(value),
                        "ms",
                        None,
                        "oldest input in the last second of the run",
                    )
                )
    return results


def show_nodes(
    console: Console,
    diagnostics: dict[str, dict[str, str]],
    cpu: dict[str, float],
    pss_mb: dict[str, float],
) -> None:
    """Table of processes and of message counts by node."""
    table = Table("process", "CPU [% of a core]", "PSS [MB]", title="edge processes")
    for process, share in cpu.items():
        table.add_row(process, f"{share:.1f}", f"{pss_mb[process]:.0f}")
    console.print(table)
    inputs = Table("node", "topic", "received", "stale", title="messages since the start")
    for name, status in sorted(diagnostics.items()):
        for key, value in status.items():
            if key.endswith(" received"):
                topic = key.removesuffix(" received")
                inputs.add_row(name.split(":")[0], topic, value, status[f"{topic} stale"])
    console.print(inputs)


def show(results: list[Result], console: Console) -> None:
    """Table of all figures."""
    table = Table("figure", "value", "unit", "target", "met")
    for result in results:
        met = {None: "", True: "yes", False: "[red]no[/red]"}[result.met]
        table.add_row(result.name, str(result.value), result.unit, result.target or "", met)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
