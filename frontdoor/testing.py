# SPDX-License-Identifier: Apache-2.0
"""Runs all tests in parts, each with its own DDS domain on loopback."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frontdoor import installer, lint, world
from frontdoor.environment import loopback
from frontdoor.errors import FrontDoorError
from frontdoor.paths import PYTHON, ROOT

HELP = """\
--long        also the tests marked long
-k EXPRESSION only tests whose name matches
PATH ...      only these files or folders
Anything else goes to pytest as it is. With -k or PATH, lint and types are left out."""

# Plugins that a sourced ROS 2 offers to every pytest do not fit this project's pytest.
_PLUGINS = ["-p", "xdist", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
_NOTHING_COLLECTED = 5
_LAST_DOMAIN = 101


@dataclass(frozen=True)
class Part:
    """Tests that run in one pytest: where they stand, and its further arguments."""

    name: str
    folders: tuple[str, ...]
    arguments: tuple[str, ...] = ()


PARTS = (
    Part("unit", ("ros2_ws/src/*/test", "tests/frontdoor"), ("-n", "2")),
    Part("graph and safety", ("tests/graph", "tests/can_contract")),
    Part("bags and docs", ("tests/replay", "docs"), ("--doctest-glob=*.md",)),
)


@dataclass
class Outcome:
    """How one part ended: pytest's closing line, and how many tests passed or did not."""

    name: str
    seconds: float
    is_good: bool
    summary: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ran(self) -> int:
        """Number of tests that really ran."""
        kinds = ("passed", "failed", "error", "errors", "xfailed", "xpassed")
        return sum(self.counts.get(kind, 0) for kind in kinds)


@dataclass(frozen=True)
class Selection:
    """What of the tests was asked for."""

    is_long: bool
    paths: tuple[Path, ...]
    passed_on: tuple[str, ...]

    @property
    def is_partial(self) -> bool:
        """True where less than everything was asked for."""
        return bool(self.paths) or "-k" in self.passed_on


def run(arguments: Sequence[str]) -> int:
    """Run set-up, lint and all pytest parts; returns 1 if any failed or no test ran."""
    selection = parse(arguments, Path.cwd())
    start_s = time.monotonic()
    environment = installer.ensure(world.detect(os.environ), os.environ)
    outcomes = [Outcome("setup", time.monotonic() - start_s, is_good=True)]
    if not selection.is_partial:
        _check_all_belong()
        _announce("lint and types")
        start_s = time.monotonic()
        is_clean = lint.check(environment)
        outcomes.append(Outcome("lint and types", time.monotonic() - start_s, is_clean))
    outcomes += [
        _run_part(part, paths, selection, environment)
        for part in PARTS
        if (paths := selected_paths(part, selection.paths, ROOT))
    ]
    return report(outcomes)


def parse(arguments: Sequence[str], directory: Path) -> Selection:
    """Split the command line; raises FrontDoorError for a path that does not exist."""
    paths: list[Path] = []
    passed_on: list[str] = []
    takes_value = False
    for argument in arguments:
        if argument == "--long":
            continue
        if takes_value or argument.startswith("-"):
            takes_value = not takes_value and argument in ("-k", "-n", "-p")
            passed_on += [argument]
            continue
        if not (directory / argument.partition("::")[0]).exists():
            raise FrontDoorError(f"test: {argument} does not exist.")
        paths.append(directory.resolve() / argument)
    return Selection("--long" in arguments, tuple(paths), tuple(passed_on))


def selected_paths(part: Part, wanted: Sequence[Path], root: Path) -> list[Path]:
    """Return what of a part was asked for: its existing folders, or the wanted paths in them."""
    folders = [
        folder
        for pattern in part.folders
        for folder in sorted(root.glob(pattern))
        if _has_tests(folder)
    ]
    if not wanted:
        return folders
    inside = [path for path in wanted if any(path.is_relative_to(folder) for folder in folders)]
    around = [folder for folder in folders if any(folder.is_relative_to(path) for path in wanted)]
    return list(dict.fromkeys([*inside, *around]))


