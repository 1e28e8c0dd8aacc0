# SPDX-License-Identifier: Apache-2.0
"""Threads with a name that the operating system shows, and their scheduling."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LONGEST_NAME = 15


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread; the kernel shows the first 15 characters of ``name``."""

    def run() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name[:_LONGEST_NAME].encode())
        target()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread ends that started it.

    Args:
        parent: process that started it, which may have ended meanwhile.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def request_real_time(priority: int, policy: int = os.SCHED_FIFO) -> str:
    """Ask for real-time scheduling of all threads of this process, present and future.

    Without it a burst of work elsewhere (a newcomer's discovery, a start of another process) can
    hold a time-critical loop up for longer than its limits.

    Returns:
        An empty text, or why the system refuses and how to permit it: a warning, no failure.
    """
    parameter = os.sched_param(priority)
    try:
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # a thread may end meanwhile
                os.sched_setscheduler(int(task.name), policy, parameter)
    except PermissionError:
        return (
            f"the system does not permit real-time priority {priority}, so timing depends on other "
            f"load; permit it by 'rtprio {priority}' for this user in /etc/security/limits.conf"
        )
    return ""
