# SPDX-License-Identifier: Apache-2.0
"""Tests of the demo and of ./ibms up as a user has them: as a process that is started and ended."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ibms_battery import results

pytestmark = pytest.mark.graph

# Channels of their own: the pack of the other tests in this folder may be running.
FIRST_CHANNEL = 43400
MARK = "IBMS_TEST_MARK"
START_S = 40.0
END_S = 15.0


@dataclass
class Command:
    """A command of ibms_tools, run in a folder of its own on a channel and domain of its own."""

    folder: Path
    channel: str
    environment: dict[str, str]

    def start(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", f"ibms_tools.{module}", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output.open("a"),
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_demo(self, *arguments: str) -> "subprocess.Popen[str]":
        log = str(self.folder / "log")
        return self.start("demo", "--bus-channel", self.channel, "--log", log, *arguments)

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, what: str, condition: Callable[[], bool], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, f"no {what} within {timeout_s} s:\n{self.text()}"
            time.sleep(0.1)

    def left_over(self) -> list[str]:
        """Command lines of processes that descend from a started command."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.environment[MARK]:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue  # ended meanwhile
        return found


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    domain = (int(os.environ.get("ROS_DOMAIN_ID", "70")) + 1) % 102
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "HOME": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
        MARK: uuid.uuid4().hex,
    }
    made = Command(tmp_path, str(FIRST_CHANNEL + domain), environment)
    made.output.touch()
    yield made
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == environment[MARK]:
                process.kill()
        except psutil.Error:
            continue


def test_drives_trips_and_reports_while_a_second_start_is_refused(command: Command) -> None:
    summary = command.folder / "out.json"
    demo = command.start_demo(
        "--duration", "15", "--json", str(summary), "--inject", "cell_voltage:5@8"
    )
    command.wait_for("drive", lambda: "running | state drive" in command.text(), START_S)

    second = command.start_demo()
    assert second.wait(20) == 1
    assert f"bus ibms_local:{command.channel} is in use: process {demo.pid} (" in command.text()
    up = command.start("up", "--sim", f"bus_channel:={command.channel}")
    assert up.wait(20) == 1
    assert "ibms up: bus ibms_local" in command.text()

    assert demo.wait(15 + END_S) == 0, command.text()
    assert command.left_over() == []
    report = results.read(summary)
    assert report.command.startswith("./ibms demo --bus-channel")
    found = {result.name: result for result in report.results}
    values = {name: result.value or 0.0 for name, result in found.items()}
    assert 14 < values["demo.duration_s"] < 17
    assert values["demo.startup.active_s"] <= 3 * 10
    assert values["demo.scans.rate_hz"] == pytest.approx(50, abs=5)
    assert values["demo.samples.rate_hz"] == pytest.approx(100, abs=10)
    assert values["demo.verdicts.rate_hz"] > 0.9 * values["demo.scans.rate_hz"]
    assert 0.7 < values["demo.soc.mean"] < 0.9
    assert values["demo.processes.restarts"] == 0
    trip = found["demo.inject.1.cell_voltage.diagnosis"]
    assert trip.value == 101
    assert "a cell voltage is too high: 4.5 (element 5)" in trip.context
    assert "pack state afterwards: error" in trip.context
    opened_ms = values["demo.inject.1.cell_voltage.opened_ms"]
    assert 0 < opened_ms <= 3 * 300
    # The way to the reason that it prints leads there.
    (hint,) = [line for line in command.text().splitlines() if "./ibms why" in line]
    why = command.start("why", *hint.split("./ibms why ")[1].split())
    assert why.wait(20) == 0
    assert "a cell voltage is too high" in command.text().split(hint)[1]


def test_ctrl_c_ends_at_any_moment_and_a_new_start_works(command: Command) -> None:
    during_set_up = command.start_demo()
    nodes = command.folder / "log" / "nodes.log"
    command.wait_for("nodes", lambda: nodes.exists() and "lifecycle" in nodes.read_text(), START_S)
    during_set_up.send_signal(signal.SIGINT)
    assert during_set_up.wait(END_S) == 0, command.text()
    assert command.left_over() == []

    driving = command.start_demo()
    command.wait_for("drive", lambda: "running | state drive" in command.text(), START_S)
    driving.send_signal(signal.SIGINT)
    time.sleep(0.3)
    driving.send_signal(signal.SIGINT)  # impatient, while it ends
    assert driving.wait(END_S) == 0, command.text()
    assert command.left_over() == []
    assert "Traceback" not in command.text()


def test_kill_leaves_nothing_behind_and_frees_the_bus(command: Command) -> None:
    up = command.start("up", "--sim", f"bus_channel:={command.channel}")
    command.wait_for("node", lambda: "state_estimator" in command.text(), START_S)
    demo = command.start_demo()
    assert demo.wait(20) == 1
    up.send_signal(signal.SIGINT)
    assert up.wait(END_S) == 0, command.text()

    demo = command.start_demo()
    nodes = command.folder / "log" / "nodes.log"
    command.wait_for("nodes", lambda: nodes.exists() and "lifecycle" in nodes.read_text(), START_S)
    assert len(command.left_over()) > 5
    demo.kill()
    demo.wait()
    command.wait_for("end of all processes", lambda: not command.left_over(), END_S)
