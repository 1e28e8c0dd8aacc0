# SPDX-License-Identifier: Apache-2.0
"""Replaces the build machine's Python paths that the ROS 2 wheels carry in their CMake files."""

import re
from pathlib import Path

from frontdoor.errors import FrontDoorError

_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
_SITE_PACKAGES = re.compile(r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages")
_STALE = "/opt/python/"


def repair_text(text: str, include: str, site_packages: str) -> str:
    """Point stale paths to this interpreter's headers and packages."""
    return _SITE_PACKAGES.sub(site_packages, _INCLUDE.sub(include, text))


def repair_cmake_files(prefix: Path, include: str, site_packages: str) -> int:
    """Repair all CMake files below prefix/share; returns how many were changed.

    Raises FrontDoorError if a stale path of another shape is left: building would fail later
    with a message that nobody understands.
    """
    changed = 0
    for path in sorted((prefix / "share").rglob("*.cmake")):
        text = path.read_text()
        if _STALE not in text:
            continue
        repaired = repair_text(text, include, site_packages)
        if _STALE in repaired:
            left = next(line for line in repaired.splitlines() if _STALE in line)
            raise FrontDoorError(f"{path}: unknown path of the wheel's build machine: {left}")
        path.write_text(repaired)
        changed += 1
    return changed
