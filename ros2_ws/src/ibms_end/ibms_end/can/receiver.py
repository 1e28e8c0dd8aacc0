# SPDX-License-Identifier: Apache-2.0
"""A thread that receives frames, stamps them on the boot clock, and survives trouble on the bus."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import can

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.threads import start_thread
from ibms_end.can.bus import BusConfiguration, open_bus

FrameHandler = Callable[[can.Message, int], None]
IdleHandler = Callable[[int], None]

_STEP_NS = 10_000_000  # a change of wall minus boot time beyond this is a step of wall time
_STEP_SHADOW_NS = 1_000_000_000  # frames that may still carry stamps from before a step
_REOPEN_PAUSE_S = 0.5


@dataclass
class BusHealth:
    """What happened on the bus since the start; read by diagnostics."""

    counts: Counter[str] = field(default_factory=Counter)
    last_frame_boot_ns: int = 0
    connected: bool = False
    problem: str = ""


class CanReceiver:
    """Opens a bus and hands each frame to ``on_frame(message, boot_ns)`` in its own thread.

    ``on_idle(boot_ns)`` is called at least every ``idle_period_s``. Frames older than ``freshness_s`` by
    their receive stamp are counted and dropped, so a backlog is drained before anything acts on it. Bus
    errors and a vanished device lead to closing and opening anew, with a pause, as long as it takes.
    """

    def __init__(
        self,
        configuration: BusConfiguration,
        identifiers: Iterable[int] | None,
        clock: Clock,
        on_frame: FrameHandler,
        on_idle: IdleHandler | None = None,
        idle_period_s: float = 0.02,
        freshness_s: float = 0.1,
    ) -> None:
        self.health = BusHealth()
        self._configuration = configuration
        self._identifiers = None if identifiers is None else list(identifiers)
        self._clock = clock
        self._on_frame = on_frame
        self._on_idle = on_idle
        self._idle_period_s = idle_period_s
        self._freshness_ns = round(freshness_s * NS_PER_S)
        self._offset_ns = clock.wall_ns() - clock.boot_ns()
        self._shadow_until_ns = 0
        self._bus: can.BusABC | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open the bus now, so that a wrong configuration shows at once; raises ``can.CanError``."""
        self._bus = open_bus(self._configuration, self._identifiers)
        self.health.connected = True

    def start(self, name: str = "can_receiver") -> None:
        """Start receiving."""
        self._stop.clear()
        self._thread = start_thread(name, self._run)

    def stop(self) -> None:
        """End the thread and close the bus."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
        self._close()

    def send(self, message: can.Message) -> bool:
        """Send one frame; ``False`` (and counted) if the bus did not take it."""
        bus = self._bus
        if bus is None:
            self.health.counts["send_failed"] += 1
            return False
        try:
            bus.send(message, timeout=0.002)
        except can.CanError as error:
            self.health.counts["send_failed"] += 1
            self.health.problem = str(error)
            return False
        self.health.counts["sent"] += 1
        return True

    def boot_ns_of(self, message: can.Message) -> int:
        """Boot time of the kernel's receive stamp.

        The kernel stamps in wall time. While wall time is stepped the stamp says nothing about age: such
        frames count as received now, and the step is counted.
        """
        now_boot = self._clock.boot_ns()
        offset_ns = self._clock.wall_ns() - now_boot
        if abs(offset_ns - self._offset_ns) > _STEP_NS:
            self.health.counts["wall_clock_step"] += 1
            self._shadow_until_ns = now_boot + _STEP_SHADOW_NS
        self._offset_ns = offset_ns
        if now_boot < self._shadow_until_ns:
            return now_boot
        return min(now_boot, round(message.timestamp * NS_PER_S) - offset_ns)

    def _run(self) -> None:
        next_idle = self._clock.boot_ns()
        idle_ns = round(self._idle_period_s * NS_PER_S)
        while not self._stop.is_set():
            if self._bus is None and not self._reopen():
                continue
            assert self._bus is not None  # noqa: S101 - for the type checker
            try:
                message = self._bus.recv(self._idle_period_s)
            except (can.CanError, OSError, ValueError) as error:
                self._fail(str(error))
                continue
            if message is not None:
                self._receive(message)
            if self._on_idle is not None:
                now = self._clock.boot_ns()
                if now >= next_idle:
                    next_idle = now + idle_ns
                    self._on_idle(now)

    def _receive(self, message: can.Message) -> None:
        if message.is_error_frame:
            self.health.counts["error_frame"] += 1
            self.health.problem = "error frames on the bus"
            if self._bus is not None and self._bus.state is can.BusState.ERROR:
                self._fail("bus off")
            return
        if message.is_remote_frame:
            self.health.counts["remote_frame"] += 1
            return
        boot_ns = self.boot_ns_of(message)
        if self._clock.boot_ns() - boot_ns > self._freshness_ns:
            self.health.counts["stale"] += 1
            return
        self.health.counts["received"] += 1
        self.health.last_frame_boot_ns = boot_ns
        self._on_frame(message, boot_ns)

    def _fail(self, problem: str) -> None:
        self.health.counts["bus_failed"] += 1
        self.health.problem = problem
        self._close()

    def _reopen(self) -> bool:
        try:
            self.open()
        except (can.CanError, OSError) as error:
            self.health.problem = str(error)
            if self._on_idle is not None:
                self._on_idle(self._clock.boot_ns())
            self._stop.wait(_REOPEN_PAUSE_S)
            return False
        self.health.counts["bus_reopened"] += 1
        return True

    def _close(self) -> None:
        bus, self._bus = self._bus, None
        self.health.connected = False
        if bus is not None:
            bus.shutdown()
