# SPDX-License-Identifier: Apache-2.0
"""Writing of an MCAP bag that `ros2 bag` and Foxglove can read."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rclpy.duration import Duration
from rclpy.qos import QoSProfile
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from ibms_battery.clock import NS_PER_S
from ibms_tools.bag.definitions import definition, type_hash
from ibms_tools.bag.errors import BagError


class BagWriter:
    """A new bag; leaving the context finishes it, whatever has happened, so that it can be read.

    Args:
        path: folder to create.
        custom: texts by name, kept in the bag's metadata.

    Raises:
        BagError: if ``path`` exists or cannot be created.
    """

    def __init__(self, path: Path, custom: Mapping[str, str] | None = None) -> None:
        if path.exists():
            raise BagError(f"{path}: exists already and is not overwritten; name another folder")
        self.counts: dict[str, int] = {}
        self._connections: dict[str, Connection] = {}
        self._writer = Writer(
            path, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP
        )
        for key, value in (custom or {}).items():
            self._writer.set_custom_data(key, value)
        try:
            self._writer.open()
        except OSError as error:
            raise BagError(f"{path}: cannot be created: {error.strerror}") from error

    def add(self, topic: str, type_name: str, qos: QoSProfile) -> None:
        """Add a topic under its full name, with the QoS profile that its publishers offer."""
        self._connections[topic] = self._writer.add_connection(
            topic,
            type_name,
            msgdef=definition(type_name),
            rihs01=type_hash(type_name),
            offered_qos_profiles=[_bag_qos(qos)],
        )
        self.counts[topic] = 0

    def write(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Append a serialized message, received at wall time ``stamp_ns``."""
        self._writer.write(self._connections[topic], stamp_ns, data)
        self.counts[topic] += 1

    def flush(self) -> None:
        """Hand what was written to the system, so that it outlives the end of this process."""
        storage = self._writer.storage
        assert isinstance(storage, McapWriter)
        if storage.chunk.msgs:
            storage.close_chunk()
        storage.bio.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()


def _bag_qos(qos: QoSProfile) -> Qos:
    return Qos(
        QosHistory[qos.history.name],
        qos.depth,
        QosReliability[qos.reliability.name],
        QosDurability[qos.durability.name],
        _bag_time(qos.deadline),
        _bag_time(qos.lifespan),
        QosLiveliness[qos.liveliness.name],
        _bag_time(qos.liveliness_lease_duration),
        qos.avoid_ros_namespace_conventions,
    )


def _bag_time(duration: Duration) -> QosTime:
    return QosTime(*divmod(duration.nanoseconds, NS_PER_S))
