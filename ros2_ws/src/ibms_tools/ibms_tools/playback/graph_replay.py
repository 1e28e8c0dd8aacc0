# SPDX-License-Identifier: Apache-2.0
"""Plays a bag over DDS into nodes started for it, and counts whether every input arrived.

The nodes live on the recorded time (``/clock`` and the stamps of their inputs), so that freshness
and debounce are the same at every rate. They get from the bag what none of them publishes, and the
rest from each other. Topics of DDS do not wait for one another, so equality with the replay into
single nodes is never taken for granted: it is claimed only if no input is missing and the outputs
are equal.
"""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock

from ibms_battery.clock import NS_PER_S
from ibms_bringup.launcher.launch import Launch
from ibms_bringup.launcher.model import ProcessSpec
from ibms_msgs.msg import Event
from ibms_ros_common.manifest import interface_class, manifest
from ibms_tools.bag.definitions import canonical
from ibms_tools.bag.reader import BagReader
from ibms_tools.playback.node_replay import replay_node
from ibms_tools.playback.nodes import ReplayError
from ibms_tools.playback.timeline import Timeline
from ibms_tools.record import full_name

_LAUNCH_FILE = "replay.launch.xml"
_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 120.0
_SETTLE_S = 2.5  # inputs that stand still for so long are final; nodes report once a second
_SPIN_TIMEOUT_S = 0.1
_CLOCK_STEP_S = 0.02  # of recorded time
_SHORTEST_CLOCK_STEP_S = 0.005  # of real time
_DEPTH = 1000


@dataclass(frozen=True)
class InputCount:
    """One input of one node."""

    node: str
    topic: str
    expected: int  # sent from the bag, or published by the other nodes
    received: int
    stale: int

    @property
    def missing(self) -> int:
        """Messages that did not arrive."""
        return self.expected - self.received


@dataclass(frozen=True)
class GraphReplay:
    """What arrived and what became of it."""

    inputs: list[InputCount]
    compared: list[str]  # nodes fed by the bag alone, whose outputs are compared
    outputs: int  # that they published
    different: int | None  # from the replay into a single node; None: inputs are missing

    @property
    def is_equal(self) -> bool:
        """Whether nothing was missing and the outputs are equal."""
        return self.different == 0

    def lines(self) -> Iterator[str]:
        """The result for people."""
        for i in self.inputs:
            note = f"  ({i.stale} of them stale)" if i.stale else ""
            note += f"  {i.missing} MISSING" if i.missing else ""
            yield f"{i.node}: {i.received} of {i.expected} of {i.topic}{note}"
        outputs = f"{self.outputs} outputs of {' and '.join(self.compared)}"
        if self.different is None:
            missing = ", ".join(
                f"{i.missing} of {i.topic} at {i.node}" for i in self.inputs if i.missing
            )
            yield f"no equality with the replay into single nodes is claimed, missing: {missing}"
        elif self.different:
            yield f"no input is missing, but of the {outputs} {self.different} differ from those"
            yield "of the replay into the single node"
        else:
            yield f"no input is missing, and the {outputs} equal those"
            yield "of the replay into the single node to the bit"


def replay_graph(
    bag: BagReader,
    namespace: str,
    arguments: Mapping[str, Any],
    rate: float,
    domain: int,
    topics: Collection[str] | None = None,
) -> GraphReplay:
    """Play ``bag`` into the nodes of ``launch/replay.launch.xml``.

    Args:
        bag: what was recorded.
        namespace: of the pack's topics in the bag.
        arguments: of the launch file: ``pack``.
        rate: recorded time over real time.
        domain: DDS domain, on this machine only.
        topics: play only these; default: all inputs that the nodes do not publish themselves.

    Raises:
        BagError: if the bag is damaged or holds nothing of the pack.
        LaunchError: if an argument is missing or unknown.
        ReplayError: if a node does not start, or another replay runs in this domain.
    """
    timeline = Timeline(bag, namespace)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    file = Path(get_package_share_directory("ibms_bringup"), "launch", _LAUNCH_FILE)
    launch = Launch(
        file,
        {
            **{name: str(value) for name, value in arguments.items()},
            "namespace": namespace,
            "boot_ns": str(timeline.start_ns),
            "wall_ns": str(timeline.start_ns + timeline.wall_offset_ns),
        },
        output=_to_standard_error,
    )
    with _player(launch, namespace, timeline) as player:
        player.wait_until_up()
        player.connect(topics)
        player.play(rate)
        player.wait_until_settled()
        inputs, fed_alone = player.count_inputs(), player.fed_by_bag_alone()
        heard, fed = player.heard, list(player.sent)
    said = {
        (name, topic): _said_by(name, topic, heard[topic])
        for name, published in fed_alone.items()
        for topic in published
    }
    outputs = sum(map(len, said.values()))
    if _missing(inputs):
        return GraphReplay(inputs, list(fed_alone), outputs, None)
    different = 0
    for name, published in fed_alone.items():
        single = _outputs_alone(name, bag, namespace, arguments, fed)
        for topic in published:
            different += _differences(topic, said[name, topic], single[topic])
    return GraphReplay(inputs, list(fed_alone), outputs, different)


