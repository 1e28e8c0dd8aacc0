# SPDX-License-Identifier: Apache-2.0
"""Writes the graph's topics to an MCAP bag, which `ros2 bag`, Foxglove and `./ibms replay` read.

Ends with Ctrl-C or SIGTERM. Serialized messages are written as they come: recording costs little.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from ibms_battery.clock import SystemClock
from ibms_ros_common.manifest import interface_class, manifest
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.writer import BagWriter
from ibms_tools.stop import Stop

DEFAULT_NAMESPACE = "battery"
_DEPTH = 200  # a queue for the time that a write to disk may take
_FLUSH_PERIOD_S = 1.0
_SPIN_TIMEOUT_S = 0.25
_START_SPIN_S = 0.005


def full_name(topic: str, namespace: str) -> str:
    """Full name of a topic of the manifest for the pack in ``namespace``."""
    return topic if topic.startswith("/") else f"/{namespace.strip('/')}/{topic}"


class Recorder:
    """Subscribes to topics of the manifest and writes what arrives into a bag."""

    def __init__(
        self, node: Node, writer: BagWriter, topics: Sequence[str], namespace: str
    ) -> None:
        self.lost: Counter[str] = Counter()
        self.incompatible: set[str] = set()
        self._node = node
        self._writer = writer
        self._names = {topic: full_name(topic, namespace) for topic in topics}
        clock = SystemClock()
        self._boot_ns = clock.boot_ns
        # Receive times are wall times, as in every bag, but a step of wall time must not change the
        # order of the messages: they count on from the wall time of the start.
        self._wall_offset_ns = clock.wall_ns() - clock.boot_ns()
        for topic, name in self._names.items():
            writer.add(name, manifest().topics[topic].type, manifest().qos_of(topic))

    def start(self, spin: Callable[[], None]) -> None:
        """Subscribe; ``spin`` is called in between, so that what arrives meanwhile is not held up.

        Held up, the first messages would look as if they had been received late.
        """
        for topic, name in self._names.items():
            offered = manifest().qos_of(topic)
            self._node.create_subscription(
                interface_class(manifest().topics[topic].type),
                name,
                self._taker(name),
                QoSProfile(
                    depth=_DEPTH, reliability=offered.reliability, durability=offered.durability
                ),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=self._noter(name),
                    message_lost=self._counter(name),
                    use_default_callbacks=False,
                ),
                raw=True,
            )
            spin()

    def _taker(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self._writer.write(name, self._boot_ns() + self._wall_offset_ns, data)

    def _noter(self, name: str) -> Callable[[Any], None]:
        return lambda _event: self.incompatible.add(name)

    def _counter(self, name: str) -> Callable[[Any], None]:
        return lambda event: self.lost.update({name: event.total_count_change})


def summary(recorder: Recorder, writer: BagWriter) -> str:
    """Table of what was recorded, for people."""
    lines = []
    for name, count in sorted(writer.counts.items()):
        line = f"{count:>9}  {name}"
        if recorder.lost[name]:
            line += f"  ({recorder.lost[name]} lost by the middleware)"
        if name in recorder.incompatible:
            line += "  ERROR: a publisher offers another QoS, its messages are not recorded"
        lines.append(line)
    return "\n".join([*lines, f"{sum(writer.counts.values()):>9}  messages"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until a signal or the end of the time; returns 1 if a publisher could not be heard."""
    options = _parse(arguments)
    unknown = [topic for topic in options.topics if topic not in manifest().topics]
    if unknown:
        known = ", ".join(manifest().topics)
        print(
            f"ibms record: topic {unknown[0]!r} is not in the manifest; it has {known}",
            file=sys.stderr,
        )
        return 2
    stop = Stop()
    try:
        with BagWriter(options.output) as writer:
            rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
            node = Node("recorder", namespace=options.namespace, start_parameter_services=False)
            topics = list(dict.fromkeys(options.topics or manifest().topics))
            recorder = Recorder(node, writer, topics, options.namespace)
            executor = EventsExecutor()
            executor.add_node(node)

            def spin_until(end_s: float) -> None:
                while (remaining_s := end_s - time.monotonic()) > 0 and not stop.requested:
                    executor.spin_once(timeout_sec=min(remaining_s, _SPIN_TIMEOUT_S))

            print(f"ibms record: {len(topics)} topics to {options.output}; Ctrl-C ends", flush=True)
            end_s = time.monotonic() + options.duration
            recorder.start(lambda: spin_until(time.monotonic() + _START_SPIN_S))
            while not stop.requested and time.monotonic() < end_s:
                spin_until(min(end_s, time.monotonic() + _FLUSH_PERIOD_S))
                writer.flush()
            executor.shutdown()
            node.destroy_node()
            rclpy.try_shutdown()
    except BagError as error:
        print(f"ibms record: {error}", file=sys.stderr)
        return 1
    print(summary(recorder, writer))
    print(f"written to {options.output}")
    return 1 if recorder.incompatible else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ibms record", description=__doc__)
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help="name as in the manifest; default: all of it"
    )
    name = time.strftime("ibms_%Y%m%d_%H%M%S", time.gmtime())
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(name), metavar="DIR", help="folder to create"
    )
    parser.add_argument(
        "--duration", type=float, default=float("inf"), metavar="S", help="end after this time [s]"
    )
    parser.add_argument(
        "--namespace", default=DEFAULT_NAMESPACE, help="of the pack's nodes (default: %(default)s)"
    )
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
