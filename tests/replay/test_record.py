# SPDX-License-Identifier: Apache-2.0
"""Recording of running publishers, its end by signals, and what kill -9 leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ibms_battery.clock import SystemClock
from ibms_msgs.msg import CellMeasurement
from ibms_ros_common.manifest import manifest
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.reader import BagReader

pytestmark = pytest.mark.graph

TOPIC = "cells/measurement"
FULL_NAME = f"/battery/{TOPIC}"


@pytest.fixture
def node(domain: int) -> Iterator[Node]:
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    node = Node("source", namespace="battery", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@contextmanager
def recording(output: Path, domain: int, *topics: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "ibms_tools.record", *topics, "-o", output],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def publish(publisher: Any, count: int) -> None:
    clock = SystemClock()
    for index in range(count):
        message = CellMeasurement(boot_ns=clock.boot_ns(), scan_counter=index)
        publisher.publish(message)
        time.sleep(0.01)


def wait_for(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_everything_is_recorded_until_a_signal(node: Node, domain: int, tmp_path: Path) -> None:
    qos = manifest().qos_of(TOPIC)
    qos.depth = 100  # only the recorder is tested here, not a loaded machine
    publisher = node.create_publisher(CellMeasurement, TOPIC, qos)
    begin_ns = time.time_ns()
    with recording(tmp_path / "bag", domain) as process:
        wait_for(publisher.get_subscription_count)
        publish(publisher, 50)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert f"50  {FULL_NAME}" in output
    with BagReader(tmp_path / "bag") as bag:
        assert len(bag.counts) == len(manifest().topics)
        items = list(bag.messages([FULL_NAME]))
    assert [item.message.scan_counter for item in items] == list(range(50))
    assert all(begin_ns <= item.stamp_ns <= time.time_ns() for item in items)


def test_what_cannot_be_heard_is_an_error(node: Node, domain: int, tmp_path: Path) -> None:
    # Less than the topic promises does not reach those who need it.
    weak = QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    node.create_publisher(CellMeasurement, TOPIC, weak)
    with recording(tmp_path / "bag", domain, TOPIC) as process:
        wait_for(lambda: node.count_subscribers(FULL_NAME))
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "ERROR: a publisher offers another QoS" in output


def test_kill_leaves_a_bag_that_says_what_is_readable(
    node: Node, domain: int, tmp_path: Path
) -> None:
    publisher = node.create_publisher(CellMeasurement, TOPIC, manifest().qos_of(TOPIC))
    file = tmp_path / "bag" / "bag.mcap"
    with recording(tmp_path / "bag", domain, TOPIC) as process:
        wait_for(publisher.get_subscription_count)
        size = file.stat().st_size
        publish(publisher, 30)
        wait_for(lambda: file.stat().st_size > size)  # flushed once a second
        process.kill()
        process.wait(timeout=30)
    with pytest.raises(BagError, match=r"truncated bag.*the first \d+ messages .* are readable"):
        BagReader(tmp_path / "bag")
