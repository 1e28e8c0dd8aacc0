# SPDX-License-Identifier: Apache-2.0
"""Commands that are modules of the workspace: they replace this process, in its environment."""

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from frontdoor import installer, world
from frontdoor.errors import FrontDoorError
from frontdoor.paths import PYTHON, ROOT, SOURCES

_TOOLS = SOURCES / "ibms_tools" / "ibms_tools"


def has_own_help(name: str) -> bool:
    """Tell whether the command's module can answer --help without a set-up running first."""
    return exists(name) and installer.is_done(world.detect(os.environ))


def exists(name: str) -> bool:
    """Tell whether ibms_tools has the module, for instance `demo` or `bench.graph`."""
    path = _TOOLS.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def run(name: str, arguments: Sequence[str]) -> int:
    """Replace this process by `python -m ibms_tools.NAME`; returns only by raising."""
    if not exists(name):
        raise FrontDoorError(
            f"`{name}` is not part of this checkout: "
            f"{_TOOLS.relative_to(ROOT)}/{name.replace('.', '/')}.py does not exist."
        )
    return execute(f"ibms_tools.{name}", arguments)


def run_named(kind: str, arguments: Sequence[str]) -> int:
    """Run one of several modules, `ibms_tools.KIND.NAME`, or list them when no name is given."""
    known = listed(_TOOLS / kind)
    width = max(map(len, known), default=0) + 2
    lines = "\n".join(f"  {name:<{width}}{summary}" for name, summary in known.items())
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: ./ibms {kind} NAME [--json FILE]\n\n{lines or '  (none in this checkout)'}")
        return 0 if not arguments or arguments[0] in ("-h", "--help") else 2
    name, *rest = arguments
    if name not in known:
        raise FrontDoorError(f"{kind} {name!r} does not exist; there are:\n{lines or '  none'}")
    return run(f"{kind}.{name}", rest)


def listed(folder: Path) -> dict[str, str]:
    """Return the commands in a folder with the first line of their docstring.

    A command can be started and writes figures, so it has a `__main__` part and takes `--json`;
    modules without are its helpers.
    """
    found = {}
    for path in sorted(folder.glob("[a-z]*.py")):
        text = path.read_text()
        if "__main__" in text and "--json" in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def results(arguments: Sequence[str]) -> int:
    """Write docs/results.md, or compare two files of figures."""
    return execute("ibms_battery.results", arguments or ["--write", str(ROOT)])


def execute(module: str, arguments: Sequence[str]) -> int:
    """Set up if needed, then replace this process by the module."""
    environment = installer.ensure(world.detect(os.environ), os.environ)
    sys.stdout.flush()
    os.execve(PYTHON, [str(PYTHON), "-m", module, *arguments], environment)
