# SPDX-License-Identifier: Apache-2.0
"""Tests of the doctor's look at where DDS may send."""

import os

import pytest

from ibms_bringup.launcher.packages import find_share
from ibms_tools.doctor.dds import check_reach


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, "WARN"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "WARN"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "OK"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "OK"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.2"}, "WARN"),
        ({"ROS_LOCALHOST_ONLY": "1"}, "OK"),
        ({"ROS_LOCALHOST_ONLY": "0"}, "WARN"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"}, "WARN"),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "loopback.xml"}, "OK"),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "network.xml"}, "WARN"),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "missing.xml"}, "WARN"),
    ],
)
def test_reach(environment: dict[str, str], level: str) -> None:
    if profile := environment.get("FASTRTPS_DEFAULT_PROFILES_FILE"):
        file = find_share("ibms_bringup", os.environ) / "config" / "dds" / profile
        environment = {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
            "FASTRTPS_DEFAULT_PROFILES_FILE": str(file),
        }
    finding = check_reach(environment)
    assert finding.level == level
    assert bool(finding.remedy) == (level == "WARN")
