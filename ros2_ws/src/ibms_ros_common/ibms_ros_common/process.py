# SPDX-License-Identifier: Apache-2.0
"""Running nodes as a process: one executor, an orderly end on SIGINT and SIGTERM."""

import contextlib
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ibms_battery.threads import request_real_time
from ibms_ros_common.node import BmsNode
from ibms_ros_common.parameters import ParameterError

try:
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # before Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor

__all__ = ["CHAIN_PRIORITY", "Executor", "run", "spin"]

# An endless spin of the events executor neither returns after shutdown nor sees signals, and a wait
# in C hides Python's signal handlers, so the wait is cut into pieces.
_SPIN_TIMEOUT_S = 0.25

CHAIN_PRIORITY = 40  # real-time priority of the time-critical chain


def run(*factories: Callable[[], BmsNode[Any]], real_time_priority: int | None = None) -> int:
    """Run IBMS nodes until SIGINT or SIGTERM, then let each reach its safe state.

    With ``real_time_priority`` the process asks for real-time scheduling and warns if refused.
    A process whose loop died ends as well (exit code 1): it has fallen silent for good, and only a
    restart helps.
    """
    return _spin(factories, lambda node: node.stop(), lambda node: node.failure, real_time_priority)


def spin(factory: Callable[[], Node]) -> int:
    """Run a plain node until SIGINT or SIGTERM; returns the exit code."""
    return _spin([factory], lambda node: None, lambda node: None)


def _spin(
    factories: Any,
    stop_node: Callable[[Any], None],
    failure_of: Callable[[Any], BaseException | None],
    real_time_priority: int | None = None,
) -> int:
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
        if real_time_priority is not None and (refusal := request_real_time(real_time_priority)):
            rclpy.logging.get_logger("ibms").warning(refusal)
        while not stopping:
            if any(failure_of(node) is not None for node in nodes):
                return 1  # the thread has printed the error
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
        with contextlib.ExitStack() as ending:  # whatever one raises, all the others end as well
            ending.callback(rclpy.try_shutdown)
            ending.callback(executor.shutdown)
            for node in reversed(nodes):
                ending.callback(node.destroy_node)
                ending.callback(stop_node, node)
    return 0
