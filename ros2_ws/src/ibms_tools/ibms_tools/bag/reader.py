# SPDX-License-Identifier: Apache-2.0
"""Reading of bags written by `./ibms record` or `ros2 bag record`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rclpy.serialization import deserialize_message
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from ibms_battery.clock import NS_PER_S
from ibms_ros_common.manifest import interface_class
from ibms_tools.bag import mcap_scan
from ibms_tools.bag.definitions import hash_of_definition, type_hash
from ibms_tools.bag.errors import BagError


@dataclass(frozen=True)
class BagMessage:
    """One message of a bag."""

    topic: str
    stamp_ns: int  # wall time at which it was received
    data: bytes  # serialized (CDR)
    message: Any


class BagReader:
    """An open bag.

    Raises:
        BagError: if it is none, is damaged, or its recording was interrupted; then the text says
            which part of it is readable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = _storage_file(path)
        with _as_bag_error(f"{path}: cannot be read", file):
            self._reader = Reader(path)
            self._reader.open()
        self.types = {c.topic: c.msgtype for c in self._reader.connections}
        self.counts = {c.topic: c.msgcount for c in self._reader.connections}
        self.start_ns = self._reader.start_time
        self.end_ns = self._reader.end_time - 1
        custom = self._reader.storage.metadata.custom
        self.custom: dict[str, str] = custom or {}

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Messages of ``topics`` in order of their receipt.

        Raises:
            BagError: for a topic that the bag does not hold, for one recorded with another
                definition than the installed one, for a damaged message, and if messages are
                missing.
        """
        connections = [self._connection(topic) for topic in topics]
        kinds = {topic: interface_class(self.types[topic]) for topic in topics}
        expected = sum(self.counts[topic] for topic in topics)
        count = 0
        # rosbags takes an empty list for all.
        raw = self._reader.messages(connections) if connections else iter(())
        while True:
            with _as_bag_error(f"{self.path}: damaged after message {count}"):
                item = next(raw, None)
            if item is None:
                break
            connection, stamp_ns, data = item
            count += 1
            topic = connection.topic
            with _as_bag_error(f"{self.path}: message {count} ({topic}) is damaged"):
                message = deserialize_message(data, kinds[topic])
            yield BagMessage(topic, stamp_ns, data, message)
        if count != expected:
            raise BagError(
                f"{self.path}: its summary says {expected} messages, but {count} were found"
            )

    def _connection(self, topic: str) -> Connection:
        found = [c for c in self._reader.connections if c.topic == topic]
        if not found:
            raise BagError(
                f"{self.path}: holds no topic {topic}; it holds {', '.join(sorted(self.types))}"
            )
        if len(found) > 1:
            raise BagError(f"{self.path}: holds topic {topic} {len(found)} times, expected once")
        connection = found[0]
        name = connection.msgtype
        with _as_bag_error(f"{self.path}: the definition of {name} is damaged"):
            recorded = connection.digest or hash_of_definition(name, connection.msgdef.data)
        with _as_bag_error(f"{self.path}: {name} of topic {topic} is not installed"):
            installed = type_hash(name)
        if recorded != installed:
            raise BagError(
                f"{self.path}: {topic} was recorded with another definition of {name} than the "
                f"installed one ({recorded} instead of {installed}); replay it with the release "
                "that recorded it"
            )
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()


@contextmanager
def _as_bag_error(text: str, file: Path | None = None) -> Iterator[None]:
    """Turn whatever a damaged bag makes a library raise into a BagError."""
    try:
        yield
    except BagError:
        raise
    except Exception as error:
        interrupted = _interruption(file) if file is not None else None
        raise BagError(interrupted or f"{text}: {error!s:.300} ({type(error).__name__})") from error


def _storage_file(path: Path) -> Path | None:
    """The file to blame if the bag cannot be opened."""
    if not path.exists():
        raise BagError(f"{path}: does not exist")
    if path.is_file():
        return path if path.suffix == ".mcap" else None
    files = sorted(path.glob("*.mcap"))
    if (path / "metadata.yaml").exists():
        return files[-1] if files else None
    if not files:
        raise BagError(f"{path}: is no bag, it holds neither metadata.yaml nor an MCAP file")
    raise BagError(
        _interruption(files[-1])
        or f"{path}: has no metadata.yaml; read {files[-1]} by itself, it is complete"
    )


def _interruption(file: Path) -> str | None:
    """What is left of an MCAP file that has no end; None if it has one."""
    part = mcap_scan.scan(file)
    if part is None:
        return f"{file}: is no MCAP file"
    if part.finished:
        return None
    readable = "no message is readable"
    if part.messages:
        seconds = (part.last_ns - part.first_ns) / NS_PER_S
        readable = f"the first {part.messages} messages ({seconds:.1f} s) are readable"
    return (
        f"{file}: truncated bag, its recording was interrupted: {readable}, which ends at byte "
        f"{part.end} of {part.size}; save them with `mcap recover {file.name} -o NEW.mcap`"
    )
