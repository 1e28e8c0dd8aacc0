# SPDX-License-Identifier: Apache-2.0
"""Node ``lifecycle_manager``: brings the nodes of the graph up in order and keeps them up.

A node that was restarted is configured and activated again; its restart has opened the pack by
then, and nothing closes without a new request of a user.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from msgspec import Meta, Struct
from rclpy.clock import Clock as RclClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.task import Future

from ibms_battery.clock import NS_PER_S, Clock, SystemClock
from ibms_ros_common import parameters
from ibms_ros_common.diagnostics import ERROR, WARN, Status, to_message
from ibms_ros_common.manifest import manifest
from ibms_ros_common.process import spin

_TICK_S = 0.05
_POLL_PENDING_NS = NS_PER_S // 10
_POLL_ACTIVE_NS = 3 * NS_PER_S
_ANSWER_TIMEOUT_NS = 3 * NS_PER_S
_RETRY_NS = 2 * NS_PER_S

# From a state: the transition that is due, and where it leads.
_STEP = {
    State.PRIMARY_STATE_UNCONFIGURED: (
        Transition.TRANSITION_CONFIGURE,
        State.PRIMARY_STATE_INACTIVE,
    ),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
}


class LifecycleManagerParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``lifecycle_manager``."""

    nodes: Annotated[list[str], Meta(min_length=1, description="nodes in order of activation")]


@dataclass
class _Managed:
    """One managed node."""

    name: str
    get_state: Any
    change_state: Any
    state: int = State.PRIMARY_STATE_UNKNOWN
    pending: Any = None  # future of the call under way
    goal: int = State.PRIMARY_STATE_UNKNOWN  # of the transition that it carries
    asked_ns: int = 0
    next_ns: int = 0
    failures: int = 0
    restarts: int = 0
    silent: bool = False


class LifecycleManager(Node):
    """Polls states and requests the next transition where one is due; never blocks."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("lifecycle_manager", **options)
        self._boot_clock = clock or SystemClock()
        parameters.declare(self, LifecycleManagerParameters)
        names = parameters.read(self, LifecycleManagerParameters).nodes
        self._nodes = [
            _Managed(
                name,
                self.create_client(GetState, f"{name}/get_state"),
                self.create_client(ChangeState, f"{name}/change_state"),
            )
            for name in names
        ]
        self._announced = False
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", manifest().qos_of("/diagnostics")
        )
        steady = RclClock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_TICK_S, self._tick, clock=steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    def _tick(self) -> None:
        now_ns = self._boot_clock.boot_ns()
        for position, node in enumerate(self._nodes):
            self._attend(node, position, now_ns)
        active = all(n.state == State.PRIMARY_STATE_ACTIVE for n in self._nodes)
        if active and not self._announced:
            self.get_logger().info(f"all {len(self._nodes)} nodes are active")
        self._announced = active

    def _attend(self, node: _Managed, position: int, now_ns: int) -> None:
        if node.pending is not None:
            if now_ns - node.asked_ns > _ANSWER_TIMEOUT_NS:
                node.pending.cancel()
                node.pending, node.silent = None, True
                # It may have carried the transition out all the same: ask before the next one.
                node.state = State.PRIMARY_STATE_UNKNOWN
                node.next_ns = now_ns + _POLL_PENDING_NS
            return
        if now_ns < node.next_ns:
            return
        if not node.get_state.service_is_ready():
            node.state = State.PRIMARY_STATE_UNKNOWN
            return
        before = self._nodes[:position]
        if node.state == State.PRIMARY_STATE_INACTIVE and any(
            n.state != State.PRIMARY_STATE_ACTIVE for n in before
        ):
            return  # its turn comes when those before it are active
        if node.state not in _STEP or not node.change_state.service_is_ready():
            self._ask(node, node.get_state, GetState.Request(), now_ns)
        else:
            transition, node.goal = _STEP[node.state]
            request = ChangeState.Request(transition=Transition(id=transition))
            self._ask(node, node.change_state, request, now_ns)

    def _ask(self, node: _Managed, client: Any, request: Any, now_ns: int) -> None:
        node.asked_ns = now_ns
        node.pending = client.call_async(request)
        node.pending.add_done_callback(lambda future: self._answered(node, future))

    def _answered(self, node: _Managed, future: Future) -> None:
        if future is not node.pending:
            return  # answered after its timeout
        node.pending, node.silent = None, False
        now_ns = self._boot_clock.boot_ns()
        result = future.result()
        if isinstance(result, GetState.Response):
            known, node.state = node.state, result.current_state.id
            if known == State.PRIMARY_STATE_ACTIVE and node.state != known:
                node.restarts += 1
                self.get_logger().warning(f"{node.name} is no longer active, bringing it up again")
            active = node.state == State.PRIMARY_STATE_ACTIVE
            settled = node.state in _STEP
            node.next_ns = now_ns + (
                _POLL_ACTIVE_NS if active else 0 if settled else _POLL_PENDING_NS
            )
        elif isinstance(result, ChangeState.Response) and result.success:
            node.state, node.next_ns = node.goal, now_ns
            self._tick()  # the next step is due, maybe of another node
        elif isinstance(result, ChangeState.Response):
            node.state = State.PRIMARY_STATE_UNKNOWN  # the next poll tells
            node.failures += 1
            node.next_ns = now_ns + _RETRY_NS
            self.get_logger().error(
                f"{node.name} refused its transition; its own log says why. Trying again"
            )

    def _report(self, status: Status) -> None:
        for node in self._nodes:
            active = node.state == State.PRIMARY_STATE_ACTIVE
            status.add(**{node.name: "active" if active else f"state {node.state}"})
            if node.silent:
                status.report(ERROR, f"{node.name} does not answer")
            elif node.failures and not active:
                status.report(ERROR, f"{node.name} refuses to come up")
            elif not active:
                status.report(WARN, f"{node.name} is not active")
        status.add(restarts=sum(node.restarts for node in self._nodes))

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray(
            status=[to_message(self.get_name(), "nodes", "", self._report)],
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> int:
    """Process with the node ``lifecycle_manager``."""
    return spin(LifecycleManager)
