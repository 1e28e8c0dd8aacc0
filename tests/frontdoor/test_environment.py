# SPDX-License-Identifier: Apache-2.0
"""Tests of the environment that every process runs in."""

import subprocess
from pathlib import Path

import pytest

from frontdoor import environment
from frontdoor.paths import WORKSPACE
from frontdoor.world import World

WHEELS = World(None, "jazzy", Path("/usr/bin/python3"))
SOURCED = World(Path("/opt/ros/lyrical"), "lyrical", Path("/usr/bin/python3"))
PREPEND = {"PYTHONPATH": ["/ws/a", "/ws/b"], "AMENT_PREFIX_PATH": ["/ws/install/a"]}


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("ros_rcl.libs", "ros_rclpy.libs", "numpy.libs"):
        (packages / name).mkdir(parents=True)
    monkeypatch.setattr(environment, "VENV", tmp_path)
    return tmp_path


def test_wheels_know_every_library_folder(venv: Path) -> None:
    built = environment.build_environment(WHEELS, {"PATH": "/usr/bin", "HOME": "/home/me"})
    packages = venv / "lib/python3.11/site-packages"
    assert built["LD_LIBRARY_PATH"].split(":") == [
        str(venv / "lib"), str(packages / "ros_rcl.libs"), str(packages / "ros_rclpy.libs"),
    ]  # fmt: skip
    assert built["PATH"] == f"{venv}/bin:/usr/bin"
    assert built["AMENT_PREFIX_PATH"] == str(venv)
    assert built["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] == "1"
    assert built["ROS_LOG_DIR"] == str(WORKSPACE.parent / "log" / "ros")
    assert built["HOME"] == "/home/me"


def test_nothing_foreign_shines_through_into_the_wheels(venv: Path) -> None:
    foreign = {"PYTHONPATH": "/foreign", "CMAKE_PREFIX_PATH": "/foreign", "PYTHONHOME": "/foreign"}
    built = environment.runtime_environment(WHEELS, foreign, PREPEND)
    assert built["PYTHONPATH"] == "/ws/a:/ws/b"
    assert built["AMENT_PREFIX_PATH"] == f"/ws/install/a:{venv}"
    assert "/foreign" not in " ".join(built.values())


def test_sourced_ros_keeps_its_own(venv: Path) -> None:
    sourced = {
        "PYTHONPATH": "/opt/ros/lyrical/lib", "AMENT_PREFIX_PATH": "/opt/ros/lyrical",
        "RMW_IMPLEMENTATION": "rmw_zenoh_cpp",
    }  # fmt: skip
    built = environment.runtime_environment(SOURCED, sourced, PREPEND)
    assert built["PYTHONPATH"] == "/ws/a:/ws/b:/opt/ros/lyrical/lib"
    assert built["AMENT_PREFIX_PATH"] == "/ws/install/a:/opt/ros/lyrical"
    assert built["RMW_IMPLEMENTATION"] == "rmw_zenoh_cpp"
    assert "LD_LIBRARY_PATH" not in built
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in built


@pytest.mark.parametrize("world", [WHEELS, SOURCED])
def test_nothing_leaves_the_machine_unless_asked(venv: Path, world: World) -> None:
    built = environment.build_environment(world, {})
    assert built["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SYSTEM_DEFAULT"
    profile = Path(built["FASTRTPS_DEFAULT_PROFILES_FILE"]).read_text()
    assert "<address>127.0.0.1</address>" in profile
    other = environment.build_environment(world, {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})
    assert other["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert built["PYBAMM_DISABLE_TELEMETRY"] == "true"
    asked = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_DOMAIN_ID": "7"}
    built = environment.build_environment(world, asked)
    assert built["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in built
    assert built["ROS_DOMAIN_ID"] == "7"


@pytest.mark.parametrize("world", [WHEELS, SOURCED])
def test_inside_of_itself_nothing_changes(venv: Path, world: World) -> None:
    once = environment.runtime_environment(world, {"PATH": "/usr/bin"}, PREPEND)
    assert environment.runtime_environment(world, once, PREPEND) == once


def test_a_shell_with_the_built_workspace_builds_like_one_without(venv: Path) -> None:
    inherited = {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/lib"}
    added = {"LD_LIBRARY_PATH": [f"{WORKSPACE}/install/ibms_msgs/lib"]}
    evaluated = environment.runtime_environment(WHEELS, inherited, added)
    assert added["LD_LIBRARY_PATH"][0] in evaluated["LD_LIBRARY_PATH"]
    assert environment.build_environment(WHEELS, evaluated) == environment.build_environment(
        WHEELS, inherited
    )


def test_added_by_finds_new_path_entries_only() -> None:
    before = {"PATH": "/usr/bin", "AMENT_PREFIX_PATH": "/v", "OTHER": "x"}
    after = {"PATH": "/w/bin:/usr/bin", "AMENT_PREFIX_PATH": "/v", "PYTHONPATH": "/w", "OTHER": "y"}
    assert environment.added_by(before, after) == {"PATH": ["/w/bin"], "PYTHONPATH": ["/w"]}


def test_export_lines_survive_a_shell() -> None:
    inherited = {"PATH": "/usr/bin:/bin", "PYTHONHOME": "/old", "SAME": "1"}
    wanted = {"PATH": "/usr/bin:/bin", "SAME": "1", "NEW": "it's a $VALUE\nin two lines"}
    lines = environment.export_lines(wanted, inherited)
    assert "SAME" not in lines
    shell = subprocess.run(
        ["/bin/sh", "-c", f'{lines}\nprintf "%s|%s" "$NEW" "${{PYTHONHOME-unset}}"'],
        env=inherited, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout == "it's a $VALUE\nin two lines|unset"
