# SPDX-License-Identifier: Apache-2.0
"""The interface manifest as typed data, and the QoS profiles it names."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from ibms_battery import configuration

MANIFEST_FILE = Path(__file__).with_name("interfaces.yaml")


class Qos(Struct, frozen=True, forbid_unknown_fields=True):
    """A named QoS profile."""

    reliability: Literal["reliable", "best_effort"]
    durability: Literal["volatile", "transient_local"]
    depth: Annotated[int, Meta(ge=1, le=1000)]
    deadline_s: float | None = None
    liveliness: Literal["automatic", "manual_by_topic"] = "automatic"
    lease_s: float | None = None

    def profile(self) -> QoSProfile:
        """The profile as rclpy takes it."""
        profile = QoSProfile(
            depth=self.depth,
            reliability=ReliabilityPolicy[self.reliability.upper()],
            durability=DurabilityPolicy[self.durability.upper()],
            liveliness=LivelinessPolicy[self.liveliness.upper()],
        )
        if self.deadline_s is not None:
            profile.deadline = Duration(seconds=self.deadline_s)
        if self.lease_s is not None:
            profile.liveliness_lease_duration = Duration(seconds=self.lease_s)
        return profile


class Topic(Struct, frozen=True, forbid_unknown_fields=True):
    """A topic of the graph."""

    type: str
    qos: str
    rate_hz: Literal["scan", "sample"] | float
    publishers: list[str]
    single_publisher: bool = False


class Service(Struct, frozen=True, forbid_unknown_fields=True):
    """A service of the graph."""

    type: str
    server: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that nodes exchange."""

    qos: dict[str, Qos]
    topics: dict[str, Topic]
    services: dict[str, Service]

    def qos_of(self, topic: str) -> QoSProfile:
        """QoS profile of ``topic``."""
        return self.qos[self.topics[topic].qos].profile()


@cache
def manifest() -> Manifest:
    """The manifest of this release; raises ``ConfigurationError`` if the file is wrong."""
    document = configuration.read(MANIFEST_FILE)
    loaded = configuration.convert(document, Manifest)
    for name, topic in loaded.topics.items():
        if topic.qos not in loaded.qos:
            raise document.error(["topics", name, "qos"], f"no QoS profile is called {topic.qos!r}")
    return loaded


def interface_class(type_name: str) -> Any:
    """Python class of an interface such as ``ibms_msgs/msg/PackState``."""
    package, kind, name = type_name.split("/")
    return getattr(import_module(f"{package}.{kind}"), name)
