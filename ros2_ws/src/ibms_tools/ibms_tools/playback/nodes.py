# SPDX-License-Identifier: Apache-2.0
"""The nodes that a bag can be played into.

Left out is what opens a CAN bus, and ``pack_supervisor``: users move it by service calls, which a
bag does not hold.
"""

from collections.abc import Callable
from typing import Any

from ibms_edge.balancing.node import Balancing
from ibms_edge.estimation.node import StateEstimator
from ibms_edge.events.node import EventRecorder
from ibms_edge.limits.node import PowerLimitsNode
from ibms_edge.protection.node import Protection
from ibms_ros_common.node import BmsNode

NODES: dict[str, Callable[..., BmsNode[Any]]] = {
    "protection": Protection,
    "state_estimator": StateEstimator,
    "power_limits": PowerLimitsNode,
    "balancing": Balancing,
    "event_recorder": EventRecorder,
}


class ReplayError(RuntimeError):
    """A replay that cannot be done; the text says why and how to mend it."""


def bring_up(node: BmsNode[Any]) -> None:
    """Configure and activate; raises ReplayError if the node refuses, its log says why."""
    for transition in (node.trigger_configure, node.trigger_activate):
        if transition().name != "SUCCESS":
            raise ReplayError(f"{node.get_name()} refused to start; the line above says why")
