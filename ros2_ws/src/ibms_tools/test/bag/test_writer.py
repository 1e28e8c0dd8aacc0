# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rclpy.serialization import serialize_message

from ibms_msgs.msg import PackState
from ibms_ros_common.manifest import manifest
from ibms_tools.bag.definitions import type_hash
from ibms_tools.bag.errors import BagError
from ibms_tools.bag.mcap_scan import scan
from ibms_tools.bag.reader import BagReader
from ibms_tools.bag.writer import BagWriter


def test_metadata_is_what_ros2_bag_expects(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for topic, entry in manifest().topics.items():
            writer.add(f"/battery/{topic.strip('/')}", entry.type, manifest().qos_of(topic))
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    information = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert information["version"] == 9
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["bag.mcap"]
    topics = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"]
        for entry in information["topics_with_message_count"]
    }
    assert len(topics) == len(manifest().topics)
    cells = topics["/battery/cells/measurement"]
    assert cells["type"] == "ibms_msgs/msg/CellMeasurement"
    assert cells["serialization_format"] == "cdr"
    assert cells["type_description_hash"] == type_hash(cells["type"])
    assert cells["offered_qos_profiles"] == [
        {
            "history": "keep_last",
            "depth": 1,
            "reliability": "reliable",
            "durability": "volatile",
            "deadline": {"sec": 0, "nsec": 250_000_000},
            "lifespan": {"sec": 0, "nsec": 0},
            "liveliness": "manual_by_topic",
            "liveliness_lease_duration": {"sec": 0, "nsec": 500_000_000},
            "avoid_ros_namespace_conventions": False,
        }
    ]
    assert topics["/battery/events"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert topics["/battery/cells/history"]["offered_qos_profiles"][0]["reliability"] == (
        "best_effort"
    )


def test_an_existing_folder_is_not_overwritten(make_bag: Callable[[int], Path]) -> None:
    path = make_bag(1)
    with pytest.raises(BagError, match="exists already"):
        BagWriter(path)
    with BagReader(path) as bag:
        assert sum(bag.counts.values()) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BagError, match="cannot be created: Not a directory"):
        BagWriter(tmp_path / "file" / "bag")


def test_an_error_while_recording_leaves_a_finished_bag(tmp_path: Path) -> None:
    def record() -> None:
        with BagWriter(tmp_path / "bag") as writer:
            writer.add("/s", "ibms_msgs/msg/PackState", manifest().qos_of("pack/state"))
            writer.write("/s", 7, serialize_message(PackState(state=3)))
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        record()
    with BagReader(tmp_path / "bag") as bag:
        assert [m.message.state for m in bag.messages(["/s"])] == [3]


def test_what_was_flushed_is_in_the_file(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add("/s", "ibms_msgs/msg/PackState", manifest().qos_of("pack/state"))
        for stamp_ns in (1, 2, 3):
            writer.write("/s", stamp_ns, serialize_message(PackState()))
        writer.flush()
        writer.flush()  # with nothing new
        part = scan(tmp_path / "bag" / "bag.mcap")
        assert part is not None
        assert (part.messages, part.finished) == (3, False)
        assert part.end == part.size
