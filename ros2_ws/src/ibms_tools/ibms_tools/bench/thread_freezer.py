# SPDX-License-Identifier: Apache-2.0
"""Stops one thread of another process while its others go on, as a hung loop or callback would.

It is a process of its own, because the kernel ties a traced thread to the thread that traces it:
    python -m ibms_tools.bench.thread_freezer PID THREAD_NAME
It prints ``frozen SECONDS`` (wall time just before) and holds the thread until its standard input
ends.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17


def thread_names(pid: int) -> dict[str, int]:
    """Kernel names of a process's threads and their identifiers; the main thread is ``main``."""
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        identifier = int(task.name)
        name = (task / "comm").read_text().strip()
        names["main" if identifier == pid else name] = identifier
    return names


def main() -> int:
    """Freeze until standard input ends."""
    pid, name = int(sys.argv[1]), sys.argv[2]
    names = thread_names(pid)
    if name not in names:
        print(f"no thread {name!r} in process {pid}, it has {', '.join(sorted(names))}")
        return 1
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(_PTRACE_SEIZE, names[name], None, None) != 0:
        print(f"cannot trace: {os.strerror(ctypes.get_errno())}")
        return 1
    at = time.time()
    libc.ptrace(_PTRACE_INTERRUPT, names[name], None, None)
    print(f"frozen {at!r}", flush=True)
    sys.stdin.read()
    libc.ptrace(_PTRACE_DETACH, names[name], None, None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
