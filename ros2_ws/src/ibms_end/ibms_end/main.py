# SPDX-License-Identifier: Apache-2.0
"""Processes of this package."""

from ibms_end.afe.node import AfeDriver
from ibms_end.environment_sensors import EnvironmentSensors
from ibms_end.insulation_monitor import InsulationMonitor
from ibms_ros_common.process import CHAIN_PRIORITY, run


def afe_driver() -> int:
    """Process with the node ``afe_driver``."""
    return run(AfeDriver, real_time_priority=CHAIN_PRIORITY)


def slow_sensors() -> int:
    """Process with the nodes ``insulation_monitor`` and ``environment_sensors``."""
    return run(InsulationMonitor, EnvironmentSensors)
