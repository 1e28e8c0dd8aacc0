# SPDX-License-Identifier: Apache-2.0
"""Set-up: virtual environment, locked dependencies, built workspace. Runs once."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from frontdoor import stamp, system_packages
from frontdoor.environment import added_by, build_environment, runtime_environment
from frontdoor.errors import FrontDoorError
from frontdoor.paths import PYTHON, REQUIREMENTS, ROOT, SOURCES, STAMP, VENV, WORKSPACE
from frontdoor.progress import Progress
from frontdoor.repair import repair_cmake_files
from frontdoor.stamp import Stamp
from frontdoor.world import World

# Launch files and configuration stand in the root; ibms_bringup installs them.
_INSTALLED = {"launch": ROOT / "launch", "config": ROOT / "config"}
_BUILD_LOCK = REQUIREMENTS / "build.txt"


def ensure(world: World, inherited: Mapping[str, str]) -> dict[str, str]:
    """Do what of the set-up is not done yet; return the environment to run in.

    Raises FrontDoorError with a sentence on what to mend.
    """
    wanted = _wanted(world)
    found = stamp.read(STAMP)
    if not _matches(found, wanted):
        # Two commands started at once: the second waits, and finds the work done.
        with (REQUIREMENTS / "lock.txt").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = stamp.read(STAMP)
            if not _matches(found, wanted):
                found = _set_up(world, inherited, wanted, found)
    assert found is not None
    return runtime_environment(world, inherited, found.prepend)


def is_done(world: World) -> bool:
    """Tell whether nothing is left to set up."""
    return _matches(stamp.read(STAMP), _wanted(world))


def lock_file(world: World) -> Path:
    """Return the lock that serves this world."""
    return REQUIREMENTS / ("lock.txt" if world.has_wheels else "lock-ros.txt")


def _wanted(world: World) -> Stamp:
    return Stamp(
        dependencies=stamp.dependencies_hash(world.name, ROOT, [_BUILD_LOCK, lock_file(world)]),
        workspace=stamp.workspace_hash(SOURCES, _INSTALLED),
        packages=stamp.package_names(SOURCES),
        prepend={},
    )


def _matches(found: Stamp | None, wanted: Stamp) -> bool:
    return (
        found is not None
        and found.dependencies == wanted.dependencies
        and found.workspace == wanted.workspace
    )


def _set_up(
    world: World, inherited: Mapping[str, str], wanted: Stamp, found: Stamp | None
) -> Stamp:
    progress = Progress()
    has_dependencies = found is not None and found.dependencies == wanted.dependencies
    why = "build definitions changed" if has_dependencies else world.name
    progress.show(f"Setting up in {ROOT} ({why})", is_final=True)
    system_packages.ensure(world.python)
    STAMP.unlink(missing_ok=True)
    if not has_dependencies:
        _install_dependencies(world, inherited, progress)
    gone = set(found.packages) - set(wanted.packages) if found is not None else set()
    if not has_dependencies or gone:
        for name in ("build", "install", "log"):
            shutil.rmtree(WORKSPACE / name, ignore_errors=True)
    for name in ("build", "install"):
        remove_dangling_links(WORKSPACE / name)
    prepend = _build_workspace(world, inherited, progress)
    # Once here, or the first start of the estimator takes as much longer.
    progress.run(
        "Compiling the estimator",
        [PYTHON, "-m", "ibms_edge.estimation.compile_ahead"],
        runtime_environment(world, inherited, prepend),
        ROOT,
    )
    done = Stamp(wanted.dependencies, wanted.workspace, wanted.packages, prepend)
    stamp.write(STAMP, done)
    progress.show("Set-up is complete", is_final=True)
    return done


def remove_dangling_links(folder: Path) -> None:
    """Remove links to files that are gone: colcon leaves them where a source file was renamed."""
    for path in [path for path in folder.rglob("*") if path.is_symlink() and not path.exists()]:
        path.unlink()


def _install_dependencies(world: World, inherited: Mapping[str, str], progress: Progress) -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    # A foreign PYTHONPATH must not count as installed, except that of the sourced ROS 2.
    environment = build_environment(world, inherited)
    options = [] if world.has_wheels else ["--system-site-packages"]
    progress.run(
        "Virtual environment", [world.python, "-m", "venv", *options, VENV], environment, ROOT
    )
    pip: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar=off",
        f"--cache-dir={ROOT / '.cache' / 'pip'}",  # nothing is written outside of the project
    ]
    # Compiling happens at the first import; doing it here would cost half a minute.
    pip += ["--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    if world.has_wheels:
        # empy exists as source only: with its build tool pinned too, nothing is fetched unhashed.
        progress.run("Build tools", [*pip, "-r", _BUILD_LOCK], environment, ROOT)
        pip += ["--no-binary=empy", "--no-build-isolation", "--use-pep517"]
    lock = lock_file(world)
    count = len(re.findall(r"^\S+==", lock.read_text(), re.MULTILINE))
    progress.run(
        f"Dependencies ({count} packages)", [*pip, "-r", lock], environment, ROOT, _pip_describer()
    )
    if world.has_wheels:
        paths = _interpreter_paths(environment)
        changed = repair_cmake_files(VENV, *paths)
        progress.show(f"CMake files of the wheels: {changed} repaired", is_final=True)


def _interpreter_paths(environment: Mapping[str, str]) -> list[str]:
    code = "import sysconfig as s; print(s.get_path('include')); print(s.get_path('purelib'))"
    result = subprocess.run(
        [PYTHON, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    return result.stdout.splitlines()


def _build_workspace(
    world: World, inherited: Mapping[str, str], progress: Progress
) -> dict[str, list[str]]:
    environment = build_environment(world, inherited)
    colcon = VENV / "bin" / "colcon"
    command: list[str | Path] = [
        colcon,
        "build",
        "--symlink-install",
        "--event-handlers",
        "console_cohesion+",
    ]
    command += ["--cmake-args", "-GNinja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF"]
    command += [f"-DPython3_EXECUTABLE={PYTHON}"]
    # Without it colcon adds a load limit, which on two cores halves the speed.
    environment.setdefault("MAKEFLAGS", f"-j{os.cpu_count()}")
    count = len(stamp.package_names(SOURCES))
    progress.run(
        f"Workspace ({count} packages)", command, environment, WORKSPACE, _colcon_describer()
    )
    return added_by(environment, _sourced(WORKSPACE / "install" / "local_setup.sh", environment))


def _sourced(script: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that sourcing a workspace's set-up file leaves."""
    if not script.exists():
        raise FrontDoorError(f"colcon built no package: {script} is missing.")
    result = subprocess.run(
        ["/bin/sh", "-c", '. "$0" && env -0', script],
        cwd=script.parent,
        env=dict(environment),
        check=True,
        stdout=subprocess.PIPE,
    )
    pairs = (item.split("=", 1) for item in os.fsdecode(result.stdout).split("\0") if item)
    return dict(pairs)


def _pip_describer() -> Callable[[str], str | None]:
    seen = 0

    def describe(line: str) -> str | None:
        nonlocal seen
        if line.startswith("Collecting "):
            seen += 1
            return f"{seen} fetched, {line.split()[1].partition('=')[0]}"
        return "installing" if line.startswith("Installing collected") else None

    return describe


def _colcon_describer() -> Callable[[str], str | None]:
    finished = 0

    def describe(line: str) -> str | None:
        nonlocal finished
        if line.startswith("Starting >>>"):
            return f"{finished} built, now {line.split()[2]}"
        if line.startswith("Finished <<<"):
            finished += 1
            return f"{finished} built"
        return None

    return describe
