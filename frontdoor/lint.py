# SPDX-License-Identifier: Apache-2.0
"""Style and types over all Python of the project."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from frontdoor import installer, world
from frontdoor.errors import FrontDoorError
from frontdoor.paths import ROOT, SOURCES, VENV

HELP = "--fix  let ruff mend and format what it can first"


def run(arguments: Sequence[str]) -> int:
    """Run ruff and mypy; returns 1 if one of them complains."""
    if unknown := [argument for argument in arguments if argument != "--fix"]:
        raise FrontDoorError(f"lint: unknown argument {unknown[0]}; it knows only --fix.")
    environment = installer.ensure(world.detect(os.environ), os.environ)
    if arguments:
        for command in (["check", "--fix-only", "."], ["format", "."]):
            subprocess.run([VENV / "bin" / "ruff", *command], cwd=ROOT, env=environment)
    return 0 if check(environment) else 1


def check(environment: Mapping[str, str]) -> bool:
    """Run everything to its end, print what each says, and tell whether all was clean."""
    is_clean = True
    for name, command in _commands().items():
        start_s = time.monotonic()
        result = subprocess.run(command, cwd=ROOT, env=environment)
        verdict = "clean" if result.returncode == 0 else "NOT clean"
        print(f"{name}: {verdict} ({time.monotonic() - start_s:.1f} s)", flush=True)
        is_clean = is_clean and result.returncode == 0
    return is_clean


def _commands() -> dict[str, list[str | Path]]:
    ruff, mypy = VENV / "bin" / "ruff", VENV / "bin" / "mypy"
    commands: dict[str, list[str | Path]] = {
        "ruff check": [ruff, "check", "--quiet", "."],
        "ruff format": [ruff, "format", "--check", "--output-format=concise", "."],
    }
    for name, paths in type_check_groups(ROOT, SOURCES).items():
        commands[f"mypy {name}"] = [mypy, "--no-error-summary", *paths]
    return commands


def type_check_groups(root: Path, sources: Path) -> dict[str, list[str]]:
    """Return what mypy checks together.

    Test files mirror modules, so two packages may have equal ones; mypy knows one module of a
    name per run. So the tests of each package are a run of their own, quick by the shared cache.
    """
    candidates = [root / "frontdoor", root / "tests"]
    candidates += sorted(path.parent / path.parent.name for path in sources.glob("*/setup.py"))
    groups = {"packages": [path for path in candidates if any(path.rglob("*.py"))]}
    for folder in sorted(sources.glob("*/test")):
        if any(folder.rglob("*.py")):
            groups[str(folder.relative_to(root))] = [folder]
    return {name: [str(path.relative_to(root)) for path in paths] for name, paths in groups.items()}
