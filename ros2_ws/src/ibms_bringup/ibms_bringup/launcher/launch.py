# SPDX-License-Identifier: Apache-2.0
"""Runs a launch file from Python."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from .evaluate import evaluate
from .output import Output, OutputWriter
from .runner import ProcessStatus, Runner

_FLUSH_S = 2.0


class Launch:
    """The processes of one launch file, started together and ended together.

    ::

        with Launch(Path("ibms.launch.xml"), {"pack": "ev_96s"}, output=Path("log")) as launch:
            os.kill(launch.pid_of("protection"), signal.SIGKILL)

    Creating it evaluates the file and refuses what is wrong with it; entering the context starts
    the processes; leaving it ends them. It can be used once.
    """

    def __init__(
        self,
        file: Path,
        arguments: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        output: Output = None,
        sigterm_timeout_s: float = 5.0,
        sigkill_timeout_s: float = 5.0,
    ) -> None:
        """Evaluate `file`.

        arguments: values of the file's <arg>s.
        environment: what the processes inherit, and where packages are found; default: this
            process's own.
        output: where the lines `[label] text` go: a function that is called with each of them (in
            a thread of its own), a file that is written anew, or None for standard output.
        sigterm_timeout_s, sigkill_timeout_s: how long SIGINT, and then SIGTERM, may take.

        Raises LaunchError; nothing has been started then.
        """
        name = f"ibms_launch_{uuid.uuid4().hex}"
        self._directory = Path(tempfile.gettempdir(), name)
        self.plan = evaluate(
            file,
            arguments if arguments is not None else {},
            environment if environment is not None else os.environ,
            self._directory,
        )
        self._output = output
        self._writer: OutputWriter | None = None
        self._output_failure: str | None = None
        self._runner = Runner(self.plan.processes, self._put, sigterm_timeout_s, sigkill_timeout_s)

    def __enter__(self) -> Launch:
        self._writer = OutputWriter(self._output)
        try:
            files = [file for spec in self.plan.processes for file in spec.files]
            if files:
                self._directory.mkdir(mode=0o700)
            for file in files:
                file.path.write_text(file.text, encoding="utf-8")
            for message in self.plan.messages:
                self._put(message)
            self._runner.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def processes(self) -> tuple[ProcessStatus, ...]:
        """State of all processes, in the order of the launch file."""
        return self._runner.status()

    @property
    def failures(self) -> tuple[str, ...]:
        """What went wrong: processes that died or had to be killed."""
        return self._runner.failures()

    @property
    def output_failure(self) -> str | None:
        """After the end: how much output was lost and why; None if it was delivered in full."""
        return self._output_failure

    def pid_of(self, name: str) -> int:
        """Return the process id of a node or executable that is running.

        name: the node's name, with or without its namespace, or the label in the output, with
            or without its number.

        Raises LookupError if no process, more than one, or one that is not running has that name.
        """
        found = [s for s in self.processes if name in _names(s)]
        if len(found) != 1:
            known = ", ".join(s.spec.label for s in found or self.processes)
            raise LookupError(f"{len(found)} processes are called '{name}': {known}")
        if found[0].pid is None:
            raise LookupError(f"'{name}' is not running")
        return found[0].pid

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all processes have ended; return whether they have."""
        return self._runner.wait(timeout_s)

    def interrupt(self) -> None:
        """Begin to end all processes, as Ctrl-C does; the next call sends the next signal.

        May be called from a signal handler.
        """
        self._runner.interrupt()

    def stop(self) -> None:
        """End all processes (SIGINT, then SIGTERM, then SIGKILL) and wait until they have ended."""
        if self._writer is None:
            return
        try:
            self._runner.stop()
            self._runner.wait()
        finally:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._output_failure = self._writer.close(_FLUSH_S)
            self._writer = None
        if self._directory.exists():
            shutil.rmtree(self._directory)

    def _put(self, line: str) -> None:
        if self._writer is not None:
            self._writer.put(line)


def _names(status: ProcessStatus) -> set[str]:
    names = {status.spec.label, status.spec.label.rpartition("-")[0]}
    if status.spec.node_name is not None:
        names |= {status.spec.node_name, status.spec.node_name.rpartition("/")[2]}
    return names
