# SPDX-License-Identifier: Apache-2.0
"""The host's own stalls, the load beside the pack, and what counts as an opening."""

import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from rich.console import Console

from ibms_battery.results import Result
from ibms_msgs.msg import PackState
from ibms_tools.bench import availability
from ibms_tools.bench.availability import busy_cores, measure_availability
from ibms_tools.bench.host_watch import HostWatch, Stall
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest


def test_one_busy_process_per_core_that_ends_with_the_block() -> None:
    before = set(psutil.Process().children())
    with busy_cores():
        started = set(psutil.Process().children()) - before
        assert len(started) == len(os.sched_getaffinity(0))
    assert not any(process.is_running() for process in started)


BUSY_UNTIL_KILLED = """
import time
from ibms_tools.bench.availability import busy_cores
with busy_cores():
    print("busy", flush=True)
    time.sleep(60)
"""


def test_no_core_stays_busy_when_the_bench_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_UNTIL_KILLED], stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "busy\n"
        busy = psutil.Process(bench.pid).children()
        assert busy
        bench.kill()
    assert not psutil.wait_procs(busy, timeout=10.0)[1]


class FakeRunning:
    """A pack that drives and is seen; ``happens`` is called when it begins to drive."""

    def __init__(self) -> None:
        self.state = PackState.STATE_STANDBY
        self.newest = {"pack/state": PackState(text="because")}
        self.protection_lives = True
        self.can = SimpleNamespace(
            events=queue.Queue(), scans={"last": 0}, is_alive=True, clear=self._clear
        )
        self.launch = SimpleNamespace(processes=[self._process("protection", 10)])
        self.happens: Callable[[], object] = lambda: None

    def drive(self) -> None:
        if not self.protection_lives:
            raise NotReachedError("close allowed: not within 15 s")
        self.state = PackState.STATE_DRIVE
        self.can.scans = {"last": self.can.scans["last"] + 1}
        self.happens()
        self.happens = lambda: None

    def is_judged(self) -> bool:
        return self.protection_lives

    def texts(self) -> list[str]:
        return []

    def respawn(self) -> None:
        self.launch.processes = [self._process("protection", 11)]

    def _clear(self) -> None:
        while not self.can.events.empty():
            self.can.events.get_nowait()

    @staticmethod
    def _process(label: str, pid: int) -> Any:
        return SimpleNamespace(spec=SimpleNamespace(label=label), pid=pid)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> FakeRunning:
    monkeypatch.setattr(availability, "_TELLING_S", 0.01)
    monkeypatch.setattr(HostWatch, "__enter__", lambda host: host)  # a host that never stalls
    return FakeRunning()


def figures_of(running: FakeRunning) -> dict[str, Result]:
    pack = cast(PackUnderTest, running)
    results = measure_availability(pack, 0.1, False, "", Console(quiet=True))
    return {result.name.removeprefix("availability.drive."): result for result in results}


def openings_of(running: FakeRunning) -> Result:
    return figures_of(running)["openings"]


@pytest.mark.parametrize(
    ("age_s", "length_s", "own"), [(0.0, 0.35, 0), (0.0, 0.09, 1), (3.0, 0.35, 1)]
)
def test_an_opening_after_the_host_withheld_a_core_counts_but_is_not_its_own(
    running: FakeRunning,
    monkeypatch: pytest.MonkeyPatch,
    age_s: float,
    length_s: float,
    own: int,
) -> None:
    def stand_still(host: HostWatch) -> HostWatch:
        host.stalls.append(Stall(0, time.monotonic() - age_s, length_s))
        return host

    monkeypatch.setattr(HostWatch, "__enter__", stand_still)
    running.happens = lambda: running.can.events.put({"event": "contacts_open"})
    figures = figures_of(running)
    assert figures["openings"].value == 1
    assert not figures["openings"].met
    assert figures["openings_of_its_own"].value == own
    withheld_ms = 0 if age_s else min(300, round(1000 * length_s))
    assert f"(host: {withheld_ms} ms withheld)" in figures["openings"].context
    assert figures["host.longest_stall"].value == pytest.approx(1000.0 * length_s)
    assert figures["host.withheld"].value == pytest.approx(1000.0 * min(length_s, 0.3))


def test_a_watched_drive_has_no_opening(running: FakeRunning) -> None:
    figures = figures_of(running)
    assert figures["openings"].met
    assert figures["duration"].met
    assert f"in {figures['duration'].value:.0f} s" in figures["openings"].context


def test_an_opening_right_after_the_start_of_driving_counts(running: FakeRunning) -> None:
    running.happens = lambda: running.can.events.put({"event": "contacts_open"})
    assert openings_of(running).value == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: setattr(r, "state", PackState.STATE_ERROR), "does not drive: because"),
        (lambda r: r.respawn(), "protection has ended and was started again"),
        (lambda r: r.launch.processes.clear(), "protection has ended"),
        (lambda r: setattr(r.can, "is_alive", False), "observer of the bus has died"),
    ],
)
def test_what_nobody_would_see_on_the_bus_counts(
    running: FakeRunning, change: Any, reason: str
) -> None:
    running.happens = lambda: change(running)
    openings = openings_of(running)
    assert not openings.met
    assert reason in openings.context


def test_an_observer_that_sees_no_scans_counts(
    running: FakeRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "_BLIND_S", 0.05)
    running.happens = lambda: running.can.events.put({"event": "closed"})
    assert "no new scan" in openings_of(running).context


@pytest.mark.parametrize(("blind_s", "counts"), [(0.05, True), (3.0, False)])
def test_protection_that_is_silent_counts_but_not_for_a_moment(
    running: FakeRunning, monkeypatch: pytest.MonkeyPatch, blind_s: float, counts: bool
) -> None:
    monkeypatch.setattr(availability, "_BLIND_S", blind_s)
    running.happens = lambda: setattr(running, "protection_lives", False)
    openings = openings_of(running)
    assert ("no verdict of protection" in openings.context) == counts
    assert openings.met == (not counts)


@pytest.mark.parametrize(("failures", "counts"), [(1, 2), (2, 3), (9, 4)])
def test_each_failure_to_drive_again_counts_and_is_followed_by_another_attempt(
    running: FakeRunning, failures: int, counts: int
) -> None:
    left = [False] * failures

    def fail() -> None:
        running.protection_lives = left.pop() if left else True

    def open_for_good() -> None:
        running.state = PackState.STATE_ERROR
        running.can.clear = fail  # called at the beginning of each attempt
        running.can.events.put({"event": "contacts_open"})

    running.happens = open_for_good
    figures = figures_of(running)
    openings = figures["openings"]
    assert openings.value == counts
    assert "did not drive again" in openings.context
    # What ended early is not called as long as it should have been.
    assert figures["duration"].met == (failures < 3)
