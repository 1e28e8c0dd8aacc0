# SPDX-License-Identifier: Apache-2.0
"""Drives for a long time and counts openings that nothing needed, and the host's own stalls."""

import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console

from ibms_battery.results import Result
from ibms_msgs.msg import PackState
from ibms_tools.bench.host_watch import HostWatch
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest

_REPORT_S = 60.0
_TELLING_S = 0.5  # until the supervisor has told why
_BLIND_S = 3.0  # the observer tells of new scans once per second
_BUSY = """
from ibms_battery.threads import die_with_parent
die_with_parent({parent})
while True:
    pass
"""
# An opening this soon after the host withheld a core for so long is the host's doing: the chain
# bears 180 ms without a sign of life, of which the usual rhythm of messages takes the rest.
_WITHHELD_S = 0.1
_WINDOW_S = 0.3
_AFTER_S = 2.0
_ATTEMPTS = 3  # to drive again


@dataclass(frozen=True)
class Opening:
    """An opening that nothing needed, or a moment in which nobody would have seen one."""

    text: str
    withheld_s: float  # most that the host withheld a core just before

    @property
    def by_host(self) -> bool:
        """Whether the host withheld a core for long enough to be its cause."""
        return self.withheld_s >= _WITHHELD_S

    def __str__(self) -> str:
        return f"{self.text} (host: {1000.0 * self.withheld_s:.0f} ms withheld)"


@dataclass(frozen=True)
class _Watched:
    """How long the drive was watched, how long it should have been, and what the host took [s]."""

    duration_s: float
    asked_s: float
    stolen_s: float


@contextmanager
def busy_cores() -> Iterator[None]:
    """One process per core that does nothing but use it."""
    command = [sys.executable, "-c", _BUSY.format(parent=os.getpid())]
    processes = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
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
    openings: list[Opening] = []
    with HostWatch() as host:
        running.can.clear()
        running.drive()
        start_s = time.monotonic()
        with busy_cores() if is_loaded else nullcontext():
            _drive(watch, host, start_s + seconds, openings, console)
        watched = _Watched(time.monotonic() - start_s, seconds, host.stolen_s)
    return _results(f"availability.{prefix}{what}", watched, host, openings, console)


def _results(
    name: str, watched: _Watched, host: HostWatch, openings: list[Opening], console: Console
) -> list[Result]:
    how = "of a process per core at the highest real-time priority"
    if host.refused:
        how = f"of a process per core; {host.refused}"
    withheld_s = host.withheld(0.0, _WINDOW_S)
    console.print(
        f"longest stall of the host: {1000.0 * host.longest():.0f} ms; of a core withheld: "
        f"{1000.0 * withheld_s:.0f} ms in {1000.0 * _WINDOW_S:g} ms; "
        f"stolen {watched.stolen_s:.2f} s"
    )
    own = [opening for opening in openings if not opening.by_host]
    return [
        Result(
            f"{name}.openings",
            len(openings),
            "1",
            "== 0",
            f"in {watched.duration_s:.0f} s, crashes and moments that nobody watched included; "
            f"{[str(opening) for opening in openings[:5]]}",
        ),
        Result(
            f"{name}.openings_of_its_own",
            len(own),
            "1",
            "== 0",
            f"in the {_AFTER_S:g} s before, and in an attempt to drive again that failed, the host "
            f"withheld less than {1000.0 * _WITHHELD_S:g} ms of each core in any "
            f"{1000.0 * _WINDOW_S:g} ms; {[str(one) for one in own[:5]]}",
        ),
        Result(
            f"{name}.duration",
            round(watched.duration_s, 1),
            "s",
            f">= {watched.asked_s:g}",
            f"it ends early when {_ATTEMPTS} attempts to drive again have failed",
        ),
        Result(f"{name}.host.longest_stall", round(1000.0 * host.longest(), 1), "ms", None, how),
        Result(
            f"{name}.host.withheld",
            round(1000.0 * withheld_s, 1),
            "ms",
            None,
            f"most of one core in any {1000.0 * _WINDOW_S:g} ms, {how}",
        ),
        Result(
            f"{name}.host.stolen", round(watched.stolen_s, 2), "s", None, "/proc/stat, all cores"
        ),
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


def _drive(
    watch: DriveWatch, host: HostWatch, end_s: float, openings: list[Opening], console: Console
) -> None:
    next_s = time.monotonic() + _REPORT_S
    while (now_s := time.monotonic()) < end_s:
        if now_s >= next_s:
            next_s += _REPORT_S
            console.print(f"{end_s - now_s:.0f} s left, {len(openings)} openings")
        try:
            event = watch.running.can.events.get(timeout=min(1.0, end_s - now_s))["event"]
        except queue.Empty:
            event = ""
        problems, noticed_s = watch.problems(), time.monotonic()
        if event != "contacts_open" and not problems:
            continue
        time.sleep(_TELLING_S)
        text = "; ".join(watch.problems() or problems) or "open, and closed again"
        openings.append(Opening(text, host.withheld(noticed_s - _AFTER_S, _WINDOW_S)))
        console.print(f"[red]opened[/red]: {openings[-1]}; {watch.running.texts()[-4:]}")
        if not _driven_again(watch, host, openings, console):
            return


def _driven_again(
    watch: DriveWatch, host: HostWatch, openings: list[Opening], console: Console
) -> bool:
    """Drive again, whatever it takes within some attempts; each that fails counts."""
    for _ in range(_ATTEMPTS):
        started_s = time.monotonic()
        try:
            watch.drive_again()
            return True
        except NotReachedError as error:
            text = f"did not drive again: {error}"
            openings.append(Opening(text, host.withheld(started_s - _AFTER_S, _WINDOW_S)))
            console.print(f"[red]not closed[/red]: {openings[-1]}")
    return False
