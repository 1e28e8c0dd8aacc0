# SPDX-License-Identifier: Apache-2.0
"""Drives for a long time and counts openings that nothing needed, and the host's own stalls."""

import heapq
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ibms_battery.results import Result
from ibms_msgs.msg import PackState
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest

_SLEEP_S = 0.001
_KEPT = 5
_REPORT_S = 60.0
_TELLING_S = 0.5  # until the supervisor has told why
_BLIND_S = 3.0  # the observer tells of new scans once per second
_BUSY = "while True: pass"


class StallWatch:
    """A thread that sleeps 1 ms again and again and keeps the largest gaps; and stolen time."""

    def __init__(self) -> None:
        self.gaps_s: list[float] = []  # largest last
        self._stop = threading.Event()
        self._stolen = stolen_s()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Stop; returns the time that the host gave to others meanwhile, over all cores [s]."""
        self._stop.set()
        self._thread.join(1.0)
        self.gaps_s.sort()
        return stolen_s() - self._stolen

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.is_set():
            time.sleep(_SLEEP_S)
            now = time.monotonic()
            heapq.heappush(self.gaps_s, now - last)
            if len(self.gaps_s) > _KEPT:
                heapq.heappop(self.gaps_s)
            last = now


def stolen_s() -> float:
    """Time that the hypervisor gave to others, over all cores since the start [s]."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def busy_cores() -> Iterator[None]:
    """One process per core that does nothing but use it."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure_availability(
    running: PackUnderTest, seconds: float, is_loaded: bool, prefix: str, console: Console
) -> list[Result]:
    """Drive for ``seconds``; every opening is one too many, and the pack then drives again.

    So is each time when nobody could have seen one, and each crash of a process.
    """
    what = "loaded" if is_loaded else "drive"
    console.print(f"[bold]availability[/bold], {what}: {seconds:.0f} s")
    watch = DriveWatch(running)
    running.can.clear()
    running.drive()
    stalls = StallWatch()
    openings: list[str] = []
    start_s = time.monotonic()
    if is_loaded:
        with busy_cores():
            _drive(watch, start_s + seconds, openings, console)
    else:
        _drive(watch, start_s + seconds, openings, console)
    stolen = stalls.end()
    gaps_ms = ", ".join(f"{1000.0 * gap:.1f}" for gap in reversed(stalls.gaps_s))
    console.print(f"largest stalls of the host: {gaps_ms} ms; stolen {stolen:.2f} s")
    name = f"availability.{prefix}{what}"
    return [
        Result(
            f"{name}.openings",
            len(openings),
            "1",
            "== 0",
            f"in {seconds:.0f} s, crashes and moments that nobody watched included; "
            f"largest stall of the host {1000.0 * stalls.gaps_s[-1]:.1f} ms; {openings[:5]}",
        ),
        Result(f"{name}.duration", round(seconds, 1), "s", None, ""),
        Result(
            f"{name}.host.largest_stall",
            round(1000.0 * stalls.gaps_s[-1], 1),
            "ms",
            None,
            f"of a thread that sleeps 1 ms, at normal priority; the largest: {gaps_ms} ms",
        ),
        Result(f"{name}.host.stolen", round(stolen, 2), "s", None, "/proc/stat, all cores"),
    ]


class DriveWatch:
    """Whether the pack drives, and whether anybody would see it if it did not."""

    def __init__(self, running: PackUnderTest) -> None:
        self.running = running
        self._processes = self._running_processes()
        self._scan: int | None = None
        self._scan_s = self._judged_s = time.monotonic()

    def problems(self) -> list[str]:
        """What makes this moment none of a watched drive."""
        running = self.running
        now = self._running_processes()
        found = [
            f"{label} has ended" + (" and was started again" if label in now else "")
            for label, process in self._processes.items()
            if now.get(label) != process
        ]
        if not running.can.is_alive:
            found.append("the observer of the bus has died")
        scan, now_s = running.can.scans.get("last"), time.monotonic()
        if scan != self._scan:
            self._scan, self._scan_s = scan, now_s
        elif now_s - self._scan_s > _BLIND_S:
            found.append(f"the observer has seen no new scan for {_BLIND_S:g} s")
        # A verdict that only this process takes late is no problem: the board would have opened.
        if running.is_judged():
            self._judged_s = now_s
        elif now_s - self._judged_s > _BLIND_S:
            found.append(f"no verdict of protection was heard for {_BLIND_S:g} s")
        if running.state != PackState.STATE_DRIVE:
            found.append(f"it does not drive: {running.newest['pack/state'].text}")
        return found

    def drive_again(self) -> None:
        """Drive and watch anew.

        Raises:
            NotReachedError: if it does not drive, or nobody would see it.
        """
        if not self.running.can.is_alive:
            raise NotReachedError("nobody watches any more")
        self.running.can.clear()
        self.running.drive()
        self._processes = self._running_processes()
        self._scan_s = self._judged_s = time.monotonic()

    def _running_processes(self) -> dict[str, int]:
        """Process identifiers by label; the launch's failures do not tell of a respawn."""
        processes = self.running.launch.processes
        return {p.spec.label: p.pid for p in processes if p.pid is not None}


def _drive(watch: DriveWatch, end_s: float, openings: list[str], console: Console) -> None:
    next_s = time.monotonic() + _REPORT_S
    while (now_s := time.monotonic()) < end_s:
        if now_s >= next_s:
            next_s += _REPORT_S
            console.print(f"{end_s - now_s:.0f} s left, {len(openings)} openings")
        try:
            event = watch.running.can.events.get(timeout=min(1.0, end_s - now_s))["event"]
        except queue.Empty:
            event = ""
        problems = watch.problems()
        if event != "contacts_open" and not problems:
            continue
        time.sleep(_TELLING_S)
        openings.append("; ".join(watch.problems() or problems) or "open, and closed again")
        console.print(f"[red]opened[/red]: {openings[-1]}; {watch.running.texts()[-4:]}")
        try:
            watch.drive_again()
        except NotReachedError as error:
            openings.append(f"did not drive again: {error}")
            return
