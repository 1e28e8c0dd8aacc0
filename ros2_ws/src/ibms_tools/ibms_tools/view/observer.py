# SPDX-License-Identifier: Apache-2.0
"""A node that only looks on: it counts all topics and decodes what is shown."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import Pack
from ibms_bringup.launcher import ProcessStatus
from ibms_ros_common.manifest import interface_class, manifest
from ibms_tools.view.feed import Continuity, Feed
from ibms_tools.view.loads import LoadMeter, cpu_time_s
from ibms_tools.view.picture import Flow, Picture

_SILENT_NS = 3 * NS_PER_S // 2
_DEPTH = 100  # deeper than the writers': the view must not lose what it is late for
_COUNTERS = {"cells/measurement": "scan_counter", "pack/measurement": "sample_counter"}
_SHOWN = {
    "state": "pack/state",
    "switch": "switch/state",
    "sample": "pack/measurement",
    "cells": "cells/state",
    "estimate": "pack/estimate",
    "prediction": "pack/power",
    "protection": "protection/status",
    "limits": "pack/limits",
    "balancing": "balancing/status",
    "thermal": "thermal/state",
    "insulation": "insulation/measurement",
}


class Observer(Node):
    """Subscribes raw, so that the chain's topics cost a counter and no decoding.

    Args:
        pack: the pack that is looked at.
        namespace: where its nodes are.
        clock: for ages and rates.
    """

    def __init__(self, pack: Pack, namespace: str, clock: Clock) -> None:
        super().__init__("view", namespace=namespace)
        self.pack = pack
        self.feeds: dict[str, Feed] = {}
        self.events: list[Any] = []
        self.node_states: dict[str, str] = {}
        self.continuity = {topic: Continuity() for topic in _COUNTERS}
        self._time: Clock = clock
        self._meter = LoadMeter()
        self._own_cpu: tuple[int, float, float] = (0, 0.0, float("nan"))
        for topic in (*_SHOWN.values(), "cells/measurement"):
            self._feed(topic)
        self.on_message("events", self._on_event)
        self.on_message("/diagnostics", self._on_diagnostics)

    def on_message(self, topic: str, handler: Callable[[Any], None]) -> None:
        """Call ``handler`` with each message of a topic."""
        kind = interface_class(manifest().topics[topic].type)
        self.create_subscription(kind, topic, handler, self._qos(topic))

    def call(self, service: str, request: Any) -> Future:
        """Call a service of the manifest; the future holds the response."""
        kind = interface_class(manifest().services[service].type)
        return self.create_client(kind, service).call_async(request)

    def all_active(self) -> bool:
        """Whether the lifecycle manager has said that every node is active."""
        return bool(self.node_states) and set(self.node_states.values()) == {"active"}

    def count_losses_anew(self) -> None:
        """Forget what was lost so far, as while the nodes come up."""
        self.continuity = {topic: Continuity() for topic in _COUNTERS}

    def look(self, processes: Sequence[ProcessStatus], **known: Any) -> Picture:
        """The picture of now; ``known`` are fields of it that the caller knows."""
        now_ns = self._time.boot_ns()
        return Picture(
            pack=self.pack,
            events=tuple(self.events),
            scans=self._flow("cells/measurement", now_ns),
            samples=self._flow("pack/measurement", now_ns),
            verdicts=self._flow("protection/status", now_ns),
            loads=self._meter.update(processes, now_ns),
            view_cpu_cores=self._own_cpu_cores(now_ns),
            **{name: self._fresh(topic, now_ns) for name, topic in _SHOWN.items()},
            **known,
        )

    def _feed(self, topic: str) -> None:
        kind = interface_class(manifest().topics[topic].type)
        feed = Feed(partial(_decode, kind), self._time)
        self.feeds[topic] = feed
        self.create_subscription(kind, topic, feed.receive, self._qos(topic), raw=True)

    def _qos(self, topic: str) -> QoSProfile:
        """As the manifest says, without what only a member of the chain needs."""
        qos = manifest().qos_of(topic)
        return QoSProfile(
            depth=max(qos.depth, _DEPTH), reliability=qos.reliability, durability=qos.durability
        )

    def _fresh(self, topic: str, now_ns: int) -> Any:
        message = self.feeds[topic].latest()
        if message is None or now_ns - message.boot_ns > _SILENT_NS:
            return None
        return message

    def _flow(self, topic: str, now_ns: int) -> Flow:
        feed = self.feeds[topic]
        message, continuity = feed.latest(), self.continuity.get(topic)
        if message is not None and continuity is not None:
            continuity.update(getattr(message, _COUNTERS[topic]), feed.received)
        return Flow(
            feed.received,
            feed.rate_hz(now_ns),
            continuity.lost if continuity else 0,
            feed.lateness_s(),
        )

    def _own_cpu_cores(self, now_ns: int) -> float:
        last_ns, last_s, cores = self._own_cpu
        if now_ns - last_ns >= NS_PER_S:
            used_s = cpu_time_s(os.getpid())
            cores = (used_s - last_s) * NS_PER_S / (now_ns - last_ns) if last_ns else float("nan")
            self._own_cpu = (now_ns, used_s, cores)
        return cores

    def _on_event(self, message: Any) -> None:
        self.events.append(message)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "lifecycle_manager: nodes":
                self.node_states = {
                    pair.key: pair.value for pair in status.values if pair.key != "restarts"
                }


def _decode(kind: Any, raw: bytes) -> Any:
    return deserialize_message(raw, kind)
