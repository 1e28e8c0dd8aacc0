# SPDX-License-Identifier: Apache-2.0
"""Checks of the machine that must work before any set-up; ibms_tools.doctor checks the rest."""

import errno
import os
import platform
import resource
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from frontdoor import installer, system_packages, tools, world
from frontdoor.environment import runtime_environment
from frontdoor.errors import FrontDoorError
from frontdoor.paths import PYTHON, ROOT, STAMP
from frontdoor.stamp import read
from frontdoor.world import World

_ENVIRONMENT_BYTES = 3_000_000_000
_CAP_IPC_LOCK = 14
_PRIORITY = 50
_LIMITS = "/etc/security/limits.d/ibms.conf, then log in again"
_CAN_DEVICE_TYPE = "280"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: how it is, and how to mend it where it is not good."""

    level: str
    topic: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line as printed."""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level:<5}{self.topic:<12}{self.text}{remedy}"


def run(arguments: Sequence[str]) -> int:
    """Print one line per check; returns 1 if one failed."""
    try:
        here: World | None = world.detect(os.environ)
        findings = [Finding("OK", "ros 2", here.name if here else "")]
    except FrontDoorError as error:
        here = None
        findings = [Finding("FAIL", "ros 2", str(error))]
    findings += [check() for check in _MACHINE_CHECKS]
    if here is not None:
        findings += [*check_system_packages(here), check_set_up(here)]
    for finding in findings:
        print(finding, flush=True)
    has_failed = any(finding.level == "FAIL" for finding in findings)
    stamp = read(STAMP)
    if here is None or stamp is None or not installer.is_done(here) or not tools.exists("doctor"):
        return int(has_failed)
    environment = runtime_environment(here, os.environ, stamp.prepend)
    command = [str(PYTHON), "-m", "ibms_tools.doctor", *arguments]
    return subprocess.run(command, env=environment).returncode or int(has_failed)


def check_python() -> Finding:
    """Name the interpreter; an unsuitable one was refused before."""
    return Finding("OK", "python", f"{platform.python_version()} on {platform.machine()}")


def check_system_packages(here: World) -> list[Finding]:
    """Look for compiler, headers and the venv module."""
    missing = system_packages.find_missing(here.python)
    if not missing:
        return [Finding("OK", "packages", "compiler, Python headers and venv module are there")]
    has_apt = shutil.which("apt-get") is not None
    return [Finding("FAIL", "packages", system_packages.sentence(missing, has_apt=has_apt))]


def check_set_up(here: World) -> Finding:
    """Compare the stamp with what is there now."""
    if installer.is_done(here):
        return Finding("OK", "set-up", "done and up to date")
    return Finding("WARN", "set-up", "not done, or something changed since", "./ibms setup")


def check_disk() -> Finding:
    """Compare the free space with what a fresh environment takes."""
    free = shutil.disk_usage(ROOT).free
    text = f"{free / 1e9:.1f} GB free below {ROOT}"
    if free > _ENVIRONMENT_BYTES or STAMP.exists():
        return Finding("OK", "disk", text)
    return Finding("FAIL", "disk", text, f"set-up needs {_ENVIRONMENT_BYTES / 1e9:.0f} GB")


def check_can() -> Finding:
    """Ask the kernel for a raw CAN socket, and look for interfaces."""
    family = getattr(socket, "AF_CAN", None)
    if family is None:
        return Finding("WARN", "can", "this Python was built without CAN sockets")
    try:
        socket.socket(family, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
        return Finding(
            "WARN",
            "can",
            f"the kernel gives no CAN socket ({name}); the development bus works without",
            "for a real bus: sudo modprobe can_raw",
        )
    names = can_interfaces(Path("/sys/class/net"))
    if not names:
        return Finding(
            "WARN",
            "can",
            "the kernel knows CAN, but there is no CAN interface; the development bus needs none",
            "for a real bus: sudo ip link set can0 up type can bitrate 500000",
        )
    return Finding("OK", "can", f"interfaces: {', '.join(names)}")


def can_interfaces(folder: Path) -> list[str]:
    """List the network interfaces that are CAN, virtual ones included."""
    return sorted(
        path.parent.name
        for path in folder.glob("*/type")
        if path.read_text().strip() == _CAN_DEVICE_TYPE
    )


def check_priority() -> Finding:
    """Try the real-time scheduling that the time-critical nodes ask for."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except PermissionError:
        limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        return Finding(
            "WARN",
            "priority",
            f"no real-time priority {_PRIORITY} (limit {limit}): more lateness under load",
            f"put `{_user()} - rtprio 99` into {_LIMITS}",
        )
    os.sched_setscheduler(0, policy, parameter)
    return Finding("OK", "priority", f"SCHED_FIFO {_PRIORITY} is granted")


def check_memlock() -> Finding:
    """Look whether the time-critical nodes may lock their memory, as they ask for.

    A finite limit is no help: it counts reserved memory, of which the nodes have gigabytes.
    """
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY or _has_capability(_CAP_IPC_LOCK):
        return Finding("OK", "memlock", "memory can be locked")
    return Finding(
        "WARN",
        "memlock",
        f"only {limit // 1024} KiB may be locked: paging can delay the time-critical nodes",
        f"put `{_user()} - memlock unlimited` into {_LIMITS}",
    )


def check_cpus() -> Finding:
    """Name the CPUs that the time-critical nodes can be pinned to."""
    cpus = sorted(os.sched_getaffinity(0))
    text = f"{len(cpus)} may be used: {','.join(str(cpu) for cpu in cpus)}"
    if len(cpus) > 1:
        return Finding("OK", "cpus", text)
    return Finding("WARN", "cpus", text, "give the edge two or more: one is late under load")


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _user() -> str:
    return os.environ.get("USER", "YOUR_NAME")


_MACHINE_CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_disk,
    check_can,
    check_cpus,
    check_priority,
    check_memlock,
)
