# SPDX-License-Identifier: Apache-2.0
"""Checks a parameter file before any node reads it: ROS 2 ignores names that it does not know."""

from pathlib import Path

from msgspec import Struct

from ibms_bringup.lifecycle_manager import LifecycleManagerParameters
from ibms_edge.balancing.node import BalancingParameters
from ibms_edge.charging.node import ChargerInterfaceParameters
from ibms_edge.estimation.node import StateEstimatorParameters
from ibms_edge.events.node import EventRecorderParameters
from ibms_edge.limits.node import PowerLimitsParameters
from ibms_edge.protection.node import ProtectionParameters
from ibms_edge.supervisor.node import PackSupervisorParameters
from ibms_edge.switching.node import SwitchControlParameters
from ibms_edge.thermal.node import ThermalControlParameters
from ibms_edge.vehicle.node import VehicleInterfaceParameters
from ibms_end.afe.node import AfeDriverParameters
from ibms_end.slow_sensor import SlowSensorParameters
from ibms_ros_common.parameters import check_file
from ibms_ros_common.real_time import ProcessParameters

_PARAMETERS: dict[str, tuple[type[Struct], ...]] = {
    "afe_driver": (AfeDriverParameters, ProcessParameters),
    "insulation_monitor": (SlowSensorParameters,),
    "environment_sensors": (SlowSensorParameters,),
    "protection": (ProtectionParameters, ProcessParameters),
    "switch_control": (SwitchControlParameters, ProcessParameters),
    "pack_supervisor": (PackSupervisorParameters, ProcessParameters),
    "state_estimator": (StateEstimatorParameters,),
    "power_limits": (PowerLimitsParameters,),
    "balancing": (BalancingParameters,),
    "thermal_control": (ThermalControlParameters,),
    "vehicle_interface": (VehicleInterfaceParameters,),
    "charger_interface": (ChargerInterfaceParameters,),
    "event_recorder": (EventRecorderParameters,),
    "lifecycle_manager": (LifecycleManagerParameters,),
}


def check(path: Path | str) -> None:
    """Check a parameter file against the nodes of the edge.

    Raises:
        ConfigurationError: with file and line, for a node or parameter that does not exist and
            for a value that the node would refuse.
        OSError: if it cannot be read.
    """
    check_file(path, _PARAMETERS)
