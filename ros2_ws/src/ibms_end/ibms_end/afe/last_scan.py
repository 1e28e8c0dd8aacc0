# SPDX-License-Identifier: Apache-2.0
"""The last scan counter on disk, so that a restart knows what it missed. No ROS."""

import threading
from pathlib import Path

from ibms_battery.threads import start_thread

_LAST_WRITE_S = 1.0


class LastScan:
    """A file with one counter. Trouble with it only costs history: it is shown, not raised.

    It is written in a thread of its own: nothing waits for a disk that stands still.
    """

    def __init__(self, path: Path) -> None:
        self.problem = ""
        self._path = path
        self._newest: int | None = None
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Nothing to open: the file is replaced each time."""

    def start(self) -> None:
        """Begin to write what is kept."""
        self._stop.clear()
        self._thread = start_thread("last_scan", self._run)

    def stop(self) -> None:
        """Write what was kept last, and end; without effect if that is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            self._changed.set()
            thread.join(_LAST_WRITE_S)

    def keep(self, counter: int) -> None:
        """Have the counter written soon."""
        self._newest = counter
        self._changed.set()

    def read(self) -> int | None:
        """Counter kept last; ``None`` without one."""
        try:
            text = self._path.read_text().strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.problem = f"{self._path}: cannot be read: {error}"
            return None
        if not (text.isascii() and text.isdigit() and int(text) <= 0xFFFFFFFF):
            self.problem = f"{self._path}: expected a scan counter, found {text[:40]!r}"
            return None
        return int(text)

    def _run(self) -> None:
        written = None
        while True:
            self._changed.wait()
            self._changed.clear()
            is_last, newest = self._stop.is_set(), self._newest
            if newest is not None and newest != written:
                self._write(newest)
                written = newest
            if is_last:
                return

    def _write(self, counter: int) -> None:
        """Replace the file, so that it is whole at every moment."""
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(str(counter))
            fresh.replace(self._path)
        except OSError as error:
            self.problem = f"{self._path}: cannot be written: {error}"
        else:
            self.problem = ""
