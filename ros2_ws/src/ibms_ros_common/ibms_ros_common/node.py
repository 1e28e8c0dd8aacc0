# SPDX-License-Identifier: Apache-2.0
"""Base of all IBMS nodes: lifecycle, parameters, interfaces, input supervision, diagnostics.

A node derives from ``BmsNode`` and overrides ``configure``, ``activate``, ``deactivate`` and
``cleanup``. It talks to the outside only through ``publish``, ``listen``, ``every``, ``loop`` and
``serve``, so that replay can run it on a virtual clock: in one process with what replays it
(``sink``), or by itself over DDS, where its time follows ``/clock`` and the stamps of its inputs.
"""

import math
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock as RclClock
from rclpy.clock import ClockType
from rclpy.event_handler import QoSLivelinessChangedInfo, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Header

from ibms_battery.clock import NS_PER_S, Clock, SystemClock, VirtualClock
from ibms_msgs.msg import Event
from ibms_ros_common import loop_health, parameters, virtual_time
from ibms_ros_common.diagnostics import ERROR, Reporter, Status, to_message
from ibms_ros_common.loop import InputLoop
from ibms_ros_common.manifest import interface_class, manifest
from ibms_ros_common.onlooker import Onlooker
from ibms_ros_common.step_timer import StepTimer

P = TypeVar("P", bound=msgspec.Struct)
Handler = Callable[[Any], None]
RawHandler = Callable[[str, int, bytes], None]

_DIAGNOSTICS_PERIOD_S = 1.0
_FUTURE_TOLERANCE_NS = NS_PER_S // 1000
_REPLAY_DEPTH = 1000  # live the newest sample counts, in replay each one does
_ONLOOKER_PERIOD_S = 0.1
_LARGEST_LEAD_NS = NS_PER_S  # of a stamp before /clock; a larger one is absurd and moves no clock


@dataclass
class Input:
    """A subscribed topic and what was counted on it."""

    topic: str
    handler: Handler
    freshness_ns: int | None
    received: int = 0
    stale: int = 0
    oldest_ns: int = 0
    publishers_alive: int = 0
    # What came before the node was active, where the topic keeps its newest samples for latecomers.
    held: deque[Any] | None = None


