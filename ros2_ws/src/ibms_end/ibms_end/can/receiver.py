# SPDX-License-Identifier: Apache-2.0
"""A thread that receives frames, stamps them on the boot clock, and survives trouble on the bus."""

import select
import threading
from collections.abc import Callable, Iterable, Mapping

import can

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.threads import start_thread
from ibms_end.bus_health import BusHealth
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.identifier import frame_identifier
from ibms_end.can.stamps import StampConverter

FrameHandler = Callable[[can.Message, int], None]
IdleHandler = Callable[[int], None]

_REOPEN_PAUSE_S = 0.5
_SEND_TIMEOUT_S = 0.002
_TROUBLE = (can.CanError, OSError, ValueError)  # ValueError: a descriptor closed meanwhile

# Classes of error frames (linux/can/error.h).
_ERROR_BUS_OFF, _ERROR_RESTARTED = 0x40, 0x100


class CanReceiver:
    """Opens a bus and hands each frame to ``on_frame(message, boot_ns)`` in its own thread.

    ``on_idle(boot_ns)`` is called at least every ``idle_period_s``. Frames older than
    ``freshness_s`` by their receive stamp (``freshness_of_s`` for single identifiers) are counted
    and dropped, so a backlog is drained before anything acts on it. Bus errors and a vanished
    device lead to closing and opening anew, with a pause, as long as it takes.

    The thread waits on the bus's file descriptor itself: ``can.BusABC.recv`` measures its time-out
    in wall time and would wait for hours after a step.
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
        freshness_of_s: Mapping[int, float] | None = None,
    ) -> None:
        self.health = BusHealth()
        self._configuration = configuration
        self._identifiers = None if identifiers is None else frozenset(identifiers)
        self._clock = clock
        self._on_frame = on_frame
        self._on_idle = on_idle
        self._idle_period_s = idle_period_s
        self._freshness_ns = round(freshness_s * NS_PER_S)
        self._freshness_of_ns = {
            identifier: round(limit_s * NS_PER_S)
            for identifier, limit_s in (freshness_of_s or {}).items()
        }
        self._stamps = StampConverter(clock)
        self._bus: can.BusABC | None = None
        self._malformed = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open the bus now, so that a wrong configuration shows; raises ``can.CanError``."""
        bus = open_bus(self._configuration, self._identifiers)
        try:
            bus.fileno()
        except NotImplementedError as error:
            bus.shutdown()
            raise can.CanInitializationError(
                f"interface {self._configuration.interface!r} has no file descriptor to wait on; "
                f"use 'socketcan' with the kernel's driver of the device"
            ) from error
        self._bus = bus
        self._malformed = 0
        self._stamps.queue_empty(self._clock.boot_ns())
        self.health.connected = True

    def start(self) -> None:
        """Start receiving; opens the bus if it is closed (raises ``can.CanError``)."""
        if self._bus is None:
            self.open()
        self._stop.clear()
        self._thread = start_thread("can_receiver", self._run)

    def stop(self) -> None:
        """End the thread and close the bus; without effect if that is done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
        self._close()

    def poll(self) -> None:
        """Take what waits, in the caller's thread: instead of ``start`` where time is virtual."""
        bus, asked_ns = self._bus, self._clock.boot_ns()
        while bus is not None and (message := bus.recv(0)) is not None:
            self._take(message)
        self._stamps.queue_empty(asked_ns)
        self._count_steps()
        if self._on_idle is not None:
            self._on_idle(self._clock.boot_ns())

    def send(self, message: can.Message) -> bool:
        """Send one frame; ``False`` (and counted) if the bus did not take it."""
        bus = self._bus
        if bus is None:
            self.health.counts["send_failed"] += 1
            return False
        try:
            bus.send(message, timeout=_SEND_TIMEOUT_S)
        except _TROUBLE as error:
            self.health.counts["send_failed"] += 1
            self.health.note(f"sending failed: {error}", self._clock.boot_ns())
            return False
        self.health.counts["sent"] += 1
        return True

    def _run(self) -> None:
        try:
            self._receive_until_stopped()
        except BaseException as error:
            # What depends on the frames sees the silence; diagnostics see the reason.
            self.health.connected = False
            self.health.note(f"receiving ended by {error!r}", self._clock.boot_ns())
            raise

    def _receive_until_stopped(self) -> None:
        next_idle_ns = self._clock.boot_ns()
        idle_ns = round(self._idle_period_s * NS_PER_S)
        while not self._stop.is_set():
            bus = self._bus
            if bus is None:
                self._reopen()
            else:
                try:
                    self._receive_one(bus)
                except _TROUBLE as error:
                    self._fail(str(error))
            now_ns = self._clock.boot_ns()
            if now_ns >= next_idle_ns:
                next_idle_ns = now_ns + idle_ns
                self._count_malformed()
                if self._on_idle is not None:
                    self._on_idle(now_ns)

    def _receive_one(self, bus: can.BusABC) -> None:
        asked_ns = self._clock.boot_ns()
        wait_s = 0.0 if self._stamps.in_doubt else self._idle_period_s
        ready, _, _ = select.select([bus.fileno()], [], [], wait_s)
        if not ready:
            self._stamps.queue_empty(asked_ns)
            self._count_steps()
        elif (message := bus.recv(0)) is not None:
            self._take(message)

    def _take(self, message: can.Message) -> None:
        counts = self.health.counts
        if message.is_error_frame:
            self._take_error(message)
            return
        if message.is_remote_frame:
            counts["remote_frame"] += 1
            return
        identifier = frame_identifier(message)
        if self._identifiers is not None and identifier not in self._identifiers:
            return  # python-can filters SocketCAN after binding it: these came between
        boot_ns = self._stamps.convert(message.timestamp)
        self._count_steps()
        limit_ns = self._freshness_of_ns.get(identifier, self._freshness_ns)
        if self._clock.boot_ns() - boot_ns > limit_ns:
            counts["stale"] += 1
            return
        counts["received"] += 1
        self.health.last_frame_boot_ns = boot_ns
        self.health.connected = True
        self._on_frame(message, boot_ns)

    def _take_error(self, message: can.Message) -> None:
        health, now_ns = self.health, self._clock.boot_ns()
        health.counts["error_frame"] += 1
        if message.arbitration_id & _ERROR_BUS_OFF:
            # The kernel restarts the controller (restart-ms); opening anew would change nothing.
            health.counts["bus_off"] += 1
            health.connected = False
            health.note(
                "bus off: the controller left the bus after too many errors; check wiring, "
                "termination and bit rate, and that the link has a restart-ms",
                now_ns,
            )
        elif message.arbitration_id & _ERROR_RESTARTED:
            health.counts["bus_restarted"] += 1
            health.connected = True
        else:
            health.note("error frames on the bus", now_ns)

    def _count_steps(self) -> None:
        if self._stamps.steps:
            self.health.counts["wall_clock_step"] = self._stamps.steps

    def _count_malformed(self) -> None:
        """Add what the local bus refused since the last time; other buses refuse in hardware."""
        malformed: int = getattr(self._bus, "malformed", 0)
        if malformed > self._malformed:
            self.health.counts["malformed"] += malformed - self._malformed
            self._malformed = malformed

    def _fail(self, problem: str) -> None:
        self.health.counts["bus_failed"] += 1
        self.health.note(problem, self._clock.boot_ns())
        self._close()

    def _reopen(self) -> None:
        try:
            self.open()
        except (can.CanError, OSError) as error:
            self.health.note(str(error), self._clock.boot_ns())
            self._stop.wait(_REOPEN_PAUSE_S)
        else:
            self.health.counts["bus_reopened"] += 1

    def _close(self) -> None:
        bus, self._bus = self._bus, None
        self.health.connected = False
        if bus is not None:
            bus.shutdown()
