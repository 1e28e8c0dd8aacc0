# SPDX-License-Identifier: Apache-2.0
"""How long the host let no work be done: one process per core that sleeps and looks at the clock.

They run above everything else, with their memory locked, so what holds them up holds up all. Where
the system refuses that, other work of this machine holds them up as well, and the figures say so.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ibms_battery.threads import die_with_parent, request_real_time, start_thread
from ibms_ros_common.real_time import lock_memory

_PRIORITY = 99
_SLEEP_S = 0.005
_STALL_S = 0.02  # shorter ones are not told


class Stall(NamedTuple):
    """A time in which a core did nothing for the watch."""

    core: int
    end_s: float  # monotonic
    length_s: float


class HostWatch:
    """Context: the watching processes of all cores."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self.refused = ""  # why the system does not let it run above everything else
        self._stolen_s = 0.0
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "HostWatch":
        self._stolen_s = _stolen_s()
        for core in sorted(os.sched_getaffinity(0)):
            command = [sys.executable, "-m", __name__, str(core), "--parent", str(os.getpid())]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._processes.append(process)
            assert process.stdout is not None
            self.refused = json.loads(process.stdout.readline())["refused"]
            start_thread(f"host_watch_{core}", partial(self._read, process))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def stolen_s(self) -> float:
        """Time that the hypervisor gave to others since the start, over all cores [s]."""
        return _stolen_s() - self._stolen_s

    def longest(self) -> float:
        """Longest stall [s]; 0 if there was none."""
        return max((stall.length_s for stall in list(self.stalls)), default=0.0)

    def withheld(self, since_s: float, window_s: float) -> float:
        """Most time that one core was withheld in any ``window_s`` [s].

        Args:
            since_s: monotonic time; windows that end before are left out.
            window_s: length of the window [s].
        """
        recent: dict[int, deque[Stall]] = {}  # by core, those that reach into the window
        most_s = 0.0
        for stall in sorted(self.stalls, key=lambda stall: stall.end_s):
            window = recent.setdefault(stall.core, deque())
            window.append(stall)
            begin_s = stall.end_s - window_s
            while window[0].end_s <= begin_s:
                window.popleft()
            if stall.end_s > since_s:
                inside = (each.end_s - max(begin_s, each.end_s - each.length_s) for each in window)
                most_s = max(most_s, sum(inside))
        return most_s

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.stalls.append(Stall(**json.loads(line)))


def _stolen_s() -> float:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Watch one core until the parent ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("core", type=int)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    os.sched_setaffinity(0, {options.core})
    refused = request_real_time(_PRIORITY) or lock_memory()
    print(json.dumps({"refused": refused}), flush=True)
    last_s = time.monotonic()
    while True:
        time.sleep(_SLEEP_S)
        now_s = time.monotonic()
        if now_s - last_s >= _STALL_S:
            stall = Stall(options.core, now_s, now_s - last_s)
            print(json.dumps(stall._asdict()), flush=True)
            now_s = time.monotonic()
        last_s = now_s


if __name__ == "__main__":
    main()
