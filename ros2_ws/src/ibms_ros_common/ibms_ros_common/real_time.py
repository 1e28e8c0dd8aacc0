# SPDX-License-Identifier: Apache-2.0
"""What a time-critical process asks of the system, as parameters of its nodes. No ROS.

Each request may be refused: that is a sentence for people, never a failure. Without them the chain
works, and is late more often when something else loads the computer.
"""

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ibms_battery.threads import request_real_time

_POLICIES = {"fifo": os.SCHED_FIFO, "round_robin": os.SCHED_RR}
_CAP_IPC_LOCK = 14
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_LIMITS = "/etc/security/limits.conf"


class RealTime(Struct, frozen=True, kw_only=True):
    """How a process wants to be run; the nodes of one process share one setting."""

    scheduling: Annotated[
        Literal["fifo", "round_robin", "ordinary"],
        Meta(description="scheduling of all threads of the process"),
    ] = "fifo"
    priority: Annotated[
        int, Meta(ge=1, le=98, description="real-time priority, unless scheduling is ordinary")
    ] = 40
    cpus: Annotated[
        str,
        Meta(
            pattern=r"^(\d+(-\d+)?(,\d+(-\d+)?)*)?$",
            description="CPUs that it may run on, such as 2 or 0,2-3; empty: all",
        ),
    ] = ""
    lock_memory: Annotated[bool, Meta(description="its memory is never paged out")] = True
    garbage: Annotated[
        Literal["at_rest", "automatic"],
        Meta(description="when Python's collector runs: while no input waits, or at any time"),
    ] = "at_rest"


class ProcessParameters(Struct, frozen=True, kw_only=True):
    """Parameters that every node of a time-critical process has beside its own."""

    real_time: RealTime = RealTime()


def apply(wanted: RealTime) -> list[str]:
    """Ask the system; returns what it refuses, each with the remedy."""
    refusals = []
    if wanted.cpus:
        refusals.append(_pin(parse_cpus(wanted.cpus)))
    if wanted.lock_memory:
        refusals.append(lock_memory())
    if wanted.scheduling != "ordinary":
        refusals.append(request_real_time(wanted.priority, _POLICIES[wanted.scheduling]))
    return [refusal for refusal in refusals if refusal]


def parse_cpus(text: str) -> set[int]:
    """CPU numbers of a list such as ``0,2-3``."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def may_lock_memory() -> bool:
    """Whether locking can hold: the limit counts reserved memory, so a finite one is no help.

    With it, a later allocation would fail instead of the locking.
    """
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def _pin(cpus: set[int]) -> str:
    try:
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # a thread may end meanwhile
                os.sched_setaffinity(int(task.name), cpus)
    except OSError as error:
        allowed = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
        return (
            f"the system does not permit the CPUs {sorted(cpus)} ({error.strerror}); "
            f"parameter 'real_time.cpus' may name some of {allowed}"
        )
    return ""


def lock_memory() -> str:
    """Keep all memory of this process in RAM; returns why the system refuses, or an empty text."""
    remedy = f"permit it by 'memlock unlimited' for this user in {_LIMITS}"
    if not may_lock_memory():
        return f"the system does not permit locked memory, so paging may delay it; {remedy}"
    # What is touched is locked when it is touched: stacks that are never used cost nothing.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return f"memory cannot be locked ({os.strerror(ctypes.get_errno())}); {remedy}"
    return ""
