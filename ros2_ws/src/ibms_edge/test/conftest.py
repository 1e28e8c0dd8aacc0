# SPDX-License-Identifier: Apache-2.0
import atexit
from pathlib import Path

import pytest
import rclpy

from ibms_battery.pack import Cell, Pack, load_cell, load_pack

CONFIG = Path(__file__).resolve().parents[4] / "config"


@pytest.fixture(scope="session")
def config() -> Path:
    return CONFIG


@pytest.fixture(scope="session")
def pack() -> Pack:
    return load_pack(CONFIG / "packs" / "robot_12s.yaml")


@pytest.fixture(scope="session")
def cell() -> Cell:
    return load_cell(CONFIG / "cells" / "lg_m50.yaml")


@pytest.fixture(scope="session")
def ros() -> None:
    """A ROS context for nodes that run in this process and talk to a sink, not over DDS.

    Tests of other packages may run in the same process: one context serves them all to its end.
    """
    if not rclpy.ok():
        rclpy.init()
        atexit.register(rclpy.try_shutdown)
