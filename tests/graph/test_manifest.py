# SPDX-License-Identifier: Apache-2.0
"""The running graph against the interface manifest."""

import time

import pytest
import rclpy
from rclpy.context import Context

from ibms_ros_common.manifest import interface_class, manifest
from ibms_ros_common.process import Executor
from ibms_tools.bench.pack_under_test import NAMESPACE, PackUnderTest

pytestmark = pytest.mark.graph

LISTEN_S = 4.0


def full_name(topic: str) -> str:
    return topic if topic.startswith("/") else f"/{NAMESPACE}/{topic}"


def publishers_of(pack: PackUnderTest, topic: str) -> list[str]:
    infos = pack._node.get_publishers_info_by_topic(full_name(topic))
    return sorted({info.node_name for info in infos} - {"lifecycle_manager"})


def wait_until_found(pack: PackUnderTest, topic: str, publishers: list[str]) -> None:
    pack.wait_until(
        f"{topic} has publishers {publishers}, found {publishers_of(pack, topic)}",
        lambda: publishers_of(pack, topic) == sorted(publishers),
        10.0,
    )


def test_topics_types_qos_and_publishers_are_as_the_manifest_says(pack: PackUnderTest) -> None:
    node = pack._node
    for name, topic in manifest().topics.items():
        wait_until_found(pack, name, topic.publishers)
        infos = node.get_publishers_info_by_topic(full_name(name))
        wanted = manifest().qos_of(name)
        for info in infos:
            assert info.topic_type == topic.type, name
            found = info.qos_profile
            assert found.reliability == wanted.reliability, name
            assert found.durability == wanted.durability, name
            assert found.liveliness == wanted.liveliness, name
            if topic.qos == "control":
                assert found.deadline == wanted.deadline, name
                assert found.liveliness_lease_duration == wanted.liveliness_lease_duration, name


def test_nothing_else_is_published_in_the_namespace(pack: PackUnderTest) -> None:
    known = {full_name(name) for name in manifest().topics}
    for name, types in pack._node.get_topic_names_and_types():
        if name.startswith(f"/{NAMESPACE}/") and not name.endswith("/transition_event"):
            assert name in known, f"{name} {types} is not in the manifest"


def test_services_are_as_the_manifest_says(pack: PackUnderTest) -> None:
    found = dict(pack._node.get_service_names_and_types())
    for name, service in manifest().services.items():
        assert found.get(full_name(name)) == [service.type], name


def test_rates_are_as_the_manifest_says(pack: PackUnderTest) -> None:
    context = Context()
    rclpy.init(context=context, domain_id=pack.domain, args=[])
    node = rclpy.create_node("rates", namespace=NAMESPACE, context=context)
    counts: dict[str, int] = {}
    stamps: dict[str, float] = {}

    def count(topic: str) -> None:
        counts[topic] = counts.get(topic, 0) + 1
        stamps[topic] = time.monotonic()

    for name, topic in manifest().topics.items():
        qos = manifest().qos_of(name)
        qos.depth = 100  # this counter may be slow; only the rate of the publisher matters
        node.create_subscription(
            interface_class(topic.type),
            name,
            lambda _message, t=name: count(t),
            qos,
            raw=True,
        )
    executor = Executor(context=context)
    executor.add_node(node)
    try:
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        counts.clear()
        start = time.monotonic()
        while time.monotonic() < start + LISTEN_S:
            executor.spin_once(timeout_sec=0.05)
        elapsed = time.monotonic() - start
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    named = {"scan": 1 / pack.pack.scan_period_s, "sample": 1 / pack.pack.pack_sample_period_s}
    for name, topic in manifest().topics.items():
        wanted = named[topic.rate_hz] if isinstance(topic.rate_hz, str) else topic.rate_hz
        if wanted:
            wanted *= len(topic.publishers) if name == "/diagnostics" else 1
            found = counts.get(name, 0) / elapsed
            assert 0.7 * wanted - 0.5 <= found <= 1.5 * wanted + 1.5, (name, found, wanted)
