# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message

from ibms_battery.clock import NS_PER_S
from ibms_msgs.msg import CellMeasurement, PackState
from ibms_ros_common.manifest import manifest
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.reader import BagReader
from ibms_tools.bag.writer import BagWriter
from ibms_tools.playback.timeline import RecordedTime, Timeline

OFFSET_NS = 1_000_000 * NS_PER_S  # wall time minus boot time
DELAY_NS = 3_000_000  # from sampling to receipt


def write(path: Path, messages: list[tuple[str, int, int]]) -> Path:
    """A bag of (topic, sampled at boot time, received at boot time) [ms]."""
    kinds = {"cells/measurement": CellMeasurement, "pack/state": PackState}
    with BagWriter(path) as writer:
        for topic in kinds:
            writer.add(f"/battery/{topic}", manifest().topics[topic].type, manifest().qos_of(topic))
        for topic, sampled_ms, received_ms in messages:
            message = kinds[topic](boot_ns=sampled_ms * 1_000_000)
            stamp = message.header.stamp
            stamp.sec, stamp.nanosec = divmod(message.boot_ns + OFFSET_NS, NS_PER_S)
            stamp_ns = received_ms * 1_000_000 + OFFSET_NS
            writer.write(f"/battery/{topic}", stamp_ns, serialize_message(message))
    return path


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**10)), min_size=1))
def test_recorded_time_never_runs_back(stamps: list[tuple[int, int]]) -> None:
    time = RecordedTime(OFFSET_NS, 0)
    before = 0
    for boot_ns, delay_ns in stamps:
        now = time.at(boot_ns, boot_ns + OFFSET_NS + delay_ns)
        assert now == max(before, boot_ns)
        before = now


def test_an_absurd_stamp_moves_nothing() -> None:
    time = RecordedTime(OFFSET_NS, 5 * NS_PER_S)
    assert time.at(2**62, 6 * NS_PER_S + OFFSET_NS) == 5 * NS_PER_S
    assert time.at(6 * NS_PER_S, 6 * NS_PER_S + OFFSET_NS) == 6 * NS_PER_S


def test_events_carry_the_sampling_time_and_the_wall_time_of_the_recording(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bag",
        [
            ("cells/measurement", 100, 103),
            ("pack/state", 115, 116),
            ("cells/measurement", 110, 118),
        ],
    )
    with BagReader(path) as bag:
        timeline = Timeline(bag, "battery")
        events = list(timeline.events(["cells/measurement", "pack/state", "pack/limits"]))
        only = list(timeline.events(["pack/state"]))
    assert timeline.wall_offset_ns == OFFSET_NS
    assert timeline.start_ns == 100_000_000
    assert timeline.end_ns == 118_000_000
    assert [(event.topic, event.boot_ns) for event in events] == [
        ("cells/measurement", 100_000_000),
        ("pack/state", 115_000_000),
        ("cells/measurement", 115_000_000),  # an older sample: time stays
    ]
    assert [(event.topic, event.boot_ns) for event in only] == [("pack/state", 115_000_000)]


def test_the_whole_pack_drives_the_time_whichever_topics_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", [("cells/measurement", 120, 121), ("pack/state", 115, 122)])
    with BagReader(path) as bag:
        events = list(Timeline(bag, "battery").events(["pack/state"]))
    assert [(event.topic, event.boot_ns) for event in events] == [("pack/state", 120_000_000)]


def test_a_latched_message_of_long_ago_does_not_begin_the_time(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", [("pack/state", 1, 100_000), ("pack/state", 99_999, 100_001)])
    with BagReader(path) as bag:
        timeline = Timeline(bag, "battery")
        assert timeline.start_ns == 99 * NS_PER_S
        assert [event.boot_ns for event in timeline.events(["pack/state"])] == [
            99 * NS_PER_S,
            99_999_000_000,
        ]


def test_measurements_that_begin_late_do_not_shorten_the_time(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", [("pack/state", 100, 101), ("cells/measurement", 900, 903)])
    with BagReader(path) as bag:
        assert Timeline(bag, "battery").start_ns == 101_000_000


def test_another_namespace_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", [("pack/state", 100, 101)])
    with BagReader(path) as bag, pytest.raises(BagError, match="namespace 'other'; it holds /batt"):
        Timeline(bag, "other")


def test_another_type_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add(
            "/battery/pack/state", "ibms_msgs/msg/PackLimits", manifest().qos_of("pack/state")
        )
    with (
        BagReader(tmp_path / "bag") as bag,
        pytest.raises(BagError, match="expected ibms_msgs/msg"),
    ):
        Timeline(bag, "battery")
