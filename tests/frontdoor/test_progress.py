# SPDX-License-Identifier: Apache-2.0
"""Tests of running slow commands visibly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frontdoor.errors import FrontDoorError
from frontdoor.paths import ROOT
from frontdoor.progress import Progress


def run(tmp_path: Path, script: str) -> None:
    Progress().run("Step", ["/bin/sh", "-c", script], os.environ, tmp_path)


def test_first_and_last_line_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "echo hidden")
    lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Step", "Step: done"]


def test_failure_shows_the_last_lines(tmp_path: Path) -> None:
    with pytest.raises(FrontDoorError, match=r"(?s)^line 11\n.*line 50\n\nStep failed.*with 3;"):
        run(tmp_path, "seq -f 'line %g' 50; exit 3")


def test_interruption_ends_everything_that_was_started(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os, pathlib, signal\n"
        # A shell that runs the tests in its background has them ignore it, and so their children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from frontdoor.progress import Progress\n"
        "Progress().run('Step', ['/bin/sh', '-c', 'sleep 60 & echo $! > pid; wait'],\n"
        "               os.environ, pathlib.Path.cwd())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        deadline_s = time.monotonic() + 20.0
        pid_file = tmp_path / "pid"
        while not (pid_file.exists() and pid_file.read_text().endswith("\n")):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    while is_running(pid_file.read_text().strip()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_running(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
