# SPDX-License-Identifier: Apache-2.0
import atexit
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.parameter import Parameter

from ibms_battery.cell import Cell, load_cell
from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_battery.pack import Pack, load_pack
from ibms_msgs.msg import CellStates, PackEstimate, PackState, ProtectionStatus
from ibms_ros_common.node import BmsNode

CONFIG = Path(__file__).resolve().parents[4] / "config"


@pytest.fixture(scope="session")
def config() -> Path:
    return CONFIG


@pytest.fixture(scope="session")
def pack() -> Pack:
    return load_pack(CONFIG / "packs" / "robot_12s.yaml")


@pytest.fixture(scope="session")
def cell() -> Cell:
    return load_cell(CONFIG / "cells" / "lg_m50.yaml")


@pytest.fixture(scope="session")
def ros() -> None:
    """A ROS context for nodes that run in this process and talk to a sink, not over DDS.

    Tests of other packages may run in the same process: one context serves them all to its end.
    """
    if not rclpy.ok():
        rclpy.init()
        atexit.register(rclpy.try_shutdown)


class NodeAlone:
    """A node of the 12-cell pack in this process, on a virtual clock, without DDS and CAN."""

    def __init__(self, kind: Callable[..., BmsNode[Any]], parameters: dict[str, Any]) -> None:
        self.clock = VirtualClock(1_000 * NS_PER_S)
        self.sent: list[tuple[str, Any]] = []
        given = {"pack": str(CONFIG / "packs" / "robot_12s.yaml"), **parameters}
        self.node = kind(
            clock=self.clock,
            sink=lambda topic, message: self.sent.append((topic, message)),
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        )
        if self.node.trigger_configure().name == "SUCCESS":
            self.node.trigger_activate()

    def hear(self, topic: str, message: Any) -> None:
        """Hand the node a message with the present time."""
        message.boot_ns = self.clock.boot_ns()
        self.node.receive(self.node.inputs[topic], message)

    def healthy(self, voltage_v: float = 3.7, **state: Any) -> list[tuple[str, Any]]:
        """Healthy inputs of a pack in drive; ``state`` sets fields of cells/state."""
        cells = CellStates(current_a=0.0)
        cells.voltage_v = array("f", [voltage_v] * 12)
        cells.temperature_c = array("f", [25.0] * 12)
        cells.soc = array("f", [0.5] * 12)
        cells.capacity_ah = array("f", [15.0] * 12)
        cells.resistance_ohm = array("f", [0.028 / 3] * 12)
        cells.bleed_active = array("B", bytes(12))
        for name, value in state.items():
            setattr(cells, name, value)
        return [
            ("cells/state", cells),
            ("pack/state", PackState(state=PackState.STATE_DRIVE)),
            ("protection/status", ProtectionStatus()),
            ("pack/estimate", PackEstimate(valid=True, soc=0.5, capacity_ah=15.0)),
        ]

    def hear_all(self, voltage_v: float = 3.7, **state: Any) -> None:
        """Hand the node what it listens to of the healthy inputs."""
        for topic, message in self.healthy(voltage_v, **state):
            if topic in self.node.inputs:
                self.hear(topic, message)

    def advance(self, seconds: float) -> None:
        """Let time pass without input."""
        self.node.advance(self.clock.boot_ns() + round(seconds * NS_PER_S))

    def run(self, seconds: float, **state: Any) -> None:
        """Let time pass with fresh inputs."""
        for _ in range(round(seconds / 0.1)):
            self.hear_all(**state)
            self.advance(0.1)

    def newest(self, topic: str) -> Any:
        """Newest message that the node published on ``topic``."""
        return next(message for name, message in reversed(self.sent) if name == topic)


@pytest.fixture
def start(ros: None) -> Iterator[Callable[..., NodeAlone]]:
    """Starts nodes: ``start(Balancing, start_above_v=0.02)``."""
    started = []

    def start(kind: Callable[..., BmsNode[Any]], **parameters: Any) -> NodeAlone:
        started.append(NodeAlone(kind, parameters))
        return started[-1]

    yield start
    for alone in started:
        alone.node.stop()
        alone.node.destroy_node()
