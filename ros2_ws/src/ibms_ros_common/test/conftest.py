# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest
import rclpy


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """A ROS context for nodes in this process; nothing here waits for another process."""
    rclpy.init()
    yield
    rclpy.shutdown()
