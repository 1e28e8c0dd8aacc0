# SPDX-License-Identifier: Apache-2.0
"""Process of a graph replay: real nodes, on clocks that follow the recorded time."""

import argparse
import sys
from functools import partial
from typing import Any

from rclpy.utilities import remove_ros_args

from ibms_battery.clock import VirtualClock
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import run
from ibms_tools.playback.nodes import NODES, ReplayError, bring_up


def main() -> int:
    """Run nodes until SIGINT or SIGTERM; they come up by themselves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="+", choices=list(NODES), metavar="NODE")
    parser.add_argument("--boot-ns", type=int, required=True, help="recorded boot time to begin at")
    parser.add_argument("--wall-ns", type=int, required=True, help="wall time at that moment")
    options = parser.parse_args(remove_ros_args(sys.argv)[1:])

    def create(name: str) -> BmsNode[Any]:
        node = NODES[name](clock=VirtualClock(options.boot_ns, options.wall_ns))
        bring_up(node)
        return node

    try:
        return run(*(partial(create, name) for name in options.nodes))
    except ReplayError as error:
        print(f"replayed_nodes: {error}", file=sys.stderr)
        return 1
