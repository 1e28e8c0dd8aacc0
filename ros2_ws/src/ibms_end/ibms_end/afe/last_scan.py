# SPDX-License-Identifier: Apache-2.0
"""The last scan counter on disk, so that a restart knows what it missed. No ROS."""

from pathlib import Path


class LastScan:
    """A file with one counter. Trouble with it only costs history: it is shown, not raised."""

    def __init__(self, path: Path) -> None:
        self.problem = ""
        self._path = path

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

    def keep(self, counter: int) -> None:
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
