# SPDX-License-Identifier: Apache-2.0
import atexit

import pytest
import rclpy


@pytest.fixture(scope="session")
def ros() -> None:
    """A ROS context for nodes in this process; nothing here waits for another process.

    Tests of other packages may run in the same process: one context serves them all to its end.
    """
    if not rclpy.ok():
        rclpy.init()
        atexit.register(rclpy.try_shutdown)
