# SPDX-License-Identifier: Apache-2.0
"""Tests of starting the graph; its run is tested with the demo's in tests/graph."""

import os
from pathlib import Path

import pytest

from ibms_end.can.bus import BusConfiguration, claim_role
from ibms_tools.bus_roles import GRAPH
from ibms_tools.up import bus_of, is_installed, launch_file, run


@pytest.mark.parametrize(
    ("with_simulation", "given", "bus"),
    [
        (False, {}, ("socketcan", "can0")),
        (False, {"bus_channel": "can1"}, ("socketcan", "can1")),
        (True, {}, ("ibms_local", "43200")),
        (True, {"bus_channel": "43201"}, ("ibms_local", "43201")),
    ],
)
def test_bus_of_a_launch(
    with_simulation: bool, given: dict[str, str], bus: tuple[str, str]
) -> None:
    found = bus_of(launch_file(with_simulation), given)
    assert (found.interface, found.channel) == bus


def test_a_second_start_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    channel = str(20000 + os.getpid() % 20000)
    with claim_role(BusConfiguration(channel=channel), GRAPH):
        assert run(["--sim", f"bus_channel:={channel}"]) == 1
    assert f"bus ibms_local:{channel} is in use: process {os.getpid()}" in capsys.readouterr().err


def test_a_malformed_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bus_channel=can1"]) == 1
    assert "malformed argument 'bus_channel=can1'; expected name:=value" in capsys.readouterr().err


def test_a_wrong_parameter_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**/balancing:\n  ros__parameters:\n    start_over_v: 0.01\n")
    assert run(["--sim", f"parameters:={file}"]) == 1
    assert "mine.yaml:3" in capsys.readouterr().err


def test_help_lists_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])
    assert "bus_channel:=can0" in capsys.readouterr().out


def test_a_package_is_installed_or_not() -> None:
    assert is_installed("ibms_bringup")
    assert not is_installed("no_such_package")
