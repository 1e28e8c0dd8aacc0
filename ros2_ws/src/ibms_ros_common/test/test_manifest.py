# SPDX-License-Identifier: Apache-2.0
import pytest
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
)

from ibms_battery import configuration
from ibms_battery.configuration import ConfigurationError
from ibms_ros_common.manifest import MANIFEST_FILE, Manifest, interface_class, manifest

TOPICS = sorted(manifest().topics)


def ok(offered: QoSProfile, requested: QoSProfile) -> bool:
    """False if they certainly do not match; a system default in ``requested`` is only a warning."""
    compatibility, reason = qos_check_compatible(offered, requested)
    print(reason)
    return bool(compatibility != QoSCompatibility.ERROR)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topics_type_exists(topic: str) -> None:
    message = interface_class(manifest().topics[topic].type)()
    assert hasattr(message, "header")


@pytest.mark.parametrize("service", sorted(manifest().services))
def test_every_services_type_exists(service: str) -> None:
    kind = interface_class(manifest().services[service].type)
    assert hasattr(kind, "Request")
    assert hasattr(kind.Response(), "message")


@pytest.mark.parametrize("topic", TOPICS)
def test_publisher_and_subscriber_of_one_topic_fit(topic: str) -> None:
    profile = manifest().qos_of(topic)
    assert qos_check_compatible(profile, manifest().qos_of(topic))[0] == QoSCompatibility.OK


@pytest.mark.parametrize("topic", TOPICS)
def test_whoever_looks_with_sensor_data_quality_gets_every_topic(topic: str) -> None:
    assert ok(manifest().qos_of(topic), qos_profile_sensor_data)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_default_subscriber_gets_every_topic_that_is_not_telemetry(topic: str) -> None:
    is_telemetry = manifest().topics[topic].qos == "telemetry"
    assert ok(manifest().qos_of(topic), QoSProfile(depth=10)) != is_telemetry


@pytest.mark.parametrize("topic", TOPICS)
def test_a_recorder_that_adapts_to_what_is_offered_gets_every_topic(topic: str) -> None:
    """As rosbag2 does: reliability and durability of the publisher, nothing else demanded."""
    offered = manifest().qos_of(topic)
    adapted = QoSProfile(depth=100, reliability=offered.reliability, durability=offered.durability)
    assert ok(offered, adapted)


@pytest.mark.parametrize("topic", TOPICS)
def test_the_chain_does_not_hear_a_publisher_with_lesser_quality(topic: str) -> None:
    """What promises neither deadline nor sign of life, or may drop samples, is never matched."""
    if manifest().topics[topic].qos == "control":
        for foreign in (qos_profile_sensor_data, QoSProfile(depth=10)):
            assert not ok(foreign, manifest().qos_of(topic))


def test_topics_of_the_chain_have_one_publisher_that_is_checked() -> None:
    for name, topic in manifest().topics.items():
        assert (topic.qos == "control") == topic.single_publisher, name
        if topic.single_publisher:
            assert len(topic.publishers) == 1, name


def test_late_joiners_get_states_and_events() -> None:
    for topic in ("pack/state", "events", "switch/command"):
        assert manifest().qos_of(topic).durability is DurabilityPolicy.TRANSIENT_LOCAL
        assert manifest().qos_of(topic).reliability is ReliabilityPolicy.RELIABLE


def test_every_publisher_is_a_node_that_reports_diagnostics() -> None:
    nodes = set(manifest().topics["/diagnostics"].publishers)
    for topic in manifest().topics.values():
        assert set(topic.publishers) <= nodes


def test_the_file_is_checked_against_its_structure() -> None:
    document = configuration.read(MANIFEST_FILE)
    assert isinstance(document.data, dict)
    document.data["topics"]["events"]["rate_hz"] = "often"
    with pytest.raises(ConfigurationError, match=r"interfaces\.yaml:\d+: topics"):
        configuration.convert(document, Manifest)
