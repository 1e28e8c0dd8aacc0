# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 the machine offers: a sourced installation, or the PyPI wheels."""

import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from frontdoor.errors import FrontDoorError
from frontdoor.paths import ROOT

WHEELS_DISTRO = "jazzy"
PYTHON_MINORS = range(11, 15)
SUPPORTED_DISTROS = "Jazzy or Lyrical"


@dataclass(frozen=True)
class World:
    """A ROS 2 to build on.

    `prefix` is the sourced installation, or None where the wheels serve. `python` is the
    interpreter that the virtual environment is made from.
    """

    prefix: Path | None
    distro: str
    python: Path

    @property
    def has_wheels(self) -> bool:
        """True where ROS 2 comes from the wheels."""
        return self.prefix is None

    @property
    def name(self) -> str:
        """For people, and for the stamp that decides whether set-up must run again."""
        if self.prefix is None:
            return f"ROS 2 {self.distro} from wheels"
        return f"ROS 2 {self.distro} sourced from {self.prefix}"


def detect(environment: Mapping[str, str]) -> World:
    """Find the ROS 2 to build on; raises FrontDoorError where there is none."""
    prefix = sourced_prefix(environment.get("AMENT_PREFIX_PATH", ""))
    if prefix is not None:
        return World(prefix, environment.get("ROS_DISTRO", "unknown"), python_of(prefix))
    machine = platform.machine()
    if machine != "x86_64":
        raise FrontDoorError(
            f"No ROS 2 is sourced, and the wheels that replace it exist for x86_64 only while "
            f"this machine is {machine}: install ROS 2 {SUPPORTED_DISTROS} from your "
            f"distribution's packages (https://docs.ros.org/en/jazzy/Installation.html), run "
            f"`source /opt/ros/jazzy/setup.bash`, and start ./ibms again."
        )
    if sys.implementation.name != "cpython" or sys.version_info.minor not in PYTHON_MINORS:
        raise FrontDoorError(
            f"The ROS 2 wheels exist for CPython 3.11 to 3.14, while ./ibms found "
            f"{platform.python_implementation()} {platform.python_version()}: install one of "
            f"those, for instance with `sudo apt-get install python3.12`."
        )
    return World(None, WHEELS_DISTRO, base_python())


def sourced_prefix(ament_prefix_path: str) -> Path | None:
    """Return the prefix in AMENT_PREFIX_PATH that holds rclpy.

    This project's own environment, or another checkout's, is no installation: it is told apart
    by its place or by the bootstrap package of the wheels.
    """
    for entry in filter(None, ament_prefix_path.split(":")):
        prefix = Path(entry)
        if ROOT in prefix.resolve().parents:
            continue
        if any(prefix.glob("lib/python3.*/site-packages/ros_wheels_bootstrapper")):
            continue
        if (prefix / "share/ament_index/resource_index/packages/rclpy").exists():
            return prefix
    return None


def base_python() -> Path:
    """Return the running interpreter, or the one a virtual environment was made from."""
    # The launcher runs from .venv if there is one, which set-up may be about to replace. It runs
    # with -S, so only the link tells where that environment came from.
    return Path(sys.executable).resolve()


def python_of(prefix: Path) -> Path:
    """Return the interpreter that the installation's rclpy was built for."""
    for rclpy in sorted(prefix.glob("**/python3.*/*-packages/rclpy")):
        match = re.search(r"python3\.(\d+)", str(rclpy))
        assert match is not None
        minor = int(match[1])
        if minor not in PYTHON_MINORS:
            raise FrontDoorError(
                f"The sourced ROS 2 in {prefix} uses Python 3.{minor}, while this project needs "
                f"3.11 to 3.14: source ROS 2 {SUPPORTED_DISTROS}."
            )
        if sys.version_info.minor == minor:
            return base_python()
        if found := shutil.which(f"python3.{minor}"):
            return Path(found)
        raise FrontDoorError(
            f"The sourced ROS 2 in {prefix} uses Python 3.{minor}, but python3.{minor} is not in "
            f"PATH: install it or put it there."
        )
    raise FrontDoorError(
        f"AMENT_PREFIX_PATH names {prefix}, but there is no Python rclpy below it."
    )
