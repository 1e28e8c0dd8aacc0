# SPDX-License-Identifier: Apache-2.0
"""Keeps an estimator's state over restarts and resumes from it. No ROS."""

from pathlib import Path

from ibms_battery.clock import NS_PER_S
from ibms_edge.estimation.estimator import Estimator
from ibms_edge.estimation.estimator_memory import (
    Absence,
    ForeignMemoryError,
    Memory,
    Moment,
    Owner,
    absence,
    decode,
    encode,
)
from ibms_edge.estimation.kept_file import KeptFile

PERIOD_S = 60.0


class EstimateKeeper:
    """One file with the state of one estimator.

    Args:
        path: of the file.
        owner: of the state.
        capacity_c: of the pack [C].
    """

    def __init__(self, path: Path, owner: Owner, capacity_c: float) -> None:
        self._file = KeptFile(path)
        self.owner = owner
        self._capacity_c = capacity_c
        self._ignored = ""
        self._memory: Memory | None = None
        self._next_ns = 0
        self.told = ""  # what was resumed

    @property
    def problem(self) -> str:
        """What went wrong, one sentence; empty if nothing did."""
        return self._file.problem or self._ignored

    def start(self) -> None:
        """Read what was kept and begin to keep."""
        data = self._file.read()
        self._ignored = self._file.problem  # told on, though the next write succeeds
        if data is not None:
            try:
                self._memory = decode(data, self.owner)
            except ForeignMemoryError as error:
                self._ignored = f"{self._file.path}: {error}; it is ignored"
        self._file.start()

    def stop(self) -> None:
        """Write what is still to be written, and end."""
        self._file.stop()

    def resume(self, estimator: Estimator, now: Moment) -> Moment | None:
        """Restore what was kept, at the first scan.

        Returns:
            The kept scan where steps go on from it, as scans between were merely missing.
        """
        memory, self._memory = self._memory, None
        if memory is None:
            return None
        found = absence(memory.moment, now, self._capacity_c)
        try:
            estimator.restore(memory.states, 0.0 if found.is_gap else found.away_s)
        except ValueError as error:
            self._ignored = f"{self._file.path}: {error}; it is ignored"
            return None
        self.told = _in_words(found)
        return memory.moment if found.is_gap else None

    def keep_sometimes(self, estimator: Estimator, now: Moment) -> None:
        """Keep the state once per minute; call it with each scan."""
        if now.boot_ns >= self._next_ns:
            self._next_ns = now.boot_ns + round(PERIOD_S * NS_PER_S)
            self.keep(estimator, now)

    def keep(self, estimator: Estimator, now: Moment) -> None:
        """Have the state written soon."""
        memory = Memory(self.owner, now, estimator.snapshot())
        self._file.keep(lambda: encode(memory))


def _in_words(found: Absence) -> str:
    if found.is_gap:
        return f"went on after {found.away_s:.1f} s without scans"
    if found.away_s == found.away_s:
        return f"went on after a rest of {found.away_s / 3600.0:.2f} h"
    return "went on after an unknown time; the charge is taken from the first voltages"
