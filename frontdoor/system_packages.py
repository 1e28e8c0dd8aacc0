# SPDX-License-Identifier: Apache-2.0
"""What the operating system must bring: a compiler, Python's headers, Python's venv module."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frontdoor.errors import FrontDoorError

_PROBE = """
import importlib.util, pathlib, sys, sysconfig
print(sys.version_info.minor)
print(int(importlib.util.find_spec("ensurepip") is not None))
print(int(pathlib.Path(sysconfig.get_path("include"), "Python.h").exists()))
"""


@dataclass(frozen=True)
class Missing:
    """One thing that is not there: its name for people and its Debian package."""

    what: str
    package: str


def find_missing(python: Path) -> list[Missing]:
    """List what the set-up needs and the machine lacks, for this interpreter."""
    probe = subprocess.run(
        [python, "-IS", "-c", _PROBE], check=True, capture_output=True, text=True
    ).stdout.split()
    minor, has_venv, has_headers = (int(word) for word in probe)
    missing = []
    if not has_venv:
        missing.append(Missing("Python's venv module", f"python3.{minor}-venv"))
    if not has_headers:
        missing.append(Missing("Python's C headers", f"python3.{minor}-dev"))
    if shutil.which("g++") is None or shutil.which("gcc") is None:
        missing.append(Missing("a C++ compiler", "g++"))
    return missing


def install_command(missing: Sequence[Missing]) -> list[str]:
    """Return the apt command that brings everything that is missing."""
    return [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        *(item.package for item in missing),
    ]


def sentence(missing: Sequence[Missing], *, has_apt: bool) -> str:
    """Name everything that is missing in one sentence, with the one command that installs it."""
    names = [item.what for item in missing]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    verb = "is" if len(names) == 1 else "are"
    if has_apt:
        return f"{listed} {verb} missing; install with: sudo {' '.join(install_command(missing))}"
    return f"{listed} {verb} missing; install with your system's package manager"


def ensure(python: Path) -> None:
    """Install what is missing when root, else raise FrontDoorError with the sentence."""
    missing = find_missing(python)
    if not missing:
        return
    has_apt = shutil.which("apt-get") is not None
    text = sentence(missing, has_apt=has_apt)
    if os.geteuid() != 0 or not has_apt:
        raise FrontDoorError(f"{text[0].upper()}{text[1:]}.")
    print(f"ibms: {text}; running that now, as root", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], install_command(missing)):
        result = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        if result.returncode != 0:
            raise FrontDoorError(
                f"`{' '.join(command)}` ended with {result.returncode} (its errors stand above); "
                f"mend that and start ./ibms again."
            )
    if still := find_missing(python):
        raise FrontDoorError(
            f"After the installation still missing for {python}: "
            f"{', '.join(item.what for item in still)}."
        )
