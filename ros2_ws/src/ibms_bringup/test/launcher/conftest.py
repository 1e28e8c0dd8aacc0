# SPDX-License-Identifier: Apache-2.0
"""A ROS package that exists only for these tests: demo_pkg with one executable `talker`."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

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
