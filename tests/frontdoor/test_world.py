# SPDX-License-Identifier: Apache-2.0
"""Tests of finding the ROS 2 to build on."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frontdoor import world
from frontdoor.errors import FrontDoorError
from frontdoor.paths import ROOT


def installation(prefix: Path, minor: int = sys.version_info.minor) -> Path:
    marker = prefix / "share/ament_index/resource_index/packages/rclpy"
    marker.parent.mkdir(parents=True)
    marker.touch()
    (prefix / f"lib/python3.{minor}/site-packages/rclpy").mkdir(parents=True)
    return prefix


def test_without_ros_the_wheels_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = world.detect({})
    assert found.has_wheels
    assert found.name == "ROS 2 jazzy from wheels"
    assert found.python.exists()


def test_base_of_the_own_environment_is_outside_of_it() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from frontdoor import world as w\n"
    code += "print(w.base_python())"
    result = subprocess.run(
        [ROOT / ".venv/bin/python", "-SEc", code], capture_output=True, text=True, check=True
    )
    found = Path(result.stdout.strip())
    assert found.exists()
    assert ROOT not in found.parents


def test_sourced_ros_is_used(tmp_path: Path) -> None:
    installation(tmp_path / "ros")
    overlay = tmp_path / "overlay"
    found = world.detect(
        {"AMENT_PREFIX_PATH": f"{overlay}:{tmp_path / 'ros'}", "ROS_DISTRO": "lyrical"}
    )
    assert found.prefix == tmp_path / "ros"
    assert found.distro == "lyrical"
    assert not found.has_wheels


def test_wheels_of_another_checkout_are_no_installation(tmp_path: Path) -> None:
    installation(tmp_path)
    minor = sys.version_info.minor
    (tmp_path / f"lib/python3.{minor}/site-packages/ros_wheels_bootstrapper").mkdir()
    assert world.sourced_prefix(str(tmp_path)) is None


def test_own_environment_is_no_installation() -> None:
    assert world.sourced_prefix(f"{ROOT / '.venv'}:{ROOT / 'ros2_ws/install/ibms_msgs'}") is None


def test_arm_without_ros_is_pointed_to_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(FrontDoorError, match=r"x86_64 only.*aarch64.*Jazzy or Lyrical.*packages"):
        world.detect({})


def test_arm_with_ros_is_welcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    installation(tmp_path)
    assert world.detect({"AMENT_PREFIX_PATH": str(tmp_path)}).prefix == tmp_path


def test_too_old_ros_is_named(tmp_path: Path) -> None:
    installation(tmp_path, minor=10)
    with pytest.raises(FrontDoorError, match=r"uses Python 3\.10.*source ROS 2 Jazzy or Lyrical"):
        world.detect({"AMENT_PREFIX_PATH": str(tmp_path)})


def test_interpreter_of_the_installation_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = 14 if sys.version_info.minor != 14 else 13
    installation(tmp_path, minor=other)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert world.python_of(tmp_path) == Path(f"/usr/bin/python3.{other}")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(FrontDoorError, match=rf"python3\.{other} is not in PATH"):
        world.python_of(tmp_path)
