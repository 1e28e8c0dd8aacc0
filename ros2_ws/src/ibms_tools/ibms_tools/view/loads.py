# SPDX-License-Identifier: Apache-2.0
"""Processor time of the processes of a launch."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from ibms_battery.clock import NS_PER_S
from ibms_bringup.launcher import ProcessStatus

_PERIOD_NS = NS_PER_S
SIMULATION = (
    "simulated_pack",
    "simulated_switch_board",
    "simulated_charger",
    "fault_injector",
)


@dataclass(frozen=True)
class Load:
    """What one process takes: ``cpu_cores`` of the last second; NaN where it does not run."""

    name: str
    cpu_cores: float
    restarts: int
    is_running: bool

    @property
    def is_simulation(self) -> bool:
        """Whether the process stands for hardware."""
        return self.name in SIMULATION


class LoadMeter:
    """Measures once a second however often it is asked."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self._next_ns = 0
        self._last_ns = 0
        self._last_s: dict[int, float] = {}

    def update(self, processes: Sequence[ProcessStatus], now_ns: int) -> list[Load]:
        """The loads of ``processes``, measured anew where that is due."""
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _PERIOD_NS
            passed_s = (now_ns - self._last_ns) / NS_PER_S
            used_s = {p.pid: cpu_time_s(p.pid) for p in processes if p.pid is not None}
            self.loads = [
                Load(
                    name=process.spec.label.rpartition("-")[0],
                    cpu_cores=(used_s[process.pid] - self._last_s[process.pid]) / passed_s
                    if process.pid in self._last_s and process.pid in used_s
                    else float("nan"),
                    restarts=max(process.starts - 1, 0),
                    is_running=process.pid is not None,
                )
                for process in processes
            ]
            self._last_ns, self._last_s = now_ns, used_s
        return self.loads


def cpu_time_s(pid: int) -> float:
    """User and system time of a process [s]; NaN if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return float("nan")
    return float(times.user + times.system)
