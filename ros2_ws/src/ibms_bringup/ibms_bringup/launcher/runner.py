# SPDX-License-Identifier: Apache-2.0
"""Starts processes, forwards their output, starts them again, and ends them all, in one thread.

One thread does everything, waiting for process ends (pidfd), output and commands at once, so that
there is no order of events to get wrong. Linux 5.3 or newer.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import IO

from . import guard
from .model import ProcessSpec

_LINE_LIMIT = 65_536  # bytes; longer lines are passed on in pieces
_READ_SIZE = 65_536
_PIPE_SIZE = 1_048_576  # the most that a pipe holds without privileges
_POLL_S = 0.05  # for left-over processes, whose end nobody announces
_SAME_INTERRUPT_S = 0.1  # one Ctrl-C may arrive twice: from the terminal and from a parent
_GIVE_UP_S = 5.0  # after SIGKILL; longer lives only what hangs in the kernel
_STEPS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True)
class ProcessStatus:
    """State of one process: `pid` while it runs, `exit_code` of its last end (-N: signal N)."""

    spec: ProcessSpec
    pid: int | None
    exit_code: int | None
    starts: int


class _Command(Enum):
    STOP = 1  # begin to end everything, if that has not begun
    INTERRUPT = 2  # the same; once it has begun, take the next, harder signal at once


@dataclass
class _Managed:
    spec: ProcessSpec
    popen: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    starts: int = 0
    order: int = 0  # of the last start, over all processes
    respawn_at_s: float | None = None
    pipes: list[_Pipe] = field(default_factory=list)


@dataclass
class _Pipe:
    label: str
    stream: IO[bytes]
    rest: bytes = b""


class Runner:
    """Runs processes until they have ended by themselves or are told to."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        put: Callable[[str], None],
        sigterm_timeout_s: float,
        sigkill_timeout_s: float,
    ) -> None:
        """`put` receives each line of output, prefixed with the label of its process."""
        self._managed = [_Managed(spec) for spec in specs]
        self._put = put
        # Time that each signal has before the next, harder one.
        self._patience_s = (sigterm_timeout_s, sigkill_timeout_s, _GIVE_UP_S)
        self._mark = uuid.uuid4().hex
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._commands: deque[_Command] = deque()
        self._lock = threading.Lock()  # over what status() reads
        self._failures: list[str] = []
        self._error: BaseException | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._guard_descriptor = -1
        self._given_up = False
        self._empty_polls = 0  # in which no left-over process was found, one after the other
        self._starts = 0
        self._step = -1  # index of the last signal sent
        self._signalled_s = 0.0
        self._next_step_s: float | None = None  # when to send the next one; None: not stopping
        self._started = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="launch-runner", daemon=True)

    def start(self) -> None:
        """Start all processes in order; returns when each has been started once."""
        self._thread.start()
        self._started.wait()
        self.wait(0)  # raises if the runner itself has failed

    def stop(self) -> None:
        """Begin to end all processes: SIGINT, SIGTERM, SIGKILL. May be called from anywhere."""
        self._command(_Command.STOP)

    def interrupt(self) -> None:
        """As stop(); each further call sends the next signal at once. For signal handlers."""
        self._command(_Command.INTERRUPT)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all processes have ended; return whether they have.

        Raises what made the runner itself fail, if anything did.
        """
        ended = self._ended.wait(timeout_s)
        if ended and self._error is not None:
            raise RuntimeError("the launch runner failed") from self._error
        return ended

    def status(self) -> tuple[ProcessStatus, ...]:
        """Return the present state of all processes, in the order of the launch file."""
        with self._lock:
            return tuple(
                ProcessStatus(
                    m.spec, m.popen.pid if m.popen is not None else None, m.exit_code, m.starts
                )
                for m in self._managed
            )

    def failures(self) -> tuple[str, ...]:
        """Return what went wrong so far: processes that died without being told to."""
        with self._lock:
            return tuple(self._failures)

    def _command(self, command: _Command) -> None:
        self._commands.append(command)
        # If it is full, the thread wakes up anyway; if it is closed, all has ended.
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    def _run(self) -> None:
        try:
            self._start_guard()
            self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._on_wake)
            for managed in self._managed:
                self._handle_commands()
                if self._next_step_s is None:
                    self._start(managed)
            self._started.set()
            while not self._finished():
                for key, _ in self._selector.select(self._timeout_s()):
                    key.data()
                self._handle_commands()
                self._handle_timers()
        except BaseException as error:  # noqa: BLE001
            # Raised again by wait(); whatever it is, no process may be left behind.
            self._error = error
            guard.end_marked(self._mark)
        finally:
            self._close()
            self._started.set()
            self._ended.set()

    def _finished(self) -> bool:
        if any(m.popen is not None or m.respawn_at_s is not None for m in self._managed):
            return self._given_up
        self._begin_stop()  # nothing more to start; what is left over has to go
        # Twice, because a process in the middle of exec shows no environment.
        found = guard.signal_marked(self._mark, 0)
        self._empty_polls = 0 if found else self._empty_polls + 1
        return self._given_up or self._empty_polls == 2

    def _timeout_s(self) -> float | None:
        times_s = [m.respawn_at_s for m in self._managed if m.respawn_at_s is not None]
        if self._next_step_s is not None:
            times_s.append(self._next_step_s)
            if all(m.popen is None for m in self._managed):
                return _POLL_S
        return max(0.0, min(times_s) - time.monotonic()) if times_s else None

    def _on_wake(self) -> None:
        self._wake_receiver.recv(4096)

    def _handle_commands(self) -> None:
        while self._commands:
            command = self._commands.popleft()
            if self._next_step_s is None:
                self._begin_stop()
                self._send_next_signal()
            elif (
                command is _Command.INTERRUPT
                and self._step + 1 < len(_STEPS)
                and time.monotonic() - self._signalled_s >= _SAME_INTERRUPT_S
            ):
                self._send_next_signal()

    def _handle_timers(self) -> None:
        now_s = time.monotonic()
        if self._next_step_s is not None and now_s >= self._next_step_s:
            self._send_next_signal()
        for managed in self._managed:
            if managed.respawn_at_s is not None and now_s >= managed.respawn_at_s:
                managed.respawn_at_s = None
                self._start(managed)

    def _begin_stop(self) -> None:
        if self._next_step_s is None:
            self._next_step_s = time.monotonic()
            for managed in self._managed:
                managed.respawn_at_s = None

    def _send_next_signal(self) -> None:
        """Signal all process groups, the last started first, and what has left its group."""
        running = [m for m in self._managed if m.popen is not None]
        if self._step + 1 == len(_STEPS):
            self._given_up = True
            for managed in running:
                self._fail(f"[ERROR] [{managed.spec.label}]: process cannot be killed")
            return
        self._step += 1
        number = _STEPS[self._step]
        self._signalled_s = time.monotonic()
        self._next_step_s = self._signalled_s + self._patience_s[self._step]
        for managed in sorted(running, key=lambda m: m.order, reverse=True):
            label = managed.spec.label
            if number == signal.SIGKILL:
                self._fail(f"[ERROR] [{label}]: did not end on SIGINT and SIGTERM, killing it")
            else:
                self._put(f"[INFO] [{label}]: sending signal '{number.name}'")
            os.killpg(_pid(managed), number)  # not reaped yet, so the id is still its own
        groups = {_pid(managed) for managed in running}
        left_over = guard.signal_marked(self._mark, number, lambda group: group not in groups)
        if left_over:
            self._put(
                f"[INFO] [launch]: sending signal '{number.name}' to {len(left_over)}"
                " processes that others have left behind"
            )

    def _start(self, managed: _Managed) -> None:
        spec = managed.spec
        try:
            popen = subprocess.Popen(
                spec.command,
                cwd=spec.working_directory,
                env={**spec.environment, guard.VARIABLE: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._fail(f"[ERROR] [{spec.label}]: cannot start {shlex.join(spec.command)}: {error}")
            return
        self._starts += 1
        with self._lock:
            managed.popen = popen
            managed.starts += 1
            managed.order = self._starts
        self._put(f"[INFO] [{spec.label}]: process started with pid [{popen.pid}]")
        for stream in (popen.stdout, popen.stderr):
            if stream is None:
                raise RuntimeError("the output of a process was not piped")
            os.set_blocking(stream.fileno(), False)
            pipe = _Pipe(spec.label, stream)
            managed.pipes.append(pipe)
            self._selector.register(stream, selectors.EVENT_READ, partial(self._read, pipe))
        descriptor = os.pidfd_open(popen.pid)
        on_exit = partial(self._on_exit, managed, descriptor)
        self._selector.register(descriptor, selectors.EVENT_READ, on_exit)

    def _on_exit(self, managed: _Managed, descriptor: int) -> None:
        spec, popen = managed.spec, managed.popen
        if popen is None:
            raise RuntimeError(f"the end of {spec.label} was announced twice")
        self._selector.unregister(descriptor)
        os.close(descriptor)
        for pipe in managed.pipes:
            self._drain(pipe)
        managed.pipes.clear()
        stopping = self._next_step_s is not None
        if not stopping:
            # While it stops, what it started is given the same time as everything else.
            group = popen.pid
            orphans = guard.signal_marked(self._mark, signal.SIGKILL, lambda g: g == group)
            if orphans:
                self._put(f"[WARNING] [{spec.label}]: killed {len(orphans)} left-over processes")
        exit_code = popen.wait()
        with self._lock:
            managed.popen = None
            managed.exit_code = exit_code
        ending = f"[pid {popen.pid}, {_describe(exit_code)}, cmd '{shlex.join(spec.command)}']"
        if exit_code == 0:
            self._put(f"[INFO] [{spec.label}]: process has finished cleanly [pid {popen.pid}]")
        elif stopping:
            self._put(f"[INFO] [{spec.label}]: process has ended {ending}")
        elif spec.respawn and not spec.shutdown_on_exit:
            self._put(f"[ERROR] [{spec.label}]: process has died {ending}")
        else:
            self._fail(f"[ERROR] [{spec.label}]: process has died {ending}")
        if stopping:
            return
        if spec.shutdown_on_exit:
            self._put(f"[INFO] [launch]: shutting down, because {spec.label} has ended")
            self._begin_stop()
        elif spec.respawn:
            managed.respawn_at_s = time.monotonic() + spec.respawn_delay_s

    def _read(self, pipe: _Pipe) -> bool:
        """Forward what is there; return whether there may be more.

        The end of the process, announced in the same turn of the loop, may have drained and closed
        the pipe already.
        """
        if pipe.stream.closed:
            return False
        try:
            data = os.read(pipe.stream.fileno(), _READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe(pipe)
            return False
        *lines, rest = (pipe.rest + data).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            lines.append(rest)
            rest = b""
        pipe.rest = rest
        for line in lines:
            self._forward(pipe, line)
        return True

    def _drain(self, pipe: _Pipe) -> None:
        # Not without end: a descendant may hold the pipe and go on writing.
        for _ in range(_PIPE_SIZE // _READ_SIZE):
            if not self._read(pipe):
                return

    def _close_pipe(self, pipe: _Pipe) -> None:
        self._selector.unregister(pipe.stream)
        pipe.stream.close()
        if pipe.rest:
            self._forward(pipe, pipe.rest)

    def _forward(self, pipe: _Pipe, line: bytes) -> None:
        for start in range(0, max(len(line), 1), _LINE_LIMIT):
            piece = line[start : start + _LINE_LIMIT].decode(errors="replace")
            self._put(f"[{pipe.label}] {piece}")

    def _fail(self, message: str) -> None:
        self._put(message)
        with self._lock:
            self._failures.append(message)

    def _start_guard(self) -> None:
        # Without the mark of a launch around this one: its guard must not end ours.
        environment = {k: v for k, v in os.environ.items() if k != guard.VARIABLE}
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), self._mark],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._guard_descriptor = os.pidfd_open(self._guard.pid)
        self._selector.register(self._guard_descriptor, selectors.EVENT_READ, self._on_guard_exit)

    def _on_guard_exit(self) -> None:
        """Whoever killed it: the next one knows as much as it did, for it keeps no state."""
        exit_code = self._end_guard()
        if exit_code >= 0:
            raise RuntimeError(f"the launcher's guard failed with exit code {exit_code}")
        self._start_guard()
        self._put("[WARNING] [launch]: the launcher's guard was killed; another one watches now")

    def _end_guard(self) -> int:
        if self._guard is None:
            return 0
        self._selector.unregister(self._guard_descriptor)
        os.close(self._guard_descriptor)
        self._guard.kill()
        return self._guard.wait()

    def _close(self) -> None:
        self._end_guard()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, partial) and key.data.func == self._read:
                pipe: _Pipe = key.data.args[0]
                self._drain(pipe)
                if not pipe.stream.closed:
                    self._close_pipe(pipe)
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()


def _pid(managed: _Managed) -> int:
    if managed.popen is None:
        raise RuntimeError(f"{managed.spec.label} is not running")
    return managed.popen.pid


def _describe(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"signal {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-exit_code}"
