# SPDX-License-Identifier: Apache-2.0
"""A loop in its own thread that runs on new input and at least once per period."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ibms_battery.clock import NS_PER_S, Clock, SystemClock
from ibms_battery.threads import start_thread


@dataclass
class LoopTiming:
    """Timing of a loop since the last reset, for diagnostics."""

    iterations: int = 0
    longest_execution_ns: int = 0
    total_execution_ns: int = 0
    longest_gap_ns: int = 0

    def reset(self) -> None:
        """Begin a new window."""
        self.iterations = self.longest_execution_ns = 0
        self.total_execution_ns = self.longest_gap_ns = 0


class InputLoop:
    """Calls ``step(now_ns)`` once per ``notify()`` and at least every ``period_s``.

    Notifications that arrive while a step runs are merged into one further step. With a clock other
    than the system's (replay, tests) there is no thread: ``notify()`` runs the step at once, and
    whoever moves the clock calls ``run_due()`` at ``due_ns``.
    """

    def __init__(
        self, name: str, step: Callable[[int], None], period_s: float, clock: Clock
    ) -> None:
        self.timing = LoopTiming()
        self.failure: BaseException | None = None
        self._name = name
        self._step = step
        self._period_s = period_s
        self._clock = clock
        self._wake = threading.Semaphore(0)
        self._running = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_start_ns = 0

    @property
    def period_s(self) -> float:
        """Longest time between two steps [s]."""
        return self._period_s

    @property
    def due_ns(self) -> int:
        """Boot time at which the next step is due without new input [ns]."""
        return self._last_start_ns + round(self._period_s * NS_PER_S)

    def start(self) -> None:
        """Start the thread (live) or allow inline steps (replay)."""
        self._running = threading.Event()
        self._running.set()
        self.failure = None
        self._last_start_ns = self._clock.boot_ns()
        if isinstance(self._clock, SystemClock):
            # Each thread has its own sign to go on: one that hangs in a step beyond stop() ends
            # after it, whatever was started since.
            running = self._running
            self._thread = start_thread(self._name, lambda: self._run(running))

    def stop(self) -> None:
        """End the loop and wait for a running step."""
        self._running.clear()
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
            if self._wake.acquire(timeout=self._period_s):
                while self._wake.acquire(blocking=False):
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
        timing, start_ns = self.timing, self._clock.boot_ns()
        gap_ns, self._last_start_ns = start_ns - self._last_start_ns, start_ns
        self._step(start_ns)
        execution_ns = self._clock.boot_ns() - start_ns
        timing.iterations += 1
        timing.total_execution_ns += execution_ns
        timing.longest_execution_ns = max(timing.longest_execution_ns, execution_ns)
        timing.longest_gap_ns = max(timing.longest_gap_ns, gap_ns)
