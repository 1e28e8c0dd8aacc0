# SPDX-License-Identifier: Apache-2.0
"""Runs one slow command and shows that it moves."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from frontdoor.errors import FrontDoorError

_TAIL_LINES = 40
_TICK_S = 0.5
_PLAIN_PERIOD_S = 10.0


class Progress:
    """Prints one line per step, rewritten in a terminal and repeated every 10 s elsewhere."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._is_terminal = sys.stdout.isatty()
        self._last_plain_s = 0.0

    def show(self, text: str, *, is_final: bool = False, is_first: bool = False) -> None:
        """Show where the set-up is; a final or first line always appears."""
        elapsed_s = time.monotonic() - self._start_s
        line = f"[{elapsed_s:5.1f} s] {text}"
        if self._is_terminal:
            width = os.get_terminal_size().columns or 80
            print(f"\r\033[K{line[: width - 1]}", end="\n" if is_final else "", flush=True)
        elif is_final or is_first or elapsed_s - self._last_plain_s >= _PLAIN_PERIOD_S:
            print(line, flush=True)
            self._last_plain_s = elapsed_s

    def run(
        self,
        title: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        directory: Path,
        describe: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """Run a command; `describe` turns an output line into a progress text, or None.

        Raises FrontDoorError with the last lines of output if the command fails.
        """
        lines: list[str] = []
        self.show(title, is_first=True)
        # Interrupted while it starts the command, Popen would leave it behind: hold Ctrl-C back.
        interruptions: list[int] = []
        usual = signal.signal(signal.SIGINT, lambda number, _: interruptions.append(number))
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError:
            signal.signal(signal.SIGINT, usual)
            raise
        with process:
            try:
                signal.signal(signal.SIGINT, usual)
                if interruptions:
                    signal.raise_signal(signal.SIGINT)
                self._follow(title, process, lines, describe)
            except BaseException:
                # Ctrl-C reaches only this process: end the command with all that it started.
                os.killpg(process.pid, signal.SIGTERM)
                raise
        if process.returncode != 0:
            self.show(f"{title}: failed", is_final=True)
            tail = "\n".join(lines[-_TAIL_LINES:])
            raise FrontDoorError(
                f"{tail}\n\n{title} failed: `{' '.join(map(str, command[:6]))} ...` ended with "
                f"{process.returncode}; its last lines stand above."
            )
        self.show(f"{title}: done", is_final=True)

    def _follow(
        self,
        title: str,
        process: subprocess.Popen[bytes],
        lines: list[str],
        describe: Callable[[str], str | None],
    ) -> None:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        text = title
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                if selector.select(_TICK_S):
                    data = os.read(descriptor, 65536)
                    if not data:
                        return
                    *complete, rest = (rest + data).split(b"\n")
                    for line in complete:
                        lines.append(line.decode(errors="replace").rstrip())
                        if detail := describe(lines[-1]):
                            text = f"{title}: {detail}"
                self.show(text)
