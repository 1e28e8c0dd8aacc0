# SPDX-License-Identifier: Apache-2.0
"""Threads that carry their name in the operating system as well, for top, debuggers and tests."""

import ctypes
import threading
from collections.abc import Callable

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
