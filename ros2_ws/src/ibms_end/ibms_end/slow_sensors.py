# SPDX-License-Identifier: Apache-2.0
"""Process with the nodes ``insulation_monitor`` and ``environment_sensors``."""

from ibms_end.environment_sensors import EnvironmentSensors
from ibms_end.insulation_monitor import InsulationMonitor
from ibms_ros_common.process import run


def main() -> int:
    """Run them until SIGINT or SIGTERM."""
    return run(InsulationMonitor, EnvironmentSensors)
