# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest
from rclpy.serialization import serialize_message

from ibms_battery.clock import NS_PER_S
from ibms_msgs.msg import CellMeasurement
from ibms_ros_common.manifest import manifest
from ibms_tools.bag.writer import BagWriter

TOPIC = "/battery/cells/measurement"
TYPE = "ibms_msgs/msg/CellMeasurement"


@pytest.fixture
def make_bag(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a bag of scans, a second apart and with a chunk each; returns its folder."""

    def make(count: int) -> Path:
        path = tmp_path / "bag"
        with BagWriter(path, {"note": "made by a test"}) as writer:
            writer.add(TOPIC, TYPE, manifest().qos_of("cells/measurement"))
            for index in range(count):
                message = CellMeasurement(boot_ns=index, scan_counter=index)
                message.header.frame_id = "pack"
                writer.write(TOPIC, (1000 + index) * NS_PER_S, serialize_message(message))
                writer.flush()
        return path

    return make
