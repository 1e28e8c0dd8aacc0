# SPDX-License-Identifier: Apache-2.0
"""A whole pack with its graph, started for a measurement or a test, and handled from outside."""

import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import rclpy
from ament_index_python.packages import get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context

from ibms_battery.clock import NS_PER_S, SystemClock
from ibms_battery.pack import load_pack
from ibms_bringup.launcher import Launch
from ibms_edge.protection.table import DiagnosisTable, load_table
from ibms_end.can.bus import BusConfiguration
from ibms_msgs.msg import Event, PackState, ProtectionStatus, SwitchState
from ibms_msgs.srv import ClearFaults, RequestPackState
from ibms_ros_common.manifest import interface_class, manifest
from ibms_ros_common.process import Executor
from ibms_sim.injection import InjectionClient

NAMESPACE = "battery"
CHAIN = ("afe_driver", "protection", "switch_control")
COMPOSED = "chain"  # the process that holds them where they are composed
_OTHER_PROCESSES = (
    "pack_supervisor",
    "slow_sensors",
    "state_estimator",
    "pack_services",
    "lifecycle_manager",
)
_CALL_TIMEOUT_S = 5.0
_RECOVERY_S = 20.0  # until a fault may be cleared, or a request is carried out
_STALE_NS = NS_PER_S // 2
_TOPICS = ("pack/state", "switch/state", "protection/status", "thermal/state", "charger/state")
# The observer's limits are those of the table: option -> diagnosis.
_SIGNS = {
    "cell-above-v": "cell_overvoltage",
    "cell-below-v": "cell_undervoltage",
    "hot-c": "cell_overtemperature",
    "current-above-a": "charge_overcurrent",
    "current-below-a": "discharge_overcurrent",
}


class NotReachedError(RuntimeError):
    """The pack did not get where it should within its time."""


def _is_fresh(message: Any) -> bool:
    return bool(SystemClock().boot_ns() - message.boot_ns < _STALE_NS)


