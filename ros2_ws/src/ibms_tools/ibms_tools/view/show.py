# SPDX-License-Identifier: Apache-2.0
"""Shows pictures: as a live screen on a terminal, else as plain lines."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live

from ibms_tools.view.line import event_line, status_line
from ibms_tools.view.picture import Picture
from ibms_tools.view.screen import render

_LINE_PERIOD_S = 5.0


class Show:
    """Between entering and leaving, a terminal shows the screen and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._next_line_s = 0.0
        self._events_told = 0

    def __enter__(self) -> "Show":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def update(self, picture: Picture) -> None:
        """Show what is known now."""
        if self._console.is_terminal:
            self._live.update(render(picture, self._console), refresh=True)
            return
        for event in picture.events[self._events_told :]:
            print(f"    {event_line(event)}", flush=True)
        self._events_told = len(picture.events)
        if time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LINE_PERIOD_S
            print(status_line(picture), flush=True)