def chosen_topics(fed: Sequence[str], wanted: Collection[str] | None) -> list[str]:
    """What is played of ``fed``; raises ReplayError for a wanted topic that is not among it."""
    for topic in wanted or ():
        if topic not in fed:
            raise ReplayError(f"topic {topic!r} is not played; played are {', '.join(fed)}")
    return [topic for topic in fed if wanted is None or topic in wanted]


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _outputs_alone(
    name: str,
    bag: BagReader,
    namespace: str,
    parameters: Mapping[str, Any],
    topics: Collection[str],
) -> dict[str, list[bytes]]:
    outputs: dict[str, list[bytes]] = defaultdict(list)

    def take(topic: str, _message: Any, data: bytes) -> None:
        outputs[topic].append(data)

    replay_node(name, bag, namespace, parameters, topics=topics, said=take)
    return outputs


def _missing(inputs: Iterable[InputCount]) -> bool:
    return any(entry.missing for entry in inputs)


def _said_by(name: str, topic: str, heard: list[bytes]) -> list[bytes]:
    """What a node said of what was heard: events come from several, and each names its source."""
    if topic != "events":
        return heard
    return [data for data in heard if deserialize_message(data, Event).source == name]


def _differences(topic: str, heard: list[bytes], single: list[bytes]) -> int:
    type_name = manifest().topics[topic].type
    pairs = zip((canonical(type_name, data) for data in heard), single, strict=False)
    differing = sum(a != b for a, b in pairs)
    return differing + abs(len(heard) - len(single))


@contextmanager
def _player(launch: Launch, namespace: str, timeline: Timeline) -> Iterator["_Player"]:
    context = Context()
    rclpy.init(args=[], context=context)
    node = Node("replayer", context=context, enable_rosout=False, start_parameter_services=False)
    executor = EventsExecutor(context=context)
    executor.add_node(node)
    try:
        with launch:
            yield _Player(node, executor, launch, namespace, timeline)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def _nodes_of(spec: ProcessSpec) -> list[str]:
    """The words between the program and its first option are names of nodes."""
    return list(takewhile(lambda word: not word.startswith("--"), spec.command[1:]))


