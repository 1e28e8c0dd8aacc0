# SPDX-License-Identifier: Apache-2.0
"""Freeze frames of the event memory as a bag, and as arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rclpy.serialization import deserialize_message

from ibms_edge.events.reader import FrameInfo
from ibms_edge.events.records import Recorded
from ibms_ros_common.manifest import interface_class, manifest
from ibms_tools.bag.writer import BagWriter
from ibms_tools.record import full_name


def write_bag(
    path: Path, info: FrameInfo, messages: Sequence[Recorded], namespace: str
) -> dict[str, int]:
    """Write a freeze frame as a new bag; returns the number of messages by topic.

    Raises:
        BagError: if ``path`` exists or cannot be created.
    """
    wall_offset_ns = info.trigger_wall_ns - info.trigger_ns
    with BagWriter(path) as writer:
        for topic in dict.fromkeys(message.topic for message in messages):
            entry = manifest().topics[topic]
            writer.add(full_name(topic, namespace), entry.type, manifest().qos_of(topic))
        for message in messages:
            writer.write(
                full_name(message.topic, namespace),
                message.received_ns + wall_offset_ns,
                message.data,
            )
    return writer.counts


def column(
    messages: Sequence[Recorded], topic: str, field: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """One field of one topic over time.

    Returns:
        times of receipt, CLOCK_BOOTTIME [ns], (messages,), and the values, (messages,) or for an
        array in the message (messages, elements).

    Raises:
        AttributeError: if the message has no such field.
        ValueError: if an array changes its length on the way.
    """
    kind = interface_class(manifest().topics[topic].type)
    chosen = [message for message in messages if message.topic == topic]
    times_ns = np.array([message.received_ns for message in chosen], np.int64)
    values = [getattr(deserialize_message(message.data, kind), field) for message in chosen]
    return times_ns, np.array(values, np.float64)
