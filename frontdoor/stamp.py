# SPDX-License-Identifier: Apache-2.0
"""Decides whether set-up must run: hashes of its inputs, held against those of the last set-up."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_DEFINITIONS = {"package.xml", "setup.py", "setup.cfg", "CMakeLists.txt"}
_INTERFACES = {".msg", ".srv", ".action"}
_SKIPPED = {"test", "__pycache__"}


@dataclass(frozen=True)
class Stamp:
    """What the last set-up was made from, and the environment that it left.

    `dependencies` hashes world, place and lock; `workspace` hashes what colcon builds from.
    `prepend` holds, per variable, the paths that the built workspace puts in front.
    """

    dependencies: str
    workspace: str
    packages: list[str]
    prepend: dict[str, list[str]]


def read(path: Path) -> Stamp | None:
    """Return the last stamp, or None if there is none or it is of another shape."""
    try:
        return Stamp(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write(path: Path, stamp: Stamp) -> None:
    """Write the stamp in one step, so that an interrupted set-up leaves none."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(stamp), indent=1))
    temporary.replace(path)


def dependencies_hash(world: str, root: Path, files: list[Path]) -> str:
    """Hash the world, the checkout's place (virtual environments do not move) and the locks."""
    digest = hashlib.sha256(f"{world}\0{root}".encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def workspace_hash(sources: Path, installed: Mapping[str, Path]) -> str:
    """Hash what makes a build necessary.

    Python modules are linked into the build, so changing or adding one needs none. Contents
    count for build definitions and interfaces; for every other file below `sources`, and below
    the `installed` folders that packages install from outside, only its name counts.
    """
    digest = hashlib.sha256()
    for name, folder in {"src": sources, **installed}.items():
        for path in _files(folder):
            digest.update(f"{name}/{path.relative_to(folder)}\0".encode())
            if path.name in _DEFINITIONS or path.suffix in _INTERFACES:
                digest.update(path.read_bytes())
    return digest.hexdigest()


def package_names(sources: Path) -> list[str]:
    """List the workspace's packages by folder name."""
    return sorted(path.parent.name for path in sources.glob("*/package.xml"))


def _files(folder: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(folder):
        names[:] = sorted(
            name
            for name in names
            if name not in _SKIPPED and not name.startswith(".") and not name.endswith(".egg-info")
        )
        for name in sorted(files):
            if name == "setup.py" or not name.endswith((".py", ".pyc")):
                yield Path(parent, name)
