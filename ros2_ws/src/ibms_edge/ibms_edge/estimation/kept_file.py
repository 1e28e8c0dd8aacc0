# SPDX-License-Identifier: Apache-2.0
"""A small file that outlives restarts: whole at every moment, and known to be so. No ROS."""

import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

from ibms_battery.threads import start_thread

_MAGIC = b"IBMSKEPT"
_CHECKSUM_BYTES = 4
_LAST_WRITE_S = 2.0
_LARGEST_BYTES = 64 * 1024 * 1024


class KeptFile:
    """One file, replaced as a whole by a thread of its own: nothing waits for a slow disk.

    Trouble with it ends nothing: it is shown as ``problem``.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self.writes = 0
        self._newest: Callable[[], bytes] | None = None
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> bytes | None:
        """What was kept last; ``None`` without a file or, with a ``problem``, a usable one."""
        try:
            with self.path.open("rb") as file:
                data = file.read(_LARGEST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problem = f"{self.path}: cannot be read: {error}"
            return None
        begin = len(_MAGIC) + _CHECKSUM_BYTES
        if data[: len(_MAGIC)] != _MAGIC:
            self.problem = f"{self.path}: is no file of this program; it is ignored"
            return None
        body = data[begin:]
        if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != data[len(_MAGIC) : begin]:
            self.problem = f"{self.path}: is damaged (checksum); it is ignored"
            return None
        return body

    def start(self) -> None:
        """Begin to write what is kept."""
        self._stop.clear()
        self._thread = start_thread("kept_file", self._run)

    def stop(self) -> None:
        """Write what was kept last, and end; without effect if that is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            self._changed.set()
            thread.join(_LAST_WRITE_S)

    def keep(self, encode: Callable[[], bytes]) -> None:
        """Have what ``encode`` returns written soon; it is called in the writer's thread."""
        self._newest = encode
        self._changed.set()

    def _run(self) -> None:
        written = None
        while True:
            self._changed.wait()
            self._changed.clear()
            is_last, newest = self._stop.is_set(), self._newest
            if newest is not None and newest is not written:
                self._write(newest())
                written = newest
            if is_last:
                return

    def _write(self, body: bytes) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(_MAGIC + zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") + body)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the new name as well
            finally:
                os.close(folder)
        except OSError as error:
            self.problem = f"{self.path}: cannot be written: {error}"
        else:
            self.problem = ""
            self.writes += 1
