# SPDX-License-Identifier: Apache-2.0
"""Evaluates <node> and <executable> to the process that is going to be started."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from .context import Context
from .errors import LaunchError, Location
from .model import (
    Executable,
    GeneratedFile,
    Node,
    ParameterFile,
    ParameterGroup,
    ParameterValue,
    Process,
    ProcessSpec,
)
from .packages import PackageError, find_executable
from .parameters import EvaluatedValue, evaluate_value
from .substitutions import Template

NAMESPACE_VARIABLE = "ros_namespace"  # where launch_ros keeps it; a launch file may read it

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ProcessEvaluator:
    """Numbers the processes of one launch and builds their commands as launch_ros does."""

    def __init__(self, context: Context, parameter_directory: Path) -> None:
        self._context = context
        self._parameter_directory = parameter_directory
        self._count = 0
        self._node_names: set[str] = set()

    def evaluate(self, process: Process) -> ProcessSpec:
        """Return what to start. Raises LaunchError if anything that it needs is missing."""
        self._count += 1
        context = self._context
        where = process.location
        self._check_output(process)
        node_name: str | None = None
        files: tuple[GeneratedFile, ...] = ()
        match process:
            case Node():
                command, node_name, files = self._node(process)
            case Executable():
                command = [context.perform(word, where) for word in process.command]
            case _:
                raise TypeError(f"no evaluation for {type(process).__name__}")
        environment = dict(context.environment)
        for name, value in process.environment:
            environment[context.perform(name, where)] = context.perform(value, where)
        directory = self._working_directory(process)
        _check_program(command[0], environment, directory, where)
        label = self._optional(process.label, where) or Path(command[0]).name
        respawn = False
        if process.respawn is not None:
            try:
                respawn = bool(evaluate_value(process.respawn, "bool", self._performer(where)))
            except ValueError as error:
                raise LaunchError(f"attribute 'respawn': {error}", where) from error
        return ProcessSpec(
            label=f"{label}-{self._count}",
            node_name=node_name,
            command=tuple(command),
            environment=environment,
            working_directory=directory,
            respawn=respawn,
            respawn_delay_s=process.respawn_delay_s,
            shutdown_on_exit=process.shutdown_on_exit,
            location=where,
            files=files,
        )

    def _node(self, node: Node) -> tuple[list[str], str | None, tuple[GeneratedFile, ...]]:
        """Return command, fully qualified name (if given) and parameter files of a node."""
        context = self._context
        where = node.location
        executable = context.perform(node.executable, where)
        if node.package is not None:
            package = context.perform(node.package, where)
            try:
                executable = str(find_executable(package, executable, context.environment))
            except PackageError as error:
                raise LaunchError(str(error), where) from error
        command = [executable, *(context.perform(word, where) for word in node.arguments)]
        if node.ros_arguments is not None:
            words = (context.perform(word, where) for word in node.ros_arguments)
            command += ["--ros-args", *words]
        command.append("--ros-args")
        name = self._optional(node.name, where)
        if name is not None:
            if not _NAME.fullmatch(name):
                raise LaunchError(
                    f"node name '{name}' may only contain letters, digits and '_' and must not"
                    " start with a digit",
                    where,
                )
            command += ["-r", f"__node:={name}"]
        base = context.variables.get(NAMESPACE_VARIABLE)
        own = self._optional(node.namespace, where)
        namespace = None
        if base is not None or own is not None:
            namespace = checked_namespace(base, own, where)
            command += ["-r", f"__ns:={namespace}"]
        qualified = None if name is None else _joined(namespace or "/", name)
        # launch_ros addresses the node only if it knows both parts of its name.
        key = qualified if namespace is not None and qualified is not None else "/**"
        files: list[GeneratedFile] = []
        for parameter in node.parameters:
            if isinstance(parameter, ParameterFile):
                command += ["--params-file", self._existing_file(parameter)]
                continue
            values = self._values(parameter)
            text = yaml.dump({key: {"ros__parameters": values}}, default_flow_style=False)
            path = self._parameter_directory / f"parameters_{self._count}_{len(files) + 1}.yaml"
            files.append(GeneratedFile(path, text))
            command += ["--params-file", str(path)]
        for source, target in node.remaps:
            rule = f"{context.perform(source, where)}:={context.perform(target, where)}"
            command += ["-r", rule]
        return command, qualified, tuple(files)

    def _values(
        self, parameter: ParameterValue | ParameterGroup, prefix: str = ""
    ) -> dict[str, EvaluatedValue]:
        where = parameter.location
        name = prefix + self._context.perform(parameter.name, where)
        values: dict[str, EvaluatedValue] = {}
        if isinstance(parameter, ParameterGroup):
            for child in parameter.children:
                values.update(self._values(child, f"{name}."))
            return values
        try:
            values[name] = evaluate_value(
                parameter.value, parameter.type_name, self._performer(where)
            )
        except ValueError as error:
            raise LaunchError(f"parameter '{name}': {error}", where) from error
        return values

    def _existing_file(self, parameter: ParameterFile) -> str:
        path = Path(self._context.perform(parameter.file, parameter.location))
        if not path.is_file():
            raise LaunchError(f"parameter file {path} does not exist", parameter.location)
        return str(path)

    def _working_directory(self, process: Process) -> Path | None:
        text = self._optional(process.working_directory, process.location)
        if text is None:
            return None
        if not Path(text).is_dir():
            raise LaunchError(f"working directory '{text}' does not exist", process.location)
        return Path(text)

    def _check_output(self, process: Process) -> None:
        # There is no log directory here: all output is forwarded, whatever its kind.
        text = self._optional(process.output, process.location)
        if text not in (None, "screen", "both"):
            raise LaunchError(
                f"output='{text}' is not supported; supported: screen, both (all output is shown)",
                process.location,
            )

    def _optional(self, template: Template | None, where: Location) -> str | None:
        return None if template is None else self._context.perform(template, where)

    def _performer(self, where: Location) -> Callable[[Template], str]:
        return lambda template: self._context.perform(template, where)


def checked_namespace(base: str | None, namespace: str | None, where: Location) -> str:
    """Return the absolute namespace for `namespace` below `base`. Raises LaunchError."""
    if not base or (namespace or "").startswith("/"):
        result = namespace or ""
    else:
        result = base if namespace is None else _joined(base, namespace)
    result = result.rstrip("/")
    if not result.startswith("/"):
        result = f"/{result}"
    if result != "/" and not all(_NAME.fullmatch(part) for part in result.split("/")[1:]):
        raise LaunchError(
            f"namespace '{result}' is not valid: its parts may only contain letters, digits and"
            " '_' and must not start with a digit",
            where,
        )
    return result


def _joined(namespace: str, name: str) -> str:
    return f"{namespace.rstrip('/')}/{name}"


def _check_program(
    program: str, environment: Mapping[str, str], directory: Path | None, where: Location
) -> None:
    """Refuse what could not be started; the search is the one that starting it does."""
    if os.sep in program:
        path = Path(directory or ".", program)
        if path.is_file() and os.access(path, os.X_OK):
            return
        raise LaunchError(f"executable '{program}' does not exist or is not executable", where)
    search = environment.get("PATH", os.defpath)
    if not program or shutil.which(program, path=search) is None:
        raise LaunchError(f"executable '{program}' not found in PATH={search}", where)
