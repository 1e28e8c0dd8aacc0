# SPDX-License-Identifier: Apache-2.0
"""Finds and ends the processes of a launch by a mark in their environment.

The mark is inherited by every descendant, also by one that left its session or whose parent has
died, so nothing escapes that process groups or PR_SET_PDEATHSIG would miss: the latter does not
reach grandchildren, and fires when the starting thread ends.

Run as a program (`guard.py PID MARK`), this file waits for the launcher to end and then ends what
it left behind, so that not even `kill -9` of the launcher leaves an orphan. It uses nothing but
the standard library and is started with `-I -S`, to be small and quick.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "IBMS_LAUNCH_ID"
_QUIET_S = 0.2  # a process that was just being started shows its mark within this time
_POLL_S = 0.02


def any_group(_group: int) -> bool:
    """Choose the processes of all groups."""
    return True


def signal_marked(mark: str, number: int, in_group: Callable[[int], bool] = any_group) -> list[int]:
    """Send signal `number` (0: none) to the processes with the mark; return their ids.

    in_group: whether the processes of a process group are meant. Zombies are never found: they
    have no environment any more.
    """
    entry = f"{VARIABLE}={mark}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        pid = int(directory.name)
        try:
            # The descriptor pins the process, so that no later one with this id is hit.
            descriptor = os.pidfd_open(pid)
        except OSError:
            continue  # it has ended meanwhile
        try:
            variables = (directory / "environ").read_bytes().split(b"\0")
            if entry in variables and in_group(os.getpgid(pid)):
                if number:
                    signal.pidfd_send_signal(descriptor, number)
                found.append(pid)
        except OSError:
            continue  # ended meanwhile, or another user's
        finally:
            os.close(descriptor)
    return found


def end_marked(mark: str) -> None:
    """Kill until no process with the mark has been seen for a while."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < _QUIET_S:
        if signal_marked(mark, signal.SIGKILL):
            quiet_since = time.monotonic()
        time.sleep(_POLL_S)


def watch(launcher: int, mark: str) -> None:
    """Wait until the process `launcher`, which must be the parent, has ended; then end the rest."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        descriptor = os.pidfd_open(launcher)
    except ProcessLookupError:
        descriptor = -1
    if descriptor >= 0 and os.getppid() == launcher:
        select.select([descriptor], [], [])
    end_marked(mark)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
