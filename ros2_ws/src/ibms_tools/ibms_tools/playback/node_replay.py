# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into one node, in this process and on the recorded time, as fast as it goes.

The node is the real one: its handlers are called in the order of the bag, its periodic functions
and loops at the times at which they fall due in between. Nothing goes through DDS, so two runs are
equal to the bit.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_ros_common.manifest import manifest
from ibms_ros_common.node import BmsNode
from ibms_tools.bag.definitions import canonical
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.reader import BagReader
from ibms_tools.bag.writer import BagWriter
from ibms_tools.playback.nodes import NODES, bring_up
from ibms_tools.playback.timeline import Timeline
from ibms_tools.record import full_name

Heard = Callable[[str, Any], None]  # topic, message
Said = Callable[[str, Any, bytes], None]  # topic, message, the same serialized


@dataclass
class NodeReplay:
    """What went in and came out; topics are named as in the manifest."""

    received: dict[str, int] = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    digest: str = ""  # SHA-256 over all that was published, in order
    recorded_s: float = 0.0
    wall_s: float = 0.0

    @property
    def speed_factor(self) -> float:
        """Recorded time over the time that the replay took."""
        return self.recorded_s / self.wall_s


def replay_node(
    name: str,
    bag: BagReader,
    namespace: str,
    parameters: Mapping[str, Any],
    output: BagWriter | None = None,
    topics: Collection[str] | None = None,
    heard: Heard | None = None,
    said: Said | None = None,
) -> NodeReplay:
    """Play ``bag`` into node ``name``.

    Args:
        name: a node of ``NODES``.
        bag: what was recorded.
        namespace: of the pack's topics in the bag.
        parameters: of the node.
        output: where to write what the node publishes.
        topics: play only these; default: all that the node listens to.
        heard: is called with each message before the node gets it.
        said: is called with each message that the node publishes.

    Raises:
        BagError: if the bag is damaged or holds none of the node's inputs.
        ParameterError: if a parameter has the wrong type.
        ReplayError: if the node refuses its configuration.
    """
    timeline = Timeline(bag, namespace)
    clock = VirtualClock(timeline.start_ns, timeline.start_ns + timeline.wall_offset_ns)
    result = NodeReplay()
    digest = hashlib.sha256()

    def sink(topic: str, message: Any) -> None:
        data = canonical(manifest().topics[topic].type, serialize_message(message))
        stamp_ns = clock.wall_ns()
        digest.update(f"{topic} {stamp_ns} {len(data)}\n".encode() + data)
        if output is not None:
            output.write(full_name(topic, namespace), stamp_ns, data)
        if said is not None:
            said(topic, message, data)

    with _node(name, namespace, clock, sink, parameters) as node:
        bring_up(node)
        if not any(timeline.counts.get(topic) for topic in node.inputs):
            raise BagError(
                f"{bag.path}: holds nothing that {name} listens to: {', '.join(node.inputs)}"
            )
        if output is not None:
            for topic in node.published:
                entry = manifest().topics[topic]
                output.add(full_name(topic, namespace), entry.type, manifest().qos_of(topic))
        begin_s = time.perf_counter()
        chosen = [topic for topic in node.inputs if topics is None or topic in topics]
        for event in timeline.events(chosen):
            node.advance(event.boot_ns)
            if heard is not None:
                heard(event.topic, event.recorded.message)
            node.receive(node.inputs[event.topic], event.recorded.message)
        node.advance(timeline.end_ns)
        result.wall_s = time.perf_counter() - begin_s
        result.recorded_s = (clock.boot_ns() - timeline.start_ns) / NS_PER_S
        result.received = {topic: source.received for topic, source in node.inputs.items()}
        result.stale = {topic: source.stale for topic, source in node.inputs.items()}
        result.published = dict(node.published)
        result.digest = digest.hexdigest()
    return result


@contextmanager
def _node(
    name: str, namespace: str, clock: VirtualClock, sink: Heard, parameters: Mapping[str, Any]
) -> Iterator[BmsNode[Any]]:
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = NODES[name](
            clock=clock,
            sink=sink,
            context=context,
            namespace=namespace,
            parameter_overrides=[Parameter(key, value=value) for key, value in parameters.items()],
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            enable_communication_interface=False,
        )
        yield node
        # What a node says while it stops belongs to the end of this process, not to the recording.
        node.destroy_node()
    finally:
        context.try_shutdown()
