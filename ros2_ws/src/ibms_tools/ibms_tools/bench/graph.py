# SPDX-License-Identifier: Apache-2.0
"""``./ibms bench graph``: what the running graph costs and what it loses.

Figures of scans are taken on the bus by an independent process that speaks only CAN; processor time
and memory are the kernel's figures of the edge's processes, the simulator apart.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from ibms_battery.results import Result, measured, write
from ibms_msgs.msg import PackState
from ibms_tools.bench.figures import prefix, show
from ibms_tools.bench.pack_under_test import CHAIN, PackUnderTest

_CHANNEL = 43650
_SETTLE_S = 5.0


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
    parser.add_argument(
        "--chain",
        choices=("separate", "composed"),
        default="separate",
        help="a process for each node of the chain, or one for all",
    )
    parser.add_argument("--packs", default="ev_96s,ev_192s", help="packs of the load runs")
    options = parser.parse_args(arguments)
    console = Console()
    composed = options.chain == "composed"
    results: list[Result] = []
    try:
        with tempfile.TemporaryDirectory(prefix="ibms_bench_") as folder:
            for pack in options.packs.split(","):
                results += measure_load(pack, options.duration, Path(folder), console, composed)
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


def under_test(pack: str, folder: Path, composed: bool = False) -> PackUnderTest:
    """The pack on its own DDS domain and bus."""
    domain = int(os.environ.get("ROS_DOMAIN_ID", "80"))
    return PackUnderTest(pack, domain, str(_CHANNEL), folder, composed=composed)


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


if __name__ == "__main__":
    sys.exit(main())
