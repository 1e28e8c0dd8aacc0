# SPDX-License-Identifier: Apache-2.0
"""Running nodes as a process: one executor, an orderly end on SIGINT and SIGTERM."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ibms_ros_common.node import BmsNode
from ibms_ros_common.parameters import ParameterError

try:
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # before Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor

# An endless spin of the events executor neither returns after shutdown nor sees signals, and a wait
# in C hides Python's signal handlers, so the wait is cut into pieces.
_SPIN_TIMEOUT_S = 0.25


def run(*factories: Callable[[], BmsNode[Any]]) -> int:
    """Run IBMS nodes until SIGINT or SIGTERM, then let each reach its safe state."""
    return _spin(factories, lambda node: node.stop())


def spin(factory: Callable[[], Node]) -> int:
    """Run a plain node until SIGINT or SIGTERM; returns the exit code."""
    return _spin([factory], lambda node: None)


def _spin(factories: Any, stop_node: Callable[[Any], None]) -> int:
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    nodes: list[Any] = []
    executor = Executor()
    try:
        for factory in factories:
            nodes.append(factory())
            executor.add_node(nodes[-1])
        while not stopping:
            try:
                executor.spin_once(timeout_sec=_SPIN_TIMEOUT_S)
            except rclpy_implementation.RCLError as error:
                # E.g. a request for a lifecycle transition that the present state does not have:
                # rclpy raises it out of the service, and it is no reason to end.
                rclpy.logging.get_logger("ibms").error(f"request refused: {error}")
    except ParameterError as error:
        rclpy.logging.get_logger("ibms").error(str(error))
        return 2
    finally:
        for node in nodes:
            stop_node(node)
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0
