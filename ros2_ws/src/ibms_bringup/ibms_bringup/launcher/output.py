# SPDX-License-Identifier: Apache-2.0
"""Writes lines in a thread of its own, so that a slow terminal delays nobody."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Output: TypeAlias = Callable[[str], None] | Path | None

_CAPACITY = 200_000  # lines; more are waiting only if nobody takes them


class OutputWriter:
    """Passes lines on in order; what does not fit into the queue is dropped and counted.

    output: called with each line, or a file that is written anew, or None for standard output.
    """

    def __init__(self, output: Output, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._dropped = 0
        self._noticed = 0  # of the dropped lines, those that a notice tells about
        self._error: Exception | None = None
        self._descriptor: int | None = None
        self._write: Callable[[str], None] = self._write_descriptor
        if output is None:
            self._descriptor = os.dup(1)
        elif isinstance(output, Path):
            self._descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        else:
            self._write = output
        self._thread = threading.Thread(target=self._run, name="launch-output", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue a line (without line end); never blocks."""
        with self._changed:
            if len(self._lines) >= self._capacity or self._error is not None:
                self._dropped += 1
                return
            if self._dropped > self._noticed:
                count = self._dropped - self._noticed
                self._noticed = self._dropped
                self._lines.append(f"[WARNING] [launch]: {count} lines dropped: output is too slow")
            self._lines.append(line)
            self._changed.notify()

    def close(self, timeout_s: float) -> str | None:
        """Write out what is queued, for at most `timeout_s`; return what was lost, if anything."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            lost = self._dropped + len(self._lines)
            self._lines.clear()
        if self._error is not None:
            return f"{lost} lines of output lost: {self._error!r}"
        return f"{lost} lines of output lost: they were not taken in time" if lost else None

    def _run(self) -> None:
        try:
            while (line := self._next()) is not None:
                self._write(line)
        except Exception as error:  # noqa: BLE001 (the receiver is foreign code)
            # Whatever the receiver does, the processes go on; close() reports it.
            with self._changed:
                self._error = error
                self._dropped += 1  # the line that was being written
        finally:
            if self._descriptor is not None:
                os.close(self._descriptor)

    def _next(self) -> str | None:
        with self._changed:
            while not self._lines and not self._closing:
                self._changed.wait()
            return self._lines.popleft() if self._lines else None

    def _write_descriptor(self, line: str) -> None:
        # Not through sys.stdout: a thread blocked in there would block the interpreter's exit.
        if self._descriptor is None:
            raise RuntimeError("the output is not a file")
        data = f"{line}\n".encode(errors="replace")
        while data:
            data = data[os.write(self._descriptor, data) :]
