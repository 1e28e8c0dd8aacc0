# SPDX-License-Identifier: Apache-2.0
"""Stops one thread of another process while its others go on, as a hung loop or callback would.

It is a process of its own, because the kernel ties a traced thread to the thread that traces it:
    python -m ibms_tools.bench.thread_freezer PID THREAD_NAME
It prints ``frozen SECONDS`` (wall time just before) and holds the thread until its standard input
ends.
"""

import ctypes
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17

_FORBIDDEN = os.strerror(errno.EPERM)


def thread_names(pid: int) -> dict[str, int]:
    """Kernel names of a process's threads and their identifiers; the main thread is ``main``.

    Threads that share a name are ``NAME#1``, ``NAME#2``, in the order of their start.
    """
    tasks: dict[str, list[int]] = {}
    for identifier in sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()):
        name = Path(f"/proc/{pid}/task/{identifier}/comm").read_text().strip()
        tasks.setdefault("main" if identifier == pid else name, []).append(identifier)
    names: dict[str, int] = {}
    for name, identifiers in tasks.items():
        if len(identifiers) == 1:
            names[name] = identifiers[0]
        else:
            names |= {f"{name}#{number}": task for number, task in enumerate(identifiers, 1)}
    return names


@contextmanager
def hung(pid: int, thread: str) -> Iterator[float]:
    """One thread of a process stopped; gives the wall time just before [s].

    Raises:
        PermissionError: if the kernel does not permit tracing.
        LookupError: if the process has no such thread.
    """
    freezer = subprocess.Popen(
        [sys.executable, "-m", __name__, str(pid), thread],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert freezer.stdout is not None
        line = freezer.stdout.readline()
        word, _, at = line.partition(" ")
        if word != "frozen":
            problem = f"thread {thread!r} of process {pid} could not be stopped: {line.strip()}"
            raise PermissionError(problem) if _FORBIDDEN in line else LookupError(problem)
        yield float(at)
    finally:
        freezer.communicate(timeout=5.0)


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
