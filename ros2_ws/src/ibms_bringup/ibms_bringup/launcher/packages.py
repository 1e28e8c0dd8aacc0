# SPDX-License-Identifier: Apache-2.0
"""Finds ROS packages through the ament resource index.

`ament_index_python` looks only at the environment of its own process; a launch file may change
the environment, and a launch can be given another one, so the look-up takes it as an argument.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


class PackageError(LookupError):
    """A package or an executable in it is missing."""


def find_prefix(package: str, environment: Mapping[str, str]) -> Path:
    """Return the install prefix of `package`: the first in AMENT_PREFIX_PATH that registers it."""
    prefixes = [p for p in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in prefixes:
        if package and Path(prefix, "share/ament_index/resource_index/packages", package).exists():
            return Path(prefix)
    searched = ", ".join(prefixes) or "nothing, because AMENT_PREFIX_PATH is not set"
    raise PackageError(f"package '{package}' not found; searched: {searched}")


def find_share(package: str, environment: Mapping[str, str]) -> Path:
    """Return the share directory of `package`."""
    share = find_prefix(package, environment) / "share" / package
    if not share.is_dir():
        raise PackageError(f"package '{package}' has no share directory {share}")
    return share


def find_executable(package: str, executable: str, environment: Mapping[str, str]) -> Path:
    """Return the program that `ros2 run PACKAGE EXECUTABLE` would run."""
    directory = find_prefix(package, environment) / "lib" / package
    found = shutil.which(executable, path=str(directory))
    if found is None:
        programs = sorted(p.name for p in directory.glob("*") if os.access(p, os.X_OK))
        raise PackageError(
            f"executable '{executable}' not found in {directory}; it has:"
            f" {', '.join(programs) or 'none'}"
        )
    return Path(found)
