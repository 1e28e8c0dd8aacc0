# SPDX-License-Identifier: Apache-2.0
"""What the tests of the launcher share: a ROS package of their own, and help to run launches."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ibms_bringup.launcher import Launch

DATA = Path(__file__).parent / "data"


@pytest.fixture
def data() -> Path:
    """Directory of the launch files of these tests."""
    return DATA


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which demo_pkg is found; its launch files are copies of data/demo_pkg."""
    prefix = tmp_path / "prefix"
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "demo_pkg").touch()
    shutil.copytree(DATA / "demo_pkg", prefix / "share/demo_pkg")
    executable = prefix / "lib/demo_pkg/talker"
    executable.parent.mkdir(parents=True)
    executable.write_text("#!/bin/sh\nsleep 60\n")
    executable.chmod(0o755)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "AMENT_PREFIX_PATH": f"/nonexistent{os.pathsep}{prefix}", "ROBOT": "r2"}


@pytest.fixture
def lines() -> list[str]:
    """The output of the launch made by `launch_of`."""
    return []


@pytest.fixture
def wait_for(lines: list[str]) -> Callable[..., str]:
    """Wait until `count` lines contain `text`; return the last of them."""

    def wait(text: str, count: int = 1, timeout_s: float = 10.0) -> str:
        deadline_s = time.monotonic() + timeout_s
        while len(found := [line for line in lines if text in line]) < count:
            assert time.monotonic() < deadline_s, "\n".join([f"no '{text}' in:", *lines])
            time.sleep(0.005)
        return found[count - 1]

    return wait


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie (nobody may be there to reap an orphan)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def wait_dead() -> Callable[..., None]:
    """Wait until all the processes have ended."""

    def wait(*pids: int, timeout_s: float = 5.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while alive := [pid for pid in pids if is_alive(pid)]:
            assert time.monotonic() < deadline_s, f"still alive: {alive} of {pids}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def launch_of(tmp_path: Path, lines: list[str]) -> Callable[..., Launch]:
    """Make a Launch of the given XML, with short times, whose output goes to `lines`."""

    def make(body: str, sigterm_timeout_s: float = 5.0, sigkill_timeout_s: float = 5.0) -> Launch:
        file = tmp_path / "test.launch.xml"
        file.write_text(f"<launch>{body}</launch>")
        return Launch(
            file,
            output=lines.append,
            sigterm_timeout_s=sigterm_timeout_s,
            sigkill_timeout_s=sigkill_timeout_s,
        )

    return make
