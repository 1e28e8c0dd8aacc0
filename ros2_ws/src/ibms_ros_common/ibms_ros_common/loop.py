# SPDX-License-Identifier: Apache-2.0
"""A loop in its own thread that runs on new input and at least once per period."""

import threading
from collections.abc import Callable

from ibms_battery.clock import NS_PER_S, Clock, SystemClock
from ibms_battery.threads import start_thread
from ibms_ros_common.step_timer import StepTimer


class InputLoop:
    """Calls ``step(now_ns)`` once per ``notify()`` and at least every ``period_s``.

    Notifications that arrive while a step runs are merged into one further step. With a clock other
    than the system's (replay, tests) there is no thread: ``notify()`` runs the step at once, and
    whoever moves the clock calls ``run_due()`` at ``due_ns``.

    Args:
        name: of the thread.
        step: what is done; gets the boot time [ns].
        period_s: longest time between two steps [s].
        clock: injected time.
        rest: called by the thread when a step is done and no input waits.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[int], None],
        period_s: float,
        clock: Clock,
        rest: Callable[[], None] | None = None,
    ) -> None:
        self.timer = StepTimer(period_s, clock)
        self.failure: BaseException | None = None
        self._name = name
        self._step = step
        self._period_s = period_s
        self._clock = clock
        self._rest = rest
        self._wake = threading.Semaphore(0)
        self._running = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def period_s(self) -> float:
        """Longest time between two steps [s]."""
        return self._period_s

    @property
    def due_ns(self) -> int:
        """Boot time at which the next step is due without new input [ns]."""
        return self.timer.last_begin_ns + round(self._period_s * NS_PER_S)

    def start(self) -> None:
        """Start the thread (live) or allow inline steps (replay)."""
        self._running = threading.Event()
        self._running.set()
        self.failure = None
        self.timer.start()
        if isinstance(self._clock, SystemClock):
            # Each thread has its own sign to go on: one that hangs in a step beyond stop() ends
            # after it, whatever was started since.
            running = self._running
            self._thread = start_thread(self._name, lambda: self._run(running))

    def stop(self) -> None:
        """End the loop and wait for a running step."""
        self._running.clear()
        self.timer.stop()
        self._wake.release()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def notify(self) -> None:
        """New input is there."""
        if self._thread is not None:
            self._wake.release()
        elif self._running.is_set():
            self._run_step()

    def run_due(self) -> None:
        """Run the step that is due without new input (replay)."""
        self._run_step()

    def _run(self, running: threading.Event) -> None:
        while True:
            woken = self._wake.acquire(blocking=False)
            if not woken:
                if self._rest is not None:
                    self._rest()
                woken = self._wake.acquire(timeout=self._period_s)
            while woken and self._wake.acquire(blocking=False):
                pass  # merge what queued up while the last step ran
            if not running.is_set():
                return
            try:
                self._run_step()
            except BaseException as error:
                # The owner falls silent, which opens the pack; its diagnostics show the failure.
                self.failure = error
                raise

    def _run_step(self) -> None:
        now_ns = self.timer.begin()
        self._step(now_ns)
        self.timer.end()
