# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from ibms_battery.clock import Clock, SystemClock, VirtualClock
from ibms_end.hardware_node import HardwareNode


class Recorded:
    """Hardware that notes what is done with it."""

    def __init__(self, log: list[str], name: str, problem: str = "") -> None:
        self._log, self._name, self._problem = log, name, problem

    def open(self) -> None:
        self._log.append(f"open {self._name}")
        if self._problem:
            raise OSError(self._problem)

    def start(self) -> None:
        self._log.append(f"start {self._name}")

    def stop(self) -> None:
        self._log.append(f"stop {self._name}")


def node_with(clock: Clock) -> Any:
    """A node without its ROS part, which these methods do not use."""
    node: Any = object.__new__(HardwareNode)
    node.clock = clock
    node._hardware = []
    return node


def test_hardware_opens_starts_and_closes_with_its_node() -> None:
    log: list[str] = []
    node = node_with(SystemClock())
    node.attach(Recorded(log, "a"))
    node.attach(Recorded(log, "b"))
    node.activate()
    node.deactivate()
    node.cleanup()
    node.cleanup()
    steps = [f"{step} {name}" for step in ("start", "stop", "stop") for name in "ab"]
    assert log == ["open a", "open b", *steps]


def test_hardware_that_does_not_open_is_closed_by_the_cleanup() -> None:
    log: list[str] = []
    node = node_with(SystemClock())
    with pytest.raises(OSError, match="no such device"):
        node.attach(Recorded(log, "a", "no such device"))
    node.cleanup()
    assert log == ["open a", "stop a"]


def test_replay_touches_no_hardware() -> None:
    log: list[str] = []
    node = node_with(VirtualClock())
    node.attach(Recorded(log, "a"))
    node.activate()
    node.cleanup()
    assert log == []
