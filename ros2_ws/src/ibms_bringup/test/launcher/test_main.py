# SPDX-License-Identifier: Apache-2.0
"""The command line, run as a program: signals, exit codes, what is left after `kill -9`."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ibms_bringup.launcher import guard
from ibms_bringup.launcher.main import main

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Iterator[Start]:
    """Start the launcher with programs of data/programs; at the end, kill it if it still runs."""
    started = []

    def run(*programs: str) -> "subprocess.Popen[str]":
        file = tmp_path / "test.launch.xml"
        body = "".join(
            f'<executable cmd="{sys.executable} -S {data}/programs/{program}" name="p"/>'
            for program in programs
        )
        file.write_text(f"<launch>{body}</launch>")
        launcher = subprocess.Popen(
            [sys.executable, "-m", "ibms_bringup.launcher", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(launcher)
        return launcher

    yield run
    for launcher in started:
        launcher.kill()
        launcher.communicate()


def read_until(launcher: "subprocess.Popen[str]", text: str) -> str:
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if text in line:
            return line
    raise AssertionError(f"ended without '{text}'")


def guards_of(launcher: "subprocess.Popen[str]") -> list[int]:
    time.sleep(0.1)  # a process in the middle of exec shows no command line
    children = Path(f"/proc/{launcher.pid}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    return [p for p in pids if guard.__file__ in Path(f"/proc/{p}/cmdline").read_text()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_everything_in_order(start: Start, number: int) -> None:
    launcher = start("obedient.py")
    read_until(launcher, "] ready")
    launcher.send_signal(number)
    output, _ = launcher.communicate(timeout=5)
    assert "[p-1] got SIGINT" in output
    assert "process has finished cleanly" in output
    assert launcher.returncode == 0


def test_second_ctrl_c_does_not_wait(start: Start) -> None:
    launcher = start("stubborn.py")
    read_until(launcher, "] ready")
    begin_s = time.monotonic()
    launcher.send_signal(signal.SIGINT)
    read_until(launcher, "sending signal 'SIGINT'")
    time.sleep(0.2)  # sooner it would count as the same
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=10)
    assert time.monotonic() - begin_s < 4.0  # waiting would take 5 s
    assert launcher.returncode == 0


def test_kill_9_leaves_no_orphan(start: Start, wait_dead: Callable[..., None]) -> None:
    launcher = start("family.py", "stubborn.py fully")
    stubborn = int(read_until(launcher, "[p-2]: process started").split("[")[-1].rstrip("]\n"))
    pids = [int(word) for word in read_until(launcher, "] ids").split()[2:]]
    launcher.kill()
    launcher.wait()
    wait_dead(*pids, stubborn)


def test_guard_is_replaced_when_it_is_killed(start: Start, wait_dead: Callable[..., None]) -> None:
    launcher = start("family.py")
    pids = [int(word) for word in read_until(launcher, "] ids").split()[2:]]
    (first,) = guards_of(launcher)
    os.kill(first, signal.SIGKILL)
    read_until(launcher, "guard was killed; another one watches")
    (second,) = guards_of(launcher)
    launcher.kill()
    launcher.wait()
    wait_dead(*pids, second)


def test_guard_ends_with_the_launcher(start: Start, wait_dead: Callable[..., None]) -> None:
    launcher = start("obedient.py")
    read_until(launcher, "] ready")
    (pid,) = guards_of(launcher)
    launcher.terminate()
    launcher.communicate(timeout=5)
    wait_dead(pid, timeout_s=0.0)


def test_terminal_that_takes_nothing_does_not_keep_it(
    start: Start, wait_dead: Callable[..., None]
) -> None:
    launcher = start("talkative.py 200000", "obedient.py")
    pid = int(read_until(launcher, "[p-2]: process started").split("[")[-1].rstrip("]\n"))
    time.sleep(0.5)  # the pipe, which nobody reads from here on, is full
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=10) == 1
    wait_dead(pid, timeout_s=0.0)


def test_exit_codes(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = start("no_such_program.py")
    output, _ = launcher.communicate(timeout=5)
    assert "exit code 2, cmd" in output
    assert launcher.returncode == 1
    assert main([str(tmp_path / "missing.launch.xml")]) == 2
    assert "error: cannot read launch file" in capsys.readouterr().err
    assert main([str(tmp_path / "test.launch.xml"), "speed=1"]) == 2
    assert "malformed argument 'speed=1'; expected name:=value" in capsys.readouterr().err


def test_print(
    data: Path,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["--print", str(data / "good_scopes.launch.xml"), "speed:=7"]) == 0
    output = capsys.readouterr().out.splitlines()
    printed = [shlex.split(line) for line in output if not line.startswith("#")]
    assert [words[0] for words in printed[:2]] == ["env", "env"]
    assert printed[0][1:4] == ["-u", "ROBOT", "SCOPED=inside"]
    assert "__ns:=/outer/inside" in printed[0]
    assert printed[3] == ["env", "-C", "/", "AFTER=x", "echo", "r2-none", "$one word", "two"]
    assert "# generated/parameters_1_1.yaml:     speed: 2" in output
    assert not Path("generated").exists()


def test_show_args(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show-args", str(data / "demo_pkg/launch/leaf.launch.xml")]) == 0
    assert capsys.readouterr().out == (
        "Arguments (pass arguments as '<name>:=<value>'):\n"
        "\n    'speed':\n        how fast\n"
        "\n    'mode':\n        what to do. One of: slow, fast\n        (default: 'slow')\n"
    )
