# SPDX-License-Identifier: Apache-2.0
"""What is left behind when a pack under test cannot be started."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ibms_tools.bench import pack_under_test
from ibms_tools.bench.pack_under_test import CanWatch, NotReachedError, PackUnderTest


class FakeLaunch:
    """Processes that run while the context is open."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        self.runs = False

    def __enter__(self) -> None:
        self.runs = True

    def __exit__(self, *_failure: object) -> None:
        self.runs = False


def test_the_launch_ends_when_something_after_it_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running: list[bool] = []

    def fail(**_options: object) -> None:
        running.append(bool(pack.launch.runs))  # type: ignore[attr-defined]
        raise OSError("no DDS")

    monkeypatch.setattr(pack_under_test, "Launch", FakeLaunch)
    monkeypatch.setattr("rclpy.init", fail)
    pack = PackUnderTest("ev_96s", 0, "0", tmp_path)
    with pytest.raises(OSError, match="no DDS"), pack:
        pass
    assert running == [True]
    assert not pack.launch.runs  # type: ignore[attr-defined]


def test_an_observer_that_is_never_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    plain = subprocess.Popen

    def start(_command: object, **options: Any) -> Any:
        started.append(plain([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[0]

    monkeypatch.setattr("subprocess.Popen", start)
    monkeypatch.setattr(pack_under_test, "_RECOVERY_S", 0.1)
    table = type("Table", (), {"named": lambda *_: None})()
    with pytest.raises(NotReachedError, match="no 'ready'"):
        CanWatch(1, "0", table)
    assert started[0].poll() is not None
