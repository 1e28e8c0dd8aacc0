# SPDX-License-Identifier: Apache-2.0
"""The simulated pack and the nodes of the chain in one process, closed loop on a virtual clock.

The devices are those of ``ibms_sim`` and the nodes are the real ones, as in replay: their handlers
are called and their loops run at the times at which they fall due. Between devices and nodes run
encoded frames on a bus in memory, stamped by the virtual clock; between the nodes run messages, in
the order in which they were published. There is no thread, and nothing goes over DDS, so two runs
with the same seed are equal.
"""

import argparse
import itertools
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.context import Context
from rclpy.parameter import Parameter

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_battery.pack import load_pack
from ibms_edge.estimation.node import StateEstimator
from ibms_edge.limits.node import PowerLimitsNode
from ibms_edge.protection.node import Protection
from ibms_edge.supervisor.node import PackSupervisorNode
from ibms_edge.switching.node import SwitchControl
from ibms_edge.vehicle.node import VehicleInterface
from ibms_end.afe.node import AfeDriver
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.environment_sensors import EnvironmentSensors
from ibms_end.insulation_monitor import InsulationMonitor
from ibms_msgs.msg import ProtectionLockouts
from ibms_msgs.srv import ClearFaults, RequestPackState
from ibms_ros_common.node import BmsNode
from ibms_ros_common.virtual_time import Task
from ibms_sim.configuration import Simulation
from ibms_sim.faults import BY_NAME, NO_ELEMENT
from ibms_sim.process import simulation_database
from ibms_sim.simulated_pack import PackProcess
from ibms_sim.simulated_switch_board import BoardProcess
from ibms_tools.campaign.memory_bus import INTERFACE, create_channel, remove_channel
from ibms_tools.playback.nodes import bring_up

_START_NS = 1000 * NS_PER_S
_DEAD_MAN_TIME_S = 0.2
_CHALLENGE = 17
_numbers = itertools.count()

# In the order in which the lifecycle manager brings them up.
_NODES: tuple[Callable[..., BmsNode[Any]], ...] = (
    AfeDriver,
    InsulationMonitor,
    EnvironmentSensors,
    SwitchControl,
    Protection,
    PackSupervisorNode,
    StateEstimator,
    PowerLimitsNode,
    VehicleInterface,
)


class _Wiring:
    """What the nodes of one loop hand over instead of starting threads and servers."""

    def __init__(self) -> None:
        self.hardware: list[tuple[str, Any]] = []  # node, what it attached
        self.services: dict[str, Callable[[Any, Any], Any]] = {}


def _wired(kind: Any, wiring: _Wiring) -> Callable[..., BmsNode[Any]]:
    """Class of nodes that behave as ``kind`` and are led by the loop."""

    class Wired(kind):
        def attach(self, hardware: Any) -> None:
            hardware.open()
            wiring.hardware.append((self.get_name(), hardware))

        def serve(self, service: str, handler: Callable[[Any, Any], Any]) -> None:
            wiring.services[service] = handler

    return Wired


