# SPDX-License-Identifier: Apache-2.0
"""The one error that every refusal of a launch file ends in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Location:
    """A place in a launch file; lines count from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class LaunchError(Exception):
    """A launch file or a request that is refused; nothing has been started.

    `location` is None where the fault lies outside of any launch file, as in a malformed
    command line.
    """

    def __init__(self, message: str, location: Location | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self._included_from: list[Location] = []

    def add_include(self, location: Location) -> None:
        """Note that the faulty file was included at `location` (innermost first)."""
        self._included_from.append(location)

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location is not None else ""
        chain = "".join(f" (included from {location})" for location in self._included_from)
        return f"{place}{self.message}{chain}"
