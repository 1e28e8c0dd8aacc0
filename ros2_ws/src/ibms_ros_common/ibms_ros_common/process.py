# SPDX-License-Identifier: Apache-2.0
"""Running nodes as a process: one executor, an orderly end on SIGINT and SIGTERM."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ibms_battery.clock import SystemClock
from ibms_ros_common import parameters, real_time
from ibms_ros_common.diagnostics import WARN, Status
from ibms_ros_common.garbage import GarbageAtRest
from ibms_ros_common.node import BmsNode
from ibms_ros_common.parameters import ParameterError
from ibms_ros_common.real_time import ProcessParameters, RealTime

try:
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # before Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor

__all__ = ["CHAIN_PRIORITY", "Executor", "run", "spin"]

# An endless spin of the events executor neither returns after shutdown nor sees signals, and a wait
# in C hides Python's signal handlers, so the wait is cut into pieces.
_SPIN_TIMEOUT_S = 0.25

CHAIN_PRIORITY = 40  # real-time priority of the time-critical chain


class Conduct:
    """How a time-critical process is run, by the parameters ``real_time.*`` of its nodes."""

    def __init__(self, nodes: Sequence[BmsNode[Any]], priority: int) -> None:
        defaults = ProcessParameters(real_time=RealTime(priority=priority))
        for node in nodes:
            parameters.declare(node, ProcessParameters, defaults)
        wanted = [parameters.read(node, ProcessParameters).real_time for node in nodes]
        self.refusals = real_time.apply(wanted[0])
        first = nodes[0].get_name()
        self.refusals += [
            f"{node.get_name()} shares a process with {first}, whose 'real_time' counts"
            for node, other in zip(nodes, wanted, strict=True)
            if other != wanted[0]
        ]
        for refusal in self.refusals:
            nodes[0].get_logger().warning(refusal)
        self._nodes = nodes
        self._wanted = wanted[0]
        self._garbage: GarbageAtRest | None = None
        if wanted[0].garbage == "at_rest":
            self._garbage = GarbageAtRest(SystemClock())
            for node in nodes:
                node.rest = self._garbage.at_rest
        self._is_settled = False
        self._faults = 0
        nodes[0].report_process = self._report

    def attend(self) -> None:
        """What is to be done between two turns of the executor."""
        if self._garbage is None:
            return
        # Before the nodes act: it takes some tens of milliseconds.
        is_configured = all(node.is_configured for node in self._nodes)
        if is_configured and not self._is_settled:
            self._garbage.settle()
        self._is_settled = is_configured
        self._garbage.at_any_moment()

    def _report(self, status: Status) -> None:
        policy = os.sched_getscheduler(0)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        status.add(
            nodes=", ".join(node.get_name() for node in self._nodes),
            scheduling={os.SCHED_FIFO: "fifo", os.SCHED_RR: "round_robin"}.get(policy, "ordinary"),
            priority=os.sched_getparam(0).sched_priority,
            cpus=",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))),
            page_faults_from_disk=faults - self._faults,
        )
        self._faults = faults
        for refusal in self.refusals:
            status.report(WARN, refusal)
        if self._garbage is not None:
            self._garbage.report(status)


def run(*factories: Callable[[], BmsNode[Any]], real_time_priority: int | None = None) -> int:
    """Run IBMS nodes until SIGINT or SIGTERM, then let each reach its safe state.

    With ``real_time_priority`` the process is a time-critical one: its nodes get the parameters
    ``real_time.*``, with this default of the priority, and what the system refuses is a warning.
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
        conduct = None if real_time_priority is None else Conduct(nodes, real_time_priority)
        while not stopping:
            if any(failure_of(node) is not None for node in nodes):
                return 1  # the thread has printed the error
            try:
                executor.spin_once(timeout_sec=_SPIN_TIMEOUT_S)
            except rclpy_implementation.RCLError as error:
                # E.g. a request for a lifecycle transition that the present state does not have:
                # rclpy raises it out of the service, and it is no reason to end.
                rclpy.logging.get_logger("ibms").error(f"request refused: {error}")
            if conduct is not None:
                conduct.attend()
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
