# SPDX-License-Identifier: Apache-2.0
"""Process with the nodes that hang off the chain and need little."""

from ibms_edge.balancing.node import Balancing
from ibms_edge.charging.node import ChargerInterface
from ibms_edge.events.node import EventRecorder
from ibms_edge.limits.node import PowerLimitsNode
from ibms_edge.thermal.node import ThermalControl
from ibms_edge.vehicle.node import VehicleInterface
from ibms_ros_common.process import run


def main() -> int:
    """Run them until SIGINT or SIGTERM."""
    return run(
        PowerLimitsNode,
        Balancing,
        ThermalControl,
        VehicleInterface,
        ChargerInterface,
        EventRecorder,
    )