def report(outcomes: Sequence[Outcome]) -> int:
    """Print the table of all parts; returns the exit code."""
    _announce("summary")
    for outcome in outcomes:
        verdict = "ok" if outcome.is_good else "FAILED"
        print(f"{outcome.name:<18}{verdict:<8}{outcome.seconds:7.1f} s  {outcome.summary}")
    print(f"{'total':<26}{sum(outcome.seconds for outcome in outcomes):7.1f} s")
    ran = sum(outcome.ran for outcome in outcomes)
    if ran == 0:
        print("ibms: no test ran", file=sys.stderr)
    return 0 if ran > 0 and all(outcome.is_good for outcome in outcomes) else 1


def read_counts(summary: str) -> dict[str, int]:
    """Read pytest's closing line.

    >>> read_counts("2 failed, 31 passed, 1 skipped in 4.20s")
    {'failed': 2, 'passed': 31, 'skipped': 1}
    """
    return {kind: int(count) for count, kind in re.findall(r"(\d+) ([a-z]+)", summary)}


def closing_line(output: str) -> str:
    """Return pytest's closing line without colours and frame, or nothing if it never came."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.strip("= ") for line in plain.splitlines() if re.search(r" in \d+\.\d+s", line)]
    return lines[-1] if lines else ""


def free_domain(used_ports: set[int], first: int) -> int:
    """Return a DDS domain, from `first` on, whose 250 ports nobody uses."""
    for offset in range(_LAST_DOMAIN):
        domain = 1 + (first + offset) % _LAST_DOMAIN
        base = 7400 + 250 * domain
        if not any(base <= port < base + 250 for port in used_ports):
            return domain
    raise FrontDoorError("All DDS domains from 1 to 101 are in use on this machine.")


def _run_part(
    part: Part, paths: Sequence[Path], selection: Selection, environment: Mapping[str, str]
) -> Outcome:
    _announce(part.name)
    command = [str(PYTHON), "-u", "-m", "pytest", *_PLUGINS, *part.arguments]
    if not selection.is_long:
        command += ["-m", "not long"]
    command += [*selection.passed_on, *map(str, paths)]
    if sys.stdout.isatty():
        command.append("--color=yes")
    domain = free_domain(_used_udp_ports(), os.getpid() + PARTS.index(part))
    start_s = time.monotonic()
    tail = b""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={
            **environment,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **loopback(environment),
            "ROS_DOMAIN_ID": str(domain),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            while data := process.stdout.read(65536):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                tail = (tail + data)[-4096:]
        except KeyboardInterrupt:
            # Once, and to pytest alone: its fixtures end the nodes that they started.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    summary = closing_line(tail.decode(errors="replace"))
    counts = read_counts(summary)
    is_good = process.returncode == 0 or (
        process.returncode == _NOTHING_COLLECTED
        and (selection.is_partial or "deselected" in counts)
    )
    return Outcome(part.name, time.monotonic() - start_s, is_good, summary, counts)


def _used_udp_ports() -> set[int]:
    ports = set()
    for name in ("udp", "udp6"):
        path = Path("/proc/net", name)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            ports.add(int(line.split()[1].rpartition(":")[2], 16))
    return ports


def _check_all_belong() -> None:
    """A folder of tests that no part names would silently never run."""
    known = {pattern for part in PARTS for pattern in part.folders}
    for path in sorted((ROOT / "tests").iterdir()):
        if path.is_dir() and _has_tests(path) and f"tests/{path.name}" not in known:
            raise FrontDoorError(f"tests/{path.name} belongs to no part of frontdoor/tests.py.")


def _has_tests(folder: Path) -> bool:
    """Tell whether there is a test module or a page with a doctest."""
    return any(folder.rglob("test_*.py")) or any(
        "\n>>> " in page.read_text() for page in folder.rglob("*.md")
    )


def _announce(title: str) -> None:
    print(f"\n=== {title}", flush=True)
