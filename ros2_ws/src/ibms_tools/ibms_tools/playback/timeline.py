# SPDX-License-Identifier: Apache-2.0
"""The messages of a bag in order, with the recorded time that drives a replay."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S
from ibms_ros_common.manifest import interface_class, manifest
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.reader import BagMessage, BagReader
from ibms_tools.record import full_name

_LARGEST_LEAD_NS = NS_PER_S  # of a stamp before its receipt; a larger one is absurd


class RecordedTime:
    """Boot time as it went on while the bag was recorded.

    It is the newest sampling stamp (``boot_ns``) seen so far: monotonic, and free of the delays of
    the recording computer. A stamp more than a second after its own receipt moves nothing.
    """

    def __init__(self, wall_offset_ns: int, boot_ns: int) -> None:
        self.wall_offset_ns = wall_offset_ns  # wall time minus boot time
        self.now_ns = boot_ns

    def at(self, boot_ns: int, received_ns: int) -> int:
        """Boot time at a message stamped ``boot_ns`` and received at wall time ``received_ns``."""
        if boot_ns - (received_ns - self.wall_offset_ns) <= _LARGEST_LEAD_NS:
            self.now_ns = max(self.now_ns, boot_ns)
        return self.now_ns


@dataclass(frozen=True)
class Event:
    """A message and the boot time at which it is replayed."""

    topic: str  # as in the manifest
    boot_ns: int
    recorded: BagMessage


class Timeline:
    """The stamped messages of a pack in a bag.

    Args:
        bag: open bag.
        namespace: of the pack's topics in it.

    Raises:
        BagError: if the bag holds no stamped message of the pack, or a topic of another type.
    """

    def __init__(self, bag: BagReader, namespace: str) -> None:
        self._bag = bag
        self._names = {
            topic: name
            for topic, entry in manifest().topics.items()
            if (name := full_name(topic, namespace)) in bag.types and _is_stamped(entry.type)
        }
        for topic, name in self._names.items():
            expected = manifest().topics[topic].type
            if bag.types[name] != expected:
                raise BagError(
                    f"{bag.path}: topic {name} has type {bag.types[name]}, expected {expected}"
                )
        self.counts = {topic: bag.counts[name] for topic, name in self._names.items()}
        first = next(self._first_messages(), None)
        if first is None:
            there = ", ".join(sorted(name for name, count in bag.counts.items() if count))
            raise BagError(
                f"{bag.path}: holds no message of a pack in namespace {namespace!r}; "
                f"it holds {there or 'none at all'}"
            )
        stamp = first.message.header.stamp
        self.wall_offset_ns: int = stamp.sec * NS_PER_S + stamp.nanosec - first.message.boot_ns
        # A latched first message may be old, and one may come long after the bag begins.
        begin_ns = bag.start_ns - self.wall_offset_ns
        self.start_ns: int = max(min(first.message.boot_ns, begin_ns), begin_ns - NS_PER_S)
        self.end_ns: int = bag.end_ns - self.wall_offset_ns

    def events(self, topics: Collection[str]) -> Iterator[Event]:
        """Messages of ``topics``, named as in the manifest; what the bag lacks is passed over.

        All stamped messages of the pack drive the time, whichever topics are asked for.
        """
        topic_of = {name: topic for topic, name in self._names.items()}
        time = RecordedTime(self.wall_offset_ns, self.start_ns)
        for recorded in self._bag.messages(topic_of):
            boot_ns = time.at(recorded.message.boot_ns, recorded.stamp_ns)
            topic = topic_of[recorded.topic]
            if topic in topics:
                yield Event(topic, boot_ns, recorded)

    def _first_messages(self) -> Iterator[BagMessage]:
        """The first message of each topic, in the manifest's order: measurements come first."""
        for topic, name in self._names.items():
            if self.counts[topic]:
                yield next(self._bag.messages([name]))


def _is_stamped(type_name: str) -> bool:
    return "boot_ns" in interface_class(type_name).get_fields_and_field_types()