class BmsNode(LifecycleNode, Generic[P]):
    """Lifecycle node with the plumbing that all IBMS nodes share.

    Args:
        name: node name, as in the manifest.
        kind: structure of its parameters.
        clock: injected time; the system's clock live, a virtual one in replay: then there are
            neither timers nor threads, and ``advance`` runs what falls due.
        sink: replay in one process: takes each published ``(topic, message)`` instead of DDS.
    """

    def __init__(
        self,
        name: str,
        kind: type[P],
        clock: Clock | None = None,
        sink: Callable[[str, Any], None] | None = None,
        **node_options: Any,
    ) -> None:
        super().__init__(name, **node_options)
        self.clock: Clock = clock or SystemClock()
        self.inputs: dict[str, Input] = {}
        self.published: dict[str, int] = {}
        self.periodic: list[virtual_time.Periodic] = []
        self.loops: list[InputLoop] = []
        self.step_timers: dict[str, StepTimer] = {}  # of what is time-critical, by subject
        self.rest: Callable[[], None] | None = None  # what the process does when a step is done
        self.report_process: Reporter | None = None
        self.onlooker: Onlooker | None = None
        self.pack_name = ""
        self.is_active = False
        self._is_configured = False
        self._kind = kind
        self._sink = sink
        self._virtual = self.clock if isinstance(self.clock, VirtualClock) else None
        self._outputs: dict[str, Any] = {}
        self._handles: list[tuple[Callable[[Any], Any], Any]] = []
        self._reporters: list[tuple[str, Reporter]] = []
        self._steady = RclClock(clock_type=ClockType.STEADY_TIME)
        parameters.declare(self, kind)
        self.add_on_set_parameters_callback(self._refuse_change)

    # What a node overrides

    def configure(self, parameters: P) -> None:
        """Read configuration, open what has to be opened, create interfaces. Raise to refuse."""

    def activate(self) -> None:
        """Begin to act."""

    def deactivate(self) -> None:
        """Stop acting; leave everything in its safe state."""

    def cleanup(self) -> None:
        """Close what ``configure`` opened."""

    # What a node uses

    def advertise(self, *topics: str) -> None:
        """Create publishers for topics of the manifest."""
        for topic in topics:
            entry = manifest().topics[topic]
            if self.get_name() not in entry.publishers:
                raise RuntimeError(
                    f"the manifest does not let {self.get_name()!r} publish {topic!r}"
                )
            self.published[topic] = 0
            if self._sink is not None:
                continue
            publisher = self.create_lifecycle_publisher(
                interface_class(entry.type), topic, self._qos_of(topic)
            )
            self._outputs[topic] = publisher
            self._handles.append((self.destroy_lifecycle_publisher, publisher))

    def publish(self, topic: str, message: Any) -> None:
        """Publish on an advertised topic; silently dropped while inactive."""
        if not self.is_active:
            return
        self.published[topic] += 1
        if self._sink is not None:
            self._sink(topic, message)
        else:
            self._outputs[topic].publish(message)

    def listen(self, topic: str, handler: Handler, freshness_s: float | None = None) -> Input:
        """Subscribe to a topic of the manifest.

        Messages whose ``boot_ns`` is older than ``freshness_s``, or lies in the future, are counted
        and dropped. The handler runs only while the node is active; what came before on a topic
        that keeps samples for latecomers is handed over with the activation.
        """
        entry = manifest().topics[topic]
        freshness_ns = None if freshness_s is None else round(freshness_s * NS_PER_S)
        source = Input(topic, handler, freshness_ns)
        qos = self._qos_of(topic)
        if qos.durability is DurabilityPolicy.TRANSIENT_LOCAL:
            source.held = deque(maxlen=qos.depth)
        self.inputs[topic] = source
        if self._sink is None:
            events = SubscriptionEventCallbacks()
            if entry.single_publisher:
                # Publishers that died stay matched for seconds; only live ones count.
                events.liveliness = lambda info: self._on_liveliness(source, info)
            hear = self.receive if self._virtual is None else self._receive_in_replay
            subscription = self.create_subscription(
                interface_class(entry.type),
                topic,
                lambda message: hear(source, message),
                qos,
                event_callbacks=events,
            )
            self._handles.append((self.destroy_subscription, subscription))
        return source

    def look_on(self, topics: Sequence[str], handler: RawHandler) -> None:
        """Hand over every message of ``topics`` as it came, serialized, ten times per second.

        The handler takes topic, CLOCK_BOOTTIME of receipt [ns] and data, in the order of receipt.
        It costs little, and the node is no part of what it looks at (see ``Onlooker``). Only what
        comes while the node is active is handed over.
        """
        if self._sink is not None:
            for topic in topics:
                self.inputs[topic] = Input(topic, self._replayed(topic, handler), None)
            return
        self.onlooker = Onlooker(self, self.clock)
        self._handles.append((Onlooker.close, self.onlooker))
        for topic in topics:
            kind = interface_class(manifest().topics[topic].type)
            self.onlooker.add(topic, kind, self._qos_of(topic))
        timer = self.create_timer(
            _ONLOOKER_PERIOD_S, lambda: self._fetch(handler), clock=self._steady
        )
        self._handles.append((self.destroy_timer, timer))

    def _replayed(self, topic: str, handler: RawHandler) -> Handler:
        return lambda message: handler(topic, self.clock.boot_ns(), serialize_message(message))

    def _fetch(self, handler: RawHandler) -> None:
        assert self.onlooker is not None
        for topic, received_ns, data in self.onlooker.fetch():
            if self.is_active:
                handler(topic, received_ns, data)

    def receive(self, source: Input, message: Any) -> None:
        """Check one message and hand it to its handler; the entry of live input and of replay."""
        if not self.is_active:
            if source.held is not None:
                source.held.append(message)
            return
        source.received += 1
        age_ns = self.clock.boot_ns() - message.boot_ns
        is_late = source.freshness_ns is not None and age_ns > source.freshness_ns
        # A stamp of the future would look fresh until its time has come.
        if is_late or age_ns < -_FUTURE_TOLERANCE_NS:
            source.stale += 1
            return
        if source.freshness_ns is not None:
            source.oldest_ns = max(source.oldest_ns, age_ns)
        source.handler(message)

    def every(self, period_s: float, function: Callable[[], None], timed_as: str = "") -> None:
        """Call ``function`` every ``period_s`` seconds while the node is active.

        ``timed_as`` makes its timing a subject of the node's diagnostics.
        """
        if timed_as:
            timer = self.watch(timed_as, StepTimer(period_s, self.clock))
            function = partial(self._run_timed, function, timer)
        self.periodic.append(virtual_time.Periodic(round(period_s * NS_PER_S), function))
        if self._virtual is None:
            timer = self.create_timer(
                period_s, lambda: function() if self.is_active else None, clock=self._steady
            )
            self._handles.append((self.destroy_timer, timer))

    def _run_timed(self, function: Callable[[], None], timer: StepTimer) -> None:
        timer.begin()
        function()
        timer.end()
        if self.rest is not None:
            self.rest()

    def loop(self, step: Callable[[int], None], period_s: float) -> InputLoop:
        """A loop in its own thread, started and stopped with the node."""
        # Other threads of the process bear its name, and the kernel shows 15 characters.
        name = f"{self.get_name()[:10]}_loop"
        loop = InputLoop(name, step, period_s, self.clock, self.rest)
        self.loops.append(loop)
        self.watch("loop", loop.timer)
        return loop

    def watch(self, subject: str, timer: StepTimer) -> StepTimer:
        """Show the timing of something time-critical in the diagnostics, as an own subject."""
        self.step_timers[subject] = timer
        return timer

    def serve(self, service: str, handler: Callable[[Any, Any], Any]) -> None:
        """Offer a service of the manifest."""
        if self._sink is None:
            entry = manifest().services[service]
            server = self.create_service(interface_class(entry.type), service, handler)
            self._handles.append((self.destroy_service, server))

    def client(self, service: str) -> Any:
        """Client of a service of the manifest."""
        client = self.create_client(interface_class(manifest().services[service].type), service)
        self._handles.append((self.destroy_client, client))
        return client

    def diagnose(self, subject: str, reporter: Reporter) -> None:
        """Add a subject to the node's diagnostics."""
        self._reporters.append((subject, reporter))

    def tell(
        self,
        kind: int,
        text: str,
        severity: int = Event.SEVERITY_INFO,
        *,
        diagnosis: int = 0,
        element: int = -1,
        value: float = math.nan,
    ) -> None:
        """Publish an event for people; the arguments are the fields of ``ibms_msgs/msg/Event``."""
        self.publish(
            "events",
            Event(
                header=self.header(),
                boot_ns=self.clock.boot_ns(),
                source=self.get_name(),
                kind=kind,
                severity=severity,
                diagnosis=diagnosis,
                element=element,
                value=value,
                text=text,
            ),
        )

    def header(self, boot_ns: int | None = None) -> Header:
        """Header with the pack's name and the wall time of ``boot_ns`` (now unless given)."""
        wall_ns = self.clock.wall_ns()
        if boot_ns is not None:
            wall_ns += boot_ns - self.clock.boot_ns()
        seconds, nanoseconds = divmod(wall_ns, NS_PER_S)
        return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=self.pack_name)

    def foreign_publishers(self) -> list[str]:
        """Topics of the chain that have more than one publisher."""
        return [source.topic for source in self.inputs.values() if source.publishers_alive > 1]

    # Replay ---------------------------------------------------------------------------------------

    def advance(self, boot_ns: int) -> None:
        """Move the node's virtual clock to ``boot_ns`` and run what falls due on the way.

        Raises:
            RuntimeError: if the node lives on the machine's clock.
        """
        if self._virtual is None:
            raise RuntimeError(f"{self.get_name()} lives on the machine's clock, nobody moves it")
        tasks: list[virtual_time.Task] = [*self.periodic, *self.loops] if self.is_active else []
        virtual_time.advance(self._virtual, boot_ns, tasks)

    def _qos_of(self, topic: str) -> QoSProfile:
        profile = manifest().qos_of(topic)
        if self._virtual is not None:
            profile.depth = _REPLAY_DEPTH
        return profile

    def _receive_in_replay(self, source: Input, message: Any) -> None:
        # Over DDS a sample may overtake /clock; its stamp proves that its time has come.
        if message.boot_ns - self.clock.boot_ns() <= _LARGEST_LEAD_NS:
            self.advance(message.boot_ns)
        self.receive(source, message)

    def _follow_clock(self) -> None:
        def on_clock(message: ClockMessage) -> None:
            self.advance(message.clock.sec * NS_PER_S + message.clock.nanosec)

        subscription = self.create_subscription(
            ClockMessage, "/clock", on_clock, QoSProfile(depth=_REPLAY_DEPTH)
        )
        self._handles.append((self.destroy_subscription, subscription))

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure; a wrong configuration is a failure with a clear sentence, not a crash."""
        try:
            if isinstance(self.clock, SystemClock) and self.get_parameter("use_sim_time").value:
                raise ValueError("use_sim_time is set, but this node lives on the machine's clock")
            self.configure(parameters.read(self, self._kind))
            if self._sink is None:
                self._outputs["/diagnostics"] = self.create_publisher(
                    DiagnosticArray, "/diagnostics", manifest().qos_of("/diagnostics")
                )
                self._handles.append((self.destroy_publisher, self._outputs["/diagnostics"]))
                timer = self.create_timer(
                    _DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=self._steady
                )
                self._handles.append((self.destroy_timer, timer))
                if self._virtual is not None:
                    self._follow_clock()
        # Whatever it is: it must reach the log and the state machine, not end the process.
        except Exception as error:  # noqa: BLE001
            self._log_refusal("configured", error)
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._is_configured = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate publishers, then the node, then its loops."""
        result = super().on_activate(state)
        try:
            self.is_active = True
            self.activate()
            for source in self.inputs.values():
                while source.held:
                    self.receive(source, source.held.popleft())
            for periodic in self.periodic:
                periodic.start(self.clock.boot_ns())
            for timer in self.step_timers.values():
                timer.start()
            for loop in self.loops:
                loop.start()
        except Exception as error:  # noqa: BLE001 - as above
            self._log_refusal("activated", error)
            self._stop_acting()
            return TransitionCallbackReturn.FAILURE
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the loops, let the node reach its safe state, then silence its publishers."""
        self._stop_acting()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close everything."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reach the safe state and close everything."""
        self.stop()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: nothing may go on acting in a state that does not say so."""
        self.get_logger().error(f"transition from {state.label!r} failed; the node is closed down")
        self.stop()
        return TransitionCallbackReturn.SUCCESS  # unconfigured, can be configured again

    @property
    def is_configured(self) -> bool:
        """Whether the node is configured, active or not."""
        return self._is_configured

    @property
    def failure(self) -> BaseException | None:
        """What ended one of the node's loops, if anything did."""
        return next((loop.failure for loop in self.loops if loop.failure is not None), None)

    def stop(self) -> None:
        """Reach the safe state and close everything, from any state; ends the process's work."""
        try:
            self._stop_acting()
        finally:
            self._release()

    def _stop_acting(self) -> None:
        if self.is_active:
            for loop in self.loops:
                loop.stop()
            for timer in self.step_timers.values():
                timer.stop()
            try:
                self.deactivate()
            finally:
                self.is_active = False

    def _release(self) -> None:
        self._is_configured = False
        self.cleanup()
        for destroy, handle in reversed(self._handles):
            destroy(handle)
        self._handles.clear()
        self._outputs.clear()
        self.inputs.clear()
        self.published.clear()
        self.periodic.clear()
        self.loops.clear()
        self.step_timers.clear()
        self._reporters.clear()

    def _log_refusal(self, what: str, error: Exception) -> None:
        known = isinstance(error, (ValueError, OSError, RuntimeError))
        detail = str(error) if known else traceback.format_exc()
        self.get_logger().error(f"cannot be {what}: {detail}")

    def _refuse_change(self, changed: list[Any]) -> SetParametersResult:
        # Parameters are read when the node is configured: a later change would only seem to count.
        if self._is_configured:
            return SetParametersResult(
                successful=False,
                reason=f"{self.get_name()} is configured; deactivate and clean it up first",
            )
        return SetParametersResult(successful=True)

    # Supervision

    @staticmethod
    def _on_liveliness(source: Input, info: QoSLivelinessChangedInfo) -> None:
        source.publishers_alive = info.alive_count

    def _report_node(self, status: Status) -> None:
        status.add(active=self.is_active)
        for source in self.inputs.values():
            status.add(
                **{
                    f"{source.topic} received": source.received,
                    f"{source.topic} stale": source.stale,
                    f"{source.topic} oldest [ms]": source.oldest_ns / 1e6,
                }
            )
            source.oldest_ns = 0
        status.add(**{f"{topic} published": count for topic, count in self.published.items()})
        if self.failure is not None:
            status.report(ERROR, f"loop ended by {self.failure!r}")

    def subjects(self) -> list[tuple[str, Reporter]]:
        """Subjects of the node's diagnostics; each is a status of the name ``node: subject``."""
        subjects: list[tuple[str, Reporter]] = [("node", self._report_node)]
        if self.report_process is not None:
            subjects.append(("process", self.report_process))
        for subject, timer in self.step_timers.items():
            subjects.append((subject, partial(loop_health.report, timer)))
        return [*subjects, *self._reporters]

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray(
            header=self.header(),
            status=[
                to_message(self.get_name(), subject, self.pack_name, reporter)
                for subject, reporter in self.subjects()
            ],
        )
        self._outputs["/diagnostics"].publish(message)
