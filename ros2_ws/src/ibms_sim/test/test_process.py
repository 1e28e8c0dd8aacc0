# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ibms_sim.process import without_ros_arguments

from .conftest import free_port

PROGRAMS = ("simulated_pack", "simulated_switch_board")


def start(config: Path, program: str, channel: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"ibms_sim.{program}", "--bus-channel", str(channel)]
    command += ["--pack", str(config / "packs" / "robot_12s.yaml")]
    if program == "simulated_pack":
        command += ["--simulation", str(config / "simulation" / "rest.yaml"), "--cells="]
    command += ["--ros-args", "-r", "__node:=other"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def claimed(program: str, channel: int) -> bool:
    role = {"simulated_pack": "pack", "simulated_switch_board": "switch_board"}[program]
    return f"@ibms/{role}/ibms_local/{channel}" in Path("/proc/net/unix").read_text()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--a", "1"], ["--a", "1"]),
        (["--a", "--ros-args", "-r", "x:=y"], ["--a"]),
        (["--ros-args", "-p", "x:=1", "--", "--a"], ["--a"]),
    ],
)
def test_ros_arguments_are_left_out(given: list[str], kept: list[str]) -> None:
    assert without_ros_arguments(given) == kept


@pytest.mark.parametrize("program", PROGRAMS)
def test_refuses_a_second_start_and_ends_cleanly(config: Path, program: str) -> None:
    channel = free_port()
    first = start(config, program, channel)
    try:
        deadline = time.monotonic() + 20
        while not claimed(program, channel):
            assert first.poll() is None, first.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = start(config, program, channel)
        _, text = second.communicate(timeout=20)
        assert second.returncode == 1
        assert "already acts as" in text
        assert str(channel) in text
        os.kill(first.pid, signal.SIGTERM)
        before = time.monotonic()
        _, text = first.communicate(timeout=20)
        assert first.returncode == 0
        assert time.monotonic() - before < 1.5
        assert "Traceback" not in text
    finally:
        first.kill()
        first.wait()


def test_names_file_line_and_key_of_a_wrong_configuration(config: Path, tmp_path: Path) -> None:
    simulation = tmp_path / "wrong.yaml"
    text = (config / "simulation" / "rest.yaml").read_text(encoding="utf-8")
    simulation.write_text(text + "start: {state_of_charge: 80}\n", encoding="utf-8")
    command = [sys.executable, "-m", "ibms_sim.simulated_pack", "--simulation", str(simulation)]
    command += ["--pack", str(config / "packs" / "robot_12s.yaml"), "--bus-channel"]
    command += [str(free_port())]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    line = len(text.splitlines()) + 1
    assert f"wrong.yaml:{line}: start.state_of_charge" in result.stderr
    assert "found 80" in result.stderr