class ClosedLoop:
    """A pack with its chain; ``run`` lets virtual time pass.

    Args:
        pack_file: a file of config/packs.
        simulation: what the pack is and does; its seed makes the run.
        simulation_folder: where the files stand that ``simulation`` names.
        context: initialised; nothing is sent with it.
    """

    def __init__(
        self, pack_file: Path, simulation: Simulation, simulation_folder: Path, context: Context
    ) -> None:
        self.pack = load_pack(pack_file)
        self.clock = VirtualClock(_START_NS, _START_NS)
        self.newest: dict[str, Any] = {}
        self.heard: Callable[[str, Any], None] | None = None
        self._channel = f"{os.getpid()}_{next(_numbers)}"
        create_channel(self._channel, self.clock)
        self.bus = bus = BusConfiguration(INTERFACE, self._channel)  # for further participants
        database = simulation_database(pack_file)
        files = argparse.Namespace(
            pack=pack_file,
            simulation=simulation_folder / "simulation.yaml",
            cells=None,
            start_s=0.0,
            columns=None,
        )
        self.device = PackProcess(self.pack, simulation, files, database, bus, self.clock)
        self.board = BoardProcess(
            self.pack, database, bus, _DEAD_MAN_TIME_S, self.clock, _CHALLENGE
        )
        injection = find_message(database, "SimulationInject")
        self._injection = FrameEncoder(injection)
        # Nobody reads it, so it hears only what it alone sends.
        self._injector = open_bus(bus, [injection.frame_id])
        self._sequence = 0
        self._wiring = _Wiring()
        self._messages: deque[tuple[str, Any]] = deque()
        self._frozen: set[str] = set()
        self._held: dict[str, dict[str, Any]] = {}  # frozen node -> topic -> newest message
        self._nodes = self._start_nodes(pack_file, context)
        self._listeners = {
            topic: [node for node in self._nodes if topic in node.inputs]
            for topic in {topic for node in self._nodes for topic in node.inputs}
        }
        self.device.pacer.start()

    @property
    def now_s(self) -> float:
        """Virtual time since the start of the loop [s]."""
        return (self.clock.boot_ns() - _START_NS) / NS_PER_S

    @property
    def conducting(self) -> int:
        """Bit mask of the contacts that truly conduct."""
        return self.board.board.conducting

    def close(self) -> None:
        """Take everything down."""
        for node in self._nodes:
            node.destroy_node()
        for _, hardware in self._wiring.hardware:
            hardware.stop()
        self._injector.shutdown()
        self.device.close()
        self.board.close()
        remove_channel(self._channel)

    def run(self, duration_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Let ``duration_s`` pass, or less if ``until`` holds before; returns whether it does."""
        end_ns = self.clock.boot_ns() + round(duration_s * NS_PER_S)
        while True:
            if until is not None and until():
                return True
            due_ns = self._due_ns()
            if due_ns > end_ns:
                break
            self.clock.set(max(due_ns, self.clock.boot_ns()))
            self._run_due()
        self.clock.set(end_ns)
        return until is not None and until()

    def inject(
        self,
        name: str,
        element: int = NO_ELEMENT,
        value: float = 0.0,
        remove: bool = False,
        count: int = 0,
    ) -> None:
        """Send an injection of a fault of ``ibms_sim.faults`` on the bus, or its removal.

        With ``count`` it ends by itself after so many scans, samples or feedback frames.
        """
        self._sequence = (self._sequence + 1) & 0xFF
        self._injector.send(
            self._injection.encode(
                {
                    "Sequence": self._sequence,
                    "Remove": remove,
                    "Fault": BY_NAME[name].number,
                    "Element": element,
                    "ValueMicro": value,
                    "Duration": 0,
                    "Count": count,
                }
            )
        )

    def request(self, state: int) -> RequestPackState.Response:
        """Ask the pack supervisor for a state."""
        return self._call(
            "request_pack_state", RequestPackState, RequestPackState.Request(state=state)
        )

    def clear_faults(self) -> ClearFaults.Response:
        """Acknowledge all faults."""
        return self._call("clear_faults", ClearFaults, ClearFaults.Request())

    def freeze(self, name: str) -> None:
        """Let a node stand still, as a stopped process does."""
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        """Let it go on; of each topic the newest message has waited for it."""
        self._frozen.discard(name)
        node = next(node for node in self._nodes if node.get_name() == name)
        for topic, message in self._held.pop(name, {}).items():
            node.receive(node.inputs[topic], message)
        self._settle()

    def add_second_publisher(self, topic: str) -> None:
        """Let every node see a second live publisher of ``topic``, as DDS would tell it."""
        for node in self._nodes:
            if topic in node.inputs:
                node.inputs[topic].publishers_alive = 2

    def step_wall_time(self, step_s: float) -> None:
        """Set the wall clock forward."""
        wall_ns = self.clock.wall_ns() + round(step_s * NS_PER_S)
        self.clock.set(self.clock.boot_ns(), wall_ns)

    def publish(self, topic: str, message: Any) -> None:
        """Hand a message of somebody outside of the loop to the nodes."""
        self._messages.append((topic, message))

    def _call(self, service: str, kind: Any, request: Any) -> Any:
        response = self._wiring.services[service](request, kind.Response())
        self._settle()
        return response

    def _start_nodes(self, pack_file: Path, context: Context) -> list[BmsNode[Any]]:
        parameters_file = pack_file.parent.parent / "parameters" / "edge.yaml"
        own = {
            "pack": str(pack_file),
            "bus.interface": INTERFACE,
            "bus.channel": self._channel,
        }
        nodes: list[BmsNode[Any]] = []
        for kind in _NODES:
            node = _wired(kind, self._wiring)(
                clock=self.clock,
                sink=lambda topic, message: self._messages.append((topic, message)),
                context=context,
                namespace=f"loop_{self._channel}",
                cli_args=["--ros-args", "--params-file", str(parameters_file)],
                parameter_overrides=[Parameter(key, value=value) for key, value in own.items()],
                use_global_arguments=False,
                enable_rosout=False,
                start_parameter_services=False,
                enable_communication_interface=False,
            )
            nodes.append(node)
        for node in nodes:
            bring_up(node)
        # The event memory is empty: no lock-out was kept.
        self.publish("protection/lockouts", ProtectionLockouts(boot_ns=self.clock.boot_ns()))
        return nodes

    def _awake(self) -> list[BmsNode[Any]]:
        if not self._frozen:
            return self._nodes
        return [node for node in self._nodes if node.get_name() not in self._frozen]

    def _due_ns(self) -> int:
        due_ns = [self.device.pacer.due_ns(), self.board.due_ns()]
        for node in self._awake():
            due_ns += [task.due_ns for task in node.periodic]
            due_ns += [loop.due_ns for loop in node.loops]
        return min(due_ns)

    def _run_due(self) -> None:
        now_ns = self.clock.boot_ns()
        self.device.run_due()
        self._settle()
        for node in self._awake():
            tasks: list[Task] = [*node.periodic, *node.loops]
            for task in tasks:
                if task.due_ns <= now_ns:
                    task.run_due()
                    self._settle()

    def _settle(self) -> None:
        """Deliver frames and messages until none waits."""
        while True:
            self.board.run_due(0.0)
            for name, hardware in self._wiring.hardware:
                if name not in self._frozen:
                    hardware.poll()
            if not self._messages:
                return
            while self._messages:
                topic, message = self._messages.popleft()
                self.newest[topic] = message
                if self.heard is not None:
                    self.heard(topic, message)
                for node in self._listeners.get(topic, ()):
                    if node.get_name() in self._frozen:
                        self._held.setdefault(node.get_name(), {})[topic] = message
                    else:
                        node.receive(node.inputs[topic], message)
