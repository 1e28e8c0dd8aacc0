# SPDX-License-Identifier: Apache-2.0
"""The environment that every process of the project runs in."""

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from frontdoor.paths import ROOT, VENV, WORKSPACE
from frontdoor.world import World

_DEFAULTS = {
    "ROS_DOMAIN_ID": "0",
    "PYBAMM_DISABLE_TELEMETRY": "true",
}
_FAST_DDS = "rmw_fastrtps_cpp"
# Of a foreign environment nothing may shine through into the wheels' world.
_REPLACED = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
)


def build_environment(world: World, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the workspace is built in: ROS 2 without the workspace."""
    environment = {name: _without_workspace(name, value) for name, value in inherited.items()}
    environment["VIRTUAL_ENV"] = str(VENV)
    _prepend(environment, "PATH", [str(VENV / "bin")])
    if world.has_wheels:
        for name in _REPLACED:
            environment.pop(name, None)
        environment |= {
            "AMENT_PREFIX_PATH": str(VENV),
            "CMAKE_PREFIX_PATH": str(VENV),
            "ROS_DISTRO": world.distro,
            "ROS_VERSION": "2",
            "ROS_PYTHON_VERSION": "3",
            "ROS_LOG_DIR": str(ROOT / "log" / "ros"),
            # The wheels restart every Python to set LD_LIBRARY_PATH; it is set below.
            "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        }
        libraries = sorted(VENV.glob("lib/python3.*/site-packages/ros_*.libs"))
        _prepend(environment, "LD_LIBRARY_PATH", map(str, [VENV / "lib", *libraries]))
    for name, value in _DEFAULTS.items():
        environment.setdefault(name, value)
    if "ROS_AUTOMATIC_DISCOVERY_RANGE" not in environment:
        environment |= loopback(environment)
    return environment


def loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep DDS on this machine; nothing leaves it unless configured."""
    if environment.get("RMW_IMPLEMENTATION", _FAST_DDS) != _FAST_DDS:
        return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    # With LOCALHOST Fast DDS would use shared memory; the profile says why not. The nodes get the
    # same from launch/environment.launch.xml.
    profile = str(ROOT / "config" / "dds" / "loopback.xml")
    return {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,  # as Fast DDS 2 calls it
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,  # and Fast DDS 3
    }


def runtime_environment(
    world: World, inherited: Mapping[str, str], prepend: Mapping[str, list[str]]
) -> dict[str, str]:
    """Return the environment for running: the build's, with the built workspace in front."""
    environment = build_environment(world, inherited)
    for name, entries in prepend.items():
        _prepend(environment, name, entries)
    return environment


def added_by(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """Return, per path variable, the entries that `after` has and `before` has not."""
    added = {}
    for name, value in after.items():
        old = before.get(name, "").split(os.pathsep)
        new = [entry for entry in value.split(os.pathsep) if entry not in old]
        if name.endswith("PATH") and new:
            added[name] = new
    return added


def export_lines(environment: Mapping[str, str], inherited: Mapping[str, str]) -> str:
    """Return shell lines that turn `inherited` into `environment`, for `eval`."""
    lines = [f"unset {name}" for name in sorted(inherited) if name not in environment]
    lines += [
        f"export {name}={shlex.quote(value)}"
        for name, value in sorted(environment.items())
        if inherited.get(name) != value
    ]
    return "\n".join(lines)


def _without_workspace(name: str, value: str) -> str:
    # A shell that has the built workspace already must give the same as one that has not.
    if not name.endswith("PATH"):
        return value
    entries = value.split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if not entry.startswith(f"{WORKSPACE}/"))


def _prepend(environment: dict[str, str], name: str, entries: Iterable[str | Path]) -> None:
    old = [entry for entry in environment.get(name, "").split(os.pathsep) if entry]
    merged = dict.fromkeys([*map(str, entries), *old])
    environment[name] = os.pathsep.join(merged)