class _Player:
    """Feeds the nodes and listens to their diagnostics and outputs."""

    def __init__(
        self,
        node: Node,
        executor: Executor,
        launch: Launch,
        namespace: str,
        timeline: Timeline,
    ) -> None:
        self.sent: dict[str, int] = {}
        self.heard: dict[str, list[bytes]] = defaultdict(list)
        self._node = node
        self._executor = executor
        self._launch = launch
        self._namespace = namespace
        self._timeline = timeline
        self._publishers: dict[str, Any] = {}
        self._nodes = [name for spec in launch.plan.processes for name in _nodes_of(spec)]
        self._reports: dict[str, tuple[float, dict[str, str]]] = {}
        self._clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=_DEPTH))
        node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=100)
        )

    def wait_until_up(self) -> None:
        """Wait for all nodes to be active."""
        self._wait(
            lambda: all(
                name in self._reports and self._reports[name][1]["active"] == "True"
                for name in self._nodes
            ),
            _START_TIMEOUT_S,
            "the nodes did not become active",
        )
        if self._node.count_publishers("/clock") > 1:
            raise ReplayError(
                "somebody else publishes /clock in this DDS domain; choose another --domain"
            )

    def connect(self, topics: Collection[str] | None) -> None:
        """Create publishers for what the nodes need from the bag, and listen to what they say."""
        listeners = {topic for name in self._nodes for topic in self._counts(name, "received")}
        made = {topic for name in self._nodes for topic in self._counts(name, "published")}
        fed = [t for t in self._timeline.counts if t in listeners - made]
        for topic in chosen_topics(fed, topics):
            entry, qos = manifest().topics[topic], manifest().qos_of(topic)
            qos.depth = _DEPTH
            self._publishers[topic] = self._node.create_publisher(
                interface_class(entry.type), full_name(topic, self._namespace), qos
            )
            self.sent[topic] = 0
        for topic in made:
            entry, qos = manifest().topics[topic], manifest().qos_of(topic)
            self._node.create_subscription(
                interface_class(entry.type),
                full_name(topic, self._namespace),
                self.heard[topic].append,
                QoSProfile(depth=_DEPTH, reliability=qos.reliability, durability=qos.durability),
                raw=True,
            )
        readers = {
            topic: sum(topic in self._counts(name, "received") for name in self._nodes)
            for topic in self._publishers
        }
        self._wait(
            lambda: (
                all(
                    publisher.get_subscription_count() >= readers[topic]
                    for topic, publisher in self._publishers.items()
                )
                and all(self._node.count_publishers(full_name(t, self._namespace)) for t in made)
            ),
            _START_TIMEOUT_S,
            "the nodes did not connect",
        )

    def play(self, rate: float) -> None:
        """Send clock and messages at their times."""
        step_ns = round(max(_CLOCK_STEP_S, _SHORTEST_CLOCK_STEP_S * rate) * NS_PER_S)
        start_ns, begin_s = self._timeline.start_ns, time.monotonic()
        tick_ns = start_ns

        def wait_for(boot_ns: int) -> None:
            due_s = begin_s + (boot_ns - start_ns) / NS_PER_S / rate
            self._executor.spin_once(timeout_sec=0.0)
            while (remaining_s := due_s - time.monotonic()) > 0.0:
                self._executor.spin_once(timeout_sec=min(remaining_s, _SPIN_TIMEOUT_S))

        for event in self._timeline.events(self._publishers):
            while tick_ns < event.boot_ns:
                wait_for(tick_ns)
                self._tick(tick_ns)
                tick_ns += step_ns
            wait_for(event.boot_ns)
            # The exact time goes before each message, so that the nodes judge it at that time.
            self._tick(event.boot_ns)
            tick_ns = event.boot_ns + step_ns
            self._publishers[event.topic].publish(event.recorded.data)
            self.sent[event.topic] += 1
        end_ns = self._timeline.end_ns
        for boot_ns in [*range(tick_ns, end_ns, step_ns), end_ns]:
            wait_for(boot_ns)
            self._tick(boot_ns)

    def wait_until_settled(self) -> None:
        """Wait until every input has arrived, or no more do."""
        end_s = changed_s = time.monotonic()
        before: list[InputCount] = []

        def is_settled() -> bool:
            nonlocal before, changed_s
            if any(self._reports[name][0] < end_s for name in self._nodes):
                return False
            counts, now_s = self.count_inputs(), time.monotonic()
            if counts != before:
                before, changed_s = counts, now_s
            return not _missing(counts) or now_s - changed_s >= _SETTLE_S

        self._wait(is_settled, _END_TIMEOUT_S, "the nodes did not come to rest")

    def count_inputs(self) -> list[InputCount]:
        """Compare what was sent with what arrived."""
        made: dict[str, int] = defaultdict(int)
        for name in self._nodes:
            for topic, count in self._counts(name, "published").items():
                made[topic] += count
        counts = []
        for name in self._nodes:
            stale = self._counts(name, "stale")
            for topic, received in self._counts(name, "received").items():
                expected = made[topic] if topic in made else self.sent.get(topic, 0)
                counts.append(InputCount(name, topic, expected, received, stale[topic]))
        return counts

    def fed_by_bag_alone(self) -> dict[str, list[str]]:
        """Nodes that hear none of the other nodes, and what they publish."""
        made = {topic for name in self._nodes for topic in self._counts(name, "published")}
        return {
            name: list(self._counts(name, "published"))
            for name in self._nodes
            if not made & set(self._counts(name, "received"))
        }

    def _counts(self, name: str, what: str) -> dict[str, int]:
        suffix = f" {what}"
        return {
            key.removesuffix(suffix): int(value)
            for key, value in self._reports[name][1].items()
            if key.endswith(suffix)
        }

    def _tick(self, boot_ns: int) -> None:
        seconds, nanoseconds = divmod(boot_ns, NS_PER_S)
        self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, subject = status.name.partition(": ")
            if subject == "node":
                values = {entry.key: entry.value for entry in status.values}
                self._reports[name] = (time.monotonic(), values)

    def _wait(self, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            for process in self._launch.processes:
                if process.pid is None:
                    names = " and ".join(_nodes_of(process.spec))
                    raise ReplayError(f"the process of {names} has ended; its output says why")
            if time.monotonic() > end_s:
                raise ReplayError(f"{problem} within {timeout_s:.0f} s")
            self._executor.spin_once(timeout_sec=_SPIN_TIMEOUT_S)
