# SPDX-License-Identifier: Apache-2.0
"""The state while a launch file is evaluated: variables, environment, current file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import LaunchError, Location
from .model import Condition
from .packages import PackageError, find_executable, find_prefix, find_share
from .substitutions import Call, Template, Text


class Context:
    """Resolves substitutions and conditions against the present state."""

    def __init__(self, variables: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.variables = dict(variables)
        self.environment = dict(environment)
        # The launch files around the present place, the outermost first.
        self.files: list[Path] = []
        # What $(dirname) means in ROS 2 Jazzy, where an <include> does not restore it (mended in
        # later releases, github.com/ros2/launch/pull/862).
        self._jazzy_dirname = Path()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Variables and environment are afterwards as they were before (a scoped <group>)."""
        variables, environment = dict(self.variables), dict(self.environment)
        yield
        self.variables, self.environment = variables, environment

    @contextmanager
    def inside(self, file: Path) -> Iterator[None]:
        """`file` is the current launch file."""
        self.files.append(file)
        self.announce(file)
        try:
            yield
        finally:
            self.files.pop()

    def announce(self, file: Path) -> None:
        """`file` is about to be included: in Jazzy its directory counts from here on."""
        self._jazzy_dirname = file.parent

    def perform(self, template: Template, location: Location) -> str:
        """Return the text that `template` stands for. Raises LaunchError."""
        parts = []
        for part in template:
            if isinstance(part, Text):
                parts.append(part.text)
                continue
            try:
                parts.append(_PERFORM[part.name](self, part, location))
            except PackageError as error:
                raise LaunchError(f"$({part.name}): {error}", location) from error
        return "".join(parts)

    def holds(self, condition: Condition | None, location: Location) -> bool:
        """Evaluate an `if` or `unless`. Raises LaunchError unless it is true, false, 1 or 0."""
        if condition is None:
            return True
        text = self.perform(condition.expression, location)
        if text.strip().lower() not in ("true", "1", "false", "0"):
            raise LaunchError(f"condition is '{text}'; expected true, false, 1 or 0", location)
        return (text.strip().lower() in ("true", "1")) != condition.negated

    def _variable(self, call: Call, location: Location) -> str:
        name = self.perform(call.arguments[0], location)
        if name in self.variables:
            return self.variables[name]
        if len(call.arguments) == 2:
            return self.perform(call.arguments[1], location)
        known = ", ".join(sorted(self.variables)) or "none"
        raise LaunchError(f"variable '{name}' is not defined; defined here: {known}", location)

    def _environment_variable(self, call: Call, location: Location) -> str:
        name = self.perform(call.arguments[0], location)
        # The default is evaluated even if it is not needed, as in launch.
        default = self.perform(call.arguments[1], location) if len(call.arguments) == 2 else None
        value = self.environment.get(name, default)
        if value is not None:
            return value
        raise LaunchError(f"environment variable '{name}' is not set", location)

    def _package_share(self, call: Call, location: Location) -> str:
        return str(find_share(self.perform(call.arguments[0], location), self.environment))

    def _package_prefix(self, call: Call, location: Location) -> str:
        return str(find_prefix(self.perform(call.arguments[0], location), self.environment))

    def _package_executable(self, call: Call, location: Location) -> str:
        executable, package = (self.perform(argument, location) for argument in call.arguments)
        return str(find_executable(package, executable, self.environment))

    def _dirname(self, _call: Call, location: Location) -> str:
        directory = self.files[-1].parent
        if self._jazzy_dirname != directory:
            raise LaunchError(
                "$(dirname) in or after an <include> of a file of another directory is not"
                f" supported: ROS 2 Jazzy takes it for {self._jazzy_dirname}, later releases for"
                f" {directory}; use $(find-pkg-share ...) or set a variable before the <include>",
                location,
            )
        return str(directory)

    def _equals(self, call: Call, location: Location) -> str:
        left, right = (self.perform(argument, location) for argument in call.arguments)
        return "true" if are_equal(left, right) else "false"


_PERFORM: Mapping[str, Callable[[Context, Call, Location], str]] = {
    "var": Context._variable,
    "env": Context._environment_variable,
    "find-pkg-share": Context._package_share,
    "find-pkg-prefix": Context._package_prefix,
    "exec-in-pkg": Context._package_executable,
    "dirname": Context._dirname,
    "equals": Context._equals,
}


def are_equal(left: str, right: str) -> bool:
    """Compare as launch does: 1 is true, and numbers count by their value."""
    truth = {"true": True, "1": True, "false": False, "0": False}
    if left.lower() in truth and right.lower() in truth:
        return truth[left.lower()] == truth[right.lower()]
    try:
        return math.isclose(float(left), float(right))
    except ValueError:
        return left == right


def absolute(path: str | Path) -> Path:
    """Return the absolute path without `..`; symbolic links stay as they are, as in launch."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow the links)