class CanWatch:
    """The observer process; its events arrive in a queue."""

    def __init__(self, modules: int, channel: str, table: DiagnosisTable) -> None:
        folder = Path(get_package_share_directory("ibms_bringup")) / "config" / "can"
        limits = [
            f"--{option}={row.limits.safety}"
            for option, name in _SIGNS.items()
            if (row := table.named(name)) is not None
        ]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ibms_tools.bench.can_observer",
                f"--dbc={folder / 'ibms.dbc'}",
                f"--dbc={folder / 'ibms_sim.dbc'}",
                *limits,
                "--modules",
                str(modules),
                "--bus-channel",
                channel,
                "--parent",
                str(os.getpid()),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.scans: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        try:
            self.wait_for("ready", _RECOVERY_S)
        except NotReachedError:
            self.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether the observer still runs."""
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "scans":
                self.scans = event
            else:
                self.events.put(event)

    def clear(self) -> None:
        """Forget events so far."""
        while not self.events.empty():
            self.events.get_nowait()

    def wait_for(self, name: str, timeout_s: float) -> dict[str, Any]:
        """Next event called ``name``; others before it are dropped.

        Raises:
            NotReachedError: if it does not come in time.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                event = self.events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise NotReachedError(f"no {name!r} on the bus within {timeout_s} s") from None
            if event["event"] == name:
                return event

    def collect(self, first: str, last: str, timeout_s: float) -> dict[str, dict[str, Any]]:
        """Events until one called ``first`` and one called ``last`` have come, by name.

        Of a sign and of what opens the first one counts, of faulty scans the last one before the
        command. A sign is called ``sign NAME``.

        Raises:
            NotReachedError: if they do not come in time.
        """
        seen: dict[str, dict[str, Any]] = {}
        end = time.monotonic() + timeout_s
        while not {first, last} <= seen.keys():
            try:
                event = self.events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise NotReachedError(
                    f"no {first!r} and {last!r} on the bus within {timeout_s} s, only {list(seen)}"
                ) from None
            name = event["event"]
            if name == "sign":
                name = f"sign {event['name']}"
            if name == "faulty_scan" and first not in seen:
                seen[name] = event
            else:
                seen.setdefault(name, event)
        return seen

    def close(self) -> None:
        """End the observer."""
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class PackUnderTest:
    """Context: simulated pack and graph on their own DDS domain and CAN channel.

    Args:
        pack: name of a file in config/packs.
        domain: DDS domain.
        channel: CAN channel.
        folder: where logs and state go.
        arguments: further arguments of the launch file.
        composed: whether the nodes of the chain share one process.
    """

    def __init__(
        self,
        pack: str,
        domain: int,
        channel: str,
        folder: Path,
        arguments: dict[str, str] | None = None,
        composed: bool = False,
    ) -> None:
        self.chain_processes = (COMPOSED,) if composed else CHAIN
        self.edge_processes = (*self.chain_processes, *_OTHER_PROCESSES)
        share = Path(get_package_share_directory("ibms_bringup"))
        self.pack_file = share / "config" / "packs" / f"{pack}.yaml"
        self.pack = load_pack(self.pack_file)
        config = self.pack_file.parent.parent
        self.table = load_table(config / "diagnoses" / self.pack.diagnoses)
        self.channel = channel
        self.domain = domain
        self.log = folder / "graph.log"
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        self.launch = Launch(
            share / "launch" / "demo.launch.xml",
            {
                "pack": str(self.pack_file),
                "bus_channel": channel,
                "state_directory": str(folder / "state"),
                "chain": "composed" if composed else "separate",
                **(arguments or {}),
            },
            environment,
            output=self.log,
        )
        self.events: list[Event] = []
        self.newest: dict[str, Any] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._context = Context()
        self._listening = True

    def __enter__(self) -> "PackUnderTest":
        self.started = time.monotonic()
        config = self.pack_file.parent.parent / "can"
        with ExitStack() as stack:
            stack.enter_context(self.launch)
            rclpy.init(context=self._context, domain_id=self.domain, args=[])
            stack.callback(rclpy.shutdown, context=self._context)
            self._node = rclpy.create_node(
                "pack_under_test", namespace=NAMESPACE, context=self._context
            )
            stack.callback(self._node.destroy_node)
            for topic in _TOPICS:
                self._listen(topic, functools.partial(self.newest.__setitem__, topic))
            self._listen("events", self.events.append)
            self._listen("/diagnostics", self._on_diagnostics)
            self._state_client = self._node.create_client(RequestPackState, "request_pack_state")
            self._clear_client = self._node.create_client(ClearFaults, "clear_faults")
            self._executor = Executor(context=self._context)
            stack.callback(self._executor.shutdown)
            self._executor.add_node(self._node)
            self._thread = threading.Thread(target=self._spin, daemon=True)
            self._thread.start()
            stack.callback(self._end_spin)
            self.injection = InjectionClient(BusConfiguration("ibms_local", self.channel), config)
            stack.callback(self.injection.close)
            self.can = CanWatch(self.pack.modules, self.channel, self.table)
            stack.callback(self.can.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    # What is seen

    @property
    def state(self) -> int:
        """Newest pack state, STATE_OFF before the first."""
        message: PackState | None = self.newest.get("pack/state")
        return int(message.state) if message else int(PackState.STATE_OFF)

    @property
    def status(self) -> ProtectionStatus | None:
        """Newest verdict of protection."""
        return self.newest.get("protection/status")

    @property
    def switches(self) -> SwitchState | None:
        """Newest state of the switches."""
        return self.newest.get("switch/state")

    def is_judged(self) -> bool:
        """Whether protection lives: its last words from before a kill say nothing."""
        return self.status is not None and _is_fresh(self.status)

    def log_tail(self, lines: int = 15) -> str:
        """Last lines of the graph's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def texts(self) -> list[str]:
        """Texts of all events so far."""
        return [f"{event.source}: {event.text}" for event in self.events]

    def pid_of(self, name: str) -> int:
        """Process id of an edge process, a node of the chain or a simulated device."""
        composed = COMPOSED in self.chain_processes and name in CHAIN
        return self.launch.pid_of(COMPOSED if composed else name)

    def usage(self) -> dict[str, psutil.Process]:
        """The edge's processes by name."""
        return {name: psutil.Process(self.pid_of(name)) for name in self.edge_processes}

    # What is done

    def wait_until(self, what: str, condition: Callable[[], bool], timeout_s: float) -> float:
        """Wait for a condition; returns the seconds it took.

        Raises:
            NotReachedError: with the newest state in the text.
        """
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > timeout_s:
                state = self.newest.get("pack/state")
                raise NotReachedError(
                    f"{what}: not within {timeout_s} s; state {self.state} "
                    f"({state.text if state else 'none'}), last events {self.texts()[-6:]}; "
                    f"end of the log:\n{self.log_tail()}"
                )
            time.sleep(0.005)
        return time.monotonic() - start

    def wait_for_standby(self, timeout_s: float = 40.0) -> float:
        """Wait until the pack can be driven; returns the seconds since the start."""
        self.wait_until(
            "standby",
            lambda: self.state == PackState.STATE_STANDBY and self._close_allowed(),
            timeout_s,
        )
        return time.monotonic() - self.started

    def wait_for_all_active(self, timeout_s: float = 20.0) -> float:
        """Wait until the lifecycle manager says so; returns the seconds since the start."""

        def are_active() -> bool:
            managed = self.diagnostics.get("lifecycle_manager: nodes")
            return managed is not None and managed["level"] == "0"

        self.wait_until("all nodes active", are_active, timeout_s)
        return time.monotonic() - self.started

    def opened_after(self, at: float) -> float:
        """Seconds from wall time ``at`` to the opened feedback on the bus.

        Raises:
            NotReachedError: if it does not open within 3 s.
        """
        return float(self.can.wait_for("opened", 3.0)["at"]) - at

    def wait_until_noticed(self) -> None:
        """Wait until the supervisor knows of an opening: before that it takes no new request."""
        self.wait_until(
            "the supervisor sees it open", lambda: self.state != PackState.STATE_DRIVE, 2.0
        )

    def stays_open(self, seconds: float) -> bool:
        """Whether nothing closes on the bus for so long."""
        try:
            self.can.wait_for("closed", seconds)
        except NotReachedError:
            return True
        return False

    def request(self, state: int) -> RequestPackState.Response:
        """Ask the supervisor for a state."""
        request = RequestPackState.Request(state=state, requester="test")
        return self._call(self._state_client, request)

    def clear_faults(self, identifiers: Sequence[int] = ()) -> ClearFaults.Response:
        """Acknowledge faults: those named, lock-outs as well, or all that need no naming."""
        request = ClearFaults.Request()
        request.diagnosis = array("H", identifiers)
        return self._call(self._clear_client, request)

    def drive(self) -> None:
        """Go to drive, whatever stood before is cleared."""
        self.go_to(PackState.STATE_DRIVE)

    def go_to(self, state: int) -> None:
        """Go to a state by way of standby; faults that need no naming are cleared before."""
        self.wait_until("close allowed", self._cleared, _RECOVERY_S)
        if self._is_in(state):
            return
        for step in (PackState.STATE_STANDBY, state):
            if not self._is_in(step):
                self.wait_until(
                    f"state {step} accepted", functools.partial(self._accepts, step), _RECOVERY_S
                )
                self.wait_until(f"state {step}", functools.partial(self._is_in, step), _RECOVERY_S)

    def _accepts(self, state: int) -> bool:
        return bool(self.request(state).success)

    def _is_in(self, state: int) -> bool:
        """Whether a supervisor that lives says so."""
        message: PackState | None = self.newest.get("pack/state")
        return message is not None and message.state == state and _is_fresh(message)

    def stop_process(self, name: str, kind: signal.Signals) -> float:
        """Send a signal to a process; returns the wall time just before [s]."""
        process = self.pid_of(name)
        at = time.time()
        os.kill(process, kind)
        return at

    def _cleared(self) -> bool:
        if self._close_allowed():
            return True
        if self.is_judged():  # a protection that is just starting has nothing to clear
            self.clear_faults()
        time.sleep(0.1)
        return False

    def _close_allowed(self) -> bool:
        status = self.status
        return self.is_judged() and bool(status is not None and status.close_allowed)

    def _call(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(_CALL_TIMEOUT_S):
            raise NotReachedError(f"no service {client.srv_name}:\n{self.log_tail()}")
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_CALL_TIMEOUT_S):
            raise NotReachedError(f"no answer of {client.srv_name}:\n{self.log_tail()}")
        return future.result()

    def _listen(self, topic: str, handler: Callable[[Any], None]) -> None:
        entry = manifest().topics[topic]
        self._node.create_subscription(
            interface_class(entry.type), topic, handler, manifest().qos_of(topic)
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {
                "level": str(status.level[0]),
                "message": status.message,
                **{item.key: item.value for item in status.values},
            }

    def _spin(self) -> None:
        while self._listening:
            self._executor.spin_once(timeout_sec=0.1)

    def _end_spin(self) -> None:
        self._listening = False
        self._thread.join(2.0)
