# SPDX-License-Identifier: Apache-2.0
"""Starts the node graph from launch/ in the foreground; one graph per bus."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ibms_battery.configuration import ConfigurationError
from ibms_bringup.launcher import LaunchError
from ibms_bringup.launcher.evaluate import list_arguments
from ibms_bringup.launcher.main import main
from ibms_bringup.launcher.packages import PackageError, find_prefix, find_share
from ibms_end.can.bus import BusConfiguration, BusRoleTakenError
from ibms_tools.bus_roles import EDGE_ROLES, SIMULATION_ROLES, claim_graph

AGGREGATOR = "diagnostic_aggregator"


def run(arguments: Sequence[str]) -> int:
    """Start and wait until the end; returns the exit code."""
    options = _parser().parse_args(arguments)
    file = launch_file(options.sim)
    wrong = [text for text in options.arguments if ":=" not in text]
    try:
        if wrong:
            raise LaunchError(f"malformed argument '{wrong[0]}'; expected name:=value")
        given = dict(text.split(":=", 1) for text in options.arguments)
        if "parameters" in given:
            from ibms_tools import parameter_files  # costs a second, for those who need it

            parameter_files.check(given["parameters"])
        bus = bus_of(file, given)
        if "aggregator" not in given and is_installed(AGGREGATOR):
            options.arguments.append("aggregator:=true")
        roles = (*EDGE_ROLES, *SIMULATION_ROLES) if options.sim else EDGE_ROLES
        claim = claim_graph(bus, roles)
    except (BusRoleTakenError, ConfigurationError, LaunchError, OSError) as error:
        print(f"ibms up: {error}", file=sys.stderr)
        return 1
    if (ros2 := shutil.which("ros2")) and has_launch(ros2):
        claim.set_inheritable(True)  # ros2 launch holds it from here on
        os.execv(ros2, [ros2, "launch", str(file), *options.arguments])
    with claim:
        return main([str(file), *options.arguments])


def launch_file(with_simulation: bool) -> Path:
    """The graph alone, or with a simulated pack."""
    name = "demo.launch.xml" if with_simulation else "ibms.launch.xml"
    return find_share("ibms_bringup", os.environ) / "launch" / name


def bus_of(file: Path, given: Mapping[str, str]) -> BusConfiguration:
    """The bus that a launch with these arguments uses; raises ``LaunchError``."""
    defaults = {
        listed.argument.name: listed.argument.default_source or ""
        for listed in list_arguments(file, os.environ)
    }
    values = {**defaults, **given}
    return BusConfiguration(values["bus_interface"], values["bus_channel"])


def is_installed(package: str) -> bool:
    """Whether there is a ROS package of this name."""
    try:
        find_prefix(package, os.environ)
    except PackageError:
        return False
    return True


def has_launch(ros2: str) -> bool:
    """Whether this ``ros2`` has the command ``launch``."""
    return subprocess.run([ros2, "launch", "--help"], capture_output=True).returncode == 0


def _parser() -> argparse.ArgumentParser:
    listed = [
        f"  {entry.argument.name}:={entry.argument.default_source or ''}\n"
        f"      {entry.argument.description or ''}"
        for entry in list_arguments(launch_file(False), os.environ)
    ]
    parser = argparse.ArgumentParser(
        prog="ibms up",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="arguments of the launch file, with their defaults:\n" + "\n".join(listed),
    )
    parser.add_argument(
        "--sim", action="store_true", help="with a simulated pack, on the local bus"
    )
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="launch arguments")
    return parser


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
