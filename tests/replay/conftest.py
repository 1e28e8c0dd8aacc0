# SPDX-License-Identifier: Apache-2.0
"""A short recording of a 12-cell pack that ends with an over-voltage."""

import os
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import load_pack
from ibms_battery.recordings import Recording
from ibms_battery.soc_reference import SocReference
from ibms_tools.cells_to_bag import write_bag

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def robot_pack() -> Path:
    return ROOT / "config" / "packs" / "robot_12s.yaml"


@pytest.fixture(scope="session")
def domain() -> int:
    """DDS domain of this test run, given by the test command."""
    return int(os.environ.get("ROS_DOMAIN_ID", "54"))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, robot_pack: Path) -> Path:
    """2 s of 50 scans a second."""
    count = 100
    voltage_v = np.linspace(3.7, 3.75, count)
    voltage_v[80:] = 4.6
    current_a = np.full(count, 2.0)
    time_s = np.arange(count, dtype=np.float64) * 0.02
    recording = Recording(
        time_s=time_s,
        voltage_v=voltage_v,
        current_a=current_a,
        temperature_c=np.full(count, 25.0),
        charge_ah=current_a * time_s / 3600.0,
        repeated=0,
    )
    path = tmp_path_factory.mktemp("recorded") / "bag"
    write_bag(recording, load_pack(robot_pack), SocReference(5.0, 0.5), path)
    return path
