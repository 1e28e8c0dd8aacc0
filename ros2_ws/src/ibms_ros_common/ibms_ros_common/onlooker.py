# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that no executor serves: what came is fetched from time to time, serialized.

A callback of rclpy costs about 0.2 ms of processor time, a fetched message a tenth of that, so a
node can look at everything that the time-critical chain says.
"""

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ibms_battery.clock import Clock

_DEPTH = 200  # a queue for the time that the callbacks of the process may take


@dataclass
class _Source:
    topic: str
    subscription: Any
    sequence: int | None = None  # of the publisher, with the newest message


class Onlooker:
    """Looks at topics without being a part of what it looks at.

    It asks for no repetition where a topic keeps nothing for latecomers, and supervises nobody.

    Args:
        node: in whose namespace and process it looks on.
        clock: time of receipt.
    """

    def __init__(self, node: Node, clock: Clock) -> None:
        self._clock = clock
        self._fetched_ns = clock.boot_ns()
        self._sources: list[_Source] = []
        self.lost = 0  # overwritten before they were fetched, or dropped on the way
        # An executor serves all subscriptions of its nodes, so these belong to another one.
        self._node = Node(
            f"_{node.get_name()}_onlooker",  # hidden, as names with an underscore are
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )

    def add(self, topic: str, kind: Any, offered: QoSProfile) -> None:
        """Look at a topic of this type and QoS from now on."""
        keeps = offered.durability is DurabilityPolicy.TRANSIENT_LOCAL
        qos = QoSProfile(
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if keeps else ReliabilityPolicy.BEST_EFFORT,
            durability=offered.durability,
        )
        subscription = self._node.create_subscription(
            kind, topic, lambda _data: None, qos, raw=True
        )
        self._sources.append(_Source(topic, subscription))

    def fetch(self) -> list[tuple[str, int, bytes]]:
        """Topic, CLOCK_BOOTTIME of receipt [ns] and data of what came since the last call."""
        now_ns = self._clock.boot_ns()
        offset_ns = now_ns - self._clock.wall_ns()
        fetched = []
        for source in self._sources:
            handle, kind = source.subscription.handle, source.subscription.msg_type
            while (taken := handle.take_message(kind, True)) is not None:
                data, info = taken
                self._count(source, info.get("publication_sequence_number"))
                # Stamped in wall time; a step of it moves no message out of this interval.
                received_ns = info["received_timestamp"] + offset_ns
                received_ns = max(self._fetched_ns, min(received_ns, now_ns))
                fetched.append((source.topic, received_ns, data))
        self._fetched_ns = now_ns
        fetched.sort(key=itemgetter(1))
        return fetched

    def close(self) -> None:
        """End all subscriptions."""
        self._node.destroy_node()

    def _count(self, source: _Source, sequence: int | None) -> None:
        if sequence is None:
            return  # this middleware does not count
        if source.sequence is not None and sequence > source.sequence:
            self.lost += sequence - source.sequence - 1
        source.sequence = sequence
