# SPDX-License-Identifier: Apache-2.0
"""Looking on over DDS in this process: all is fetched in order, what is lost is counted."""

import time
from collections.abc import Iterator

import pytest
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message

from ibms_battery.clock import NS_PER_S, SystemClock
from ibms_msgs.msg import PackState
from ibms_ros_common.manifest import manifest
from ibms_ros_common.onlooker import Onlooker

TOPIC, CONTROL_TOPIC = "pack/state", "switch/state"


@pytest.fixture
def node(ros: None) -> Iterator[Node]:
    node = Node("someone", namespace="onlooker_test", start_parameter_services=False)
    yield node
    node.destroy_node()


@pytest.fixture
def onlooker(node: Node) -> Iterator[Onlooker]:
    onlooker = Onlooker(node, SystemClock())
    yield onlooker
    onlooker.close()


def publisher_of(node: Node, topic: str) -> Publisher:
    """A publisher of TOPIC with the QoS of a topic of the manifest, found by the onlooker."""
    qos = manifest().qos_of(topic)
    qos.depth = 1000
    publisher = node.create_publisher(PackState, TOPIC, qos)
    deadline_s = time.monotonic() + 30.0
    while publisher.get_subscription_count() == 0:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return publisher


def publish(publisher: Publisher, count: int) -> None:
    for number in range(count):
        publisher.publish(PackState(boot_ns=number))


def fetch(onlooker: Onlooker, count: int) -> list[tuple[str, int, bytes]]:
    fetched: list[tuple[str, int, bytes]] = []
    deadline_s = time.monotonic() + 30.0
    while len(fetched) < count:
        assert time.monotonic() < deadline_s, f"{len(fetched)} of {count}"
        fetched += onlooker.fetch()
        time.sleep(0.01)
    return fetched


def numbers(fetched: list[tuple[str, int, bytes]]) -> list[int]:
    return [deserialize_message(data, PackState).boot_ns for _, _, data in fetched]


def test_all_comes_in_order_with_the_time_of_receipt(node: Node, onlooker: Onlooker) -> None:
    begun_ns = SystemClock().boot_ns()
    onlooker.add(TOPIC, PackState, manifest().qos_of(TOPIC))
    publish(publisher_of(node, TOPIC), 100)
    fetched = fetch(onlooker, 100)
    assert numbers(fetched) == list(range(100))
    times = [received_ns for _, received_ns, _ in fetched]
    assert times == sorted(times)
    assert begun_ns < times[0] <= times[-1] <= SystemClock().boot_ns()
    assert onlooker.lost == 0
    assert onlooker.fetch() == []


def test_a_chatty_publisher_overwrites_the_oldest_and_that_is_counted(
    node: Node, onlooker: Onlooker
) -> None:
    onlooker.add(TOPIC, PackState, manifest().qos_of(CONTROL_TOPIC))
    publisher = publisher_of(node, CONTROL_TOPIC)
    publish(publisher, 10)
    assert numbers(fetch(onlooker, 10)) == list(range(10))
    publish(publisher, 500)
    time.sleep(0.5)
    fetched = numbers(fetch(onlooker, 1))
    while fetched[-1] != 499:
        fetched += numbers(fetch(onlooker, 1))
    assert fetched == sorted(set(fetched))
    assert onlooker.lost == 500 - len(fetched) > 0


def test_a_step_of_wall_time_moves_no_message_far(node: Node) -> None:
    class Stepped(SystemClock):
        step_ns = 0

        def wall_ns(self) -> int:
            return super().wall_ns() + self.step_ns

    clock = Stepped()
    onlooker = Onlooker(node, clock)
    onlooker.add(TOPIC, PackState, manifest().qos_of(TOPIC))
    publisher = publisher_of(node, TOPIC)
    begun_ns = clock.boot_ns()
    onlooker.fetch()
    for clock.step_ns in (3600 * NS_PER_S, -3600 * NS_PER_S):
        publish(publisher, 10)
        for _, received_ns, _ in fetch(onlooker, 10):
            assert begun_ns <= received_ns <= clock.boot_ns()
    onlooker.close()
