# SPDX-License-Identifier: Apache-2.0
"""Processes of this package: one per node of the chain, one for what hangs off it."""

from ibms_edge.balancing.node import Balancing
from ibms_edge.estimation.node import StateEstimator
from ibms_edge.events.node import EventRecorder
from ibms_edge.limits.node import PowerLimitsNode
from ibms_edge.protection.node import Protection
from ibms_edge.supervisor.node import PackSupervisorNode
from ibms_edge.switching.node import SwitchControl
from ibms_edge.thermal.node import ThermalControl
from ibms_edge.vehicle.node import VehicleInterface
from ibms_ros_common.process import CHAIN_PRIORITY, run


def protection() -> int:
    """Process with the node ``protection``."""
    return run(Protection, real_time_priority=CHAIN_PRIORITY)


def switch_control() -> int:
    """Process with the node ``switch_control``."""
    return run(SwitchControl, real_time_priority=CHAIN_PRIORITY)


def pack_supervisor() -> int:
    """Process with the node ``pack_supervisor``."""
    return run(PackSupervisorNode, real_time_priority=CHAIN_PRIORITY - 10)


def state_estimator() -> int:
    """Process with the node ``state_estimator``."""
    return run(StateEstimator)


def pack_services() -> int:
    """Process with the nodes that hang off the chain and need little."""
    return run(PowerLimitsNode, Balancing, ThermalControl, VehicleInterface, EventRecorder)
