# SPDX-License-Identifier: Apache-2.0
"""Evaluates a launch file with given arguments to the flat list of processes to start.

Semantics are those of launch 3.4 and launch_ros 0.26 (ROS 2 Jazzy), the surprising ones included:
an <include> is no scope of its own, so its arguments and variables stay set after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .context import Context, absolute
from .errors import LaunchError, Location
from .model import (
    Action,
    Argument,
    Group,
    Include,
    LaunchFile,
    Let,
    Log,
    Plan,
    Process,
    ProcessSpec,
    PushNamespace,
    SetEnv,
)
from .parser import parse_launch_file
from .process import NAMESPACE_VARIABLE, ProcessEvaluator, checked_namespace


def evaluate(
    file: Path,
    arguments: Mapping[str, str],
    environment: Mapping[str, str],
    parameter_directory: Path,
) -> Plan:
    """Return what `file` starts.

    arguments: values for the file's <arg>s.
    environment: that in which `ros2 launch` would run; packages are found through it.
    parameter_directory: where the parameter files of <param value> are going to be written.

    Raises LaunchError for everything unknown, missing or malformed. Nothing is started or written.
    """
    evaluator = _Evaluator(Context(arguments, environment), parameter_directory)
    try:
        declared = evaluator.run_file(absolute(file), tuple(arguments))
    except RecursionError as error:
        raise LaunchError(f"{file} is nested too deeply") from error
    _check_known(arguments, declared, file)
    return Plan(tuple(evaluator.processes), tuple(evaluator.messages))


@dataclass(frozen=True)
class ListedArgument:
    """An argument as `--show-args` lists it; `conditional`: only used under conditions."""

    argument: Argument
    conditional: bool


def list_arguments(file: Path, environment: Mapping[str, str]) -> tuple[ListedArgument, ...]:
    """Return the arguments of `file` and of the files it includes, the first of each name.

    An include whose path depends on arguments cannot be looked into and is left out, as
    `ros2 launch --show-args` does.
    """
    listed: dict[str, ListedArgument] = {}
    context = Context({}, environment)

    def visit(path: Path, included_conditionally: bool) -> None:
        launch_file = parse_launch_file(path)
        for action, conditional in _walk(launch_file.actions, included_conditionally):
            if isinstance(action, Argument):
                listed.setdefault(action.name, ListedArgument(action, conditional))
            elif isinstance(action, Include):
                with context.inside(path):
                    try:
                        included = absolute(context.perform(action.file, action.location))
                    except LaunchError:
                        continue
                    if included not in context.files:
                        visit(included, conditional)

    visit(absolute(file), False)
    return tuple(listed.values())


def _walk(actions: Iterable[Action], conditional: bool) -> Iterator[tuple[Action, bool]]:
    """All actions of one file, each with whether a condition decides about it."""
    for action in actions:
        decided = conditional or action.condition is not None
        yield action, decided
        if isinstance(action, Group):
            yield from _walk(action.actions, decided)


class _Evaluator:
    def __init__(self, context: Context, parameter_directory: Path) -> None:
        self._context = context
        self._process_evaluator = ProcessEvaluator(context, parameter_directory)
        self.processes: list[ProcessSpec] = []
        self.messages: list[str] = []
        self._declared: set[str] = set()

    def run_file(
        self, path: Path, given: Iterable[str], include: Include | None = None
    ) -> frozenset[str]:
        """Evaluate a file; return the names of the arguments of it and of what it includes.

        given: the names of the arguments that whoever starts or includes the file hands over.
        """
        context = self._context
        launch_file = parse_launch_file(path)
        declared_outside, self._declared = self._declared, set()
        arguments = [a for a, _ in _walk(launch_file.actions, False) if isinstance(a, Argument)]
        self._declared.update(argument.name for argument in arguments)
        _check_required(launch_file, given)
        with context.inside(path):
            self._run(launch_file.actions)
        declared = frozenset(self._declared)
        self._declared |= declared_outside
        return declared

    def _run(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if self._context.holds(action.condition, action.location):
                self._run_one(action)

    def _run_one(self, action: Action) -> None:
        context = self._context
        where = action.location
        match action:
            case Argument():
                self._run_argument(action)
            case Let():
                name = context.perform(action.name, where)
                context.variables[name] = context.perform(action.value, where)
            case SetEnv():
                name = context.perform(action.name, where)
                if action.value is not None:
                    context.environment[name] = context.perform(action.value, where)
                else:
                    context.environment.pop(name, None)
            case Log():
                text = context.perform(action.message, where)
                self.messages.append(f"[INFO] [launch.user]: {text}")
            case PushNamespace():
                context.variables[NAMESPACE_VARIABLE] = checked_namespace(
                    context.variables.get(NAMESPACE_VARIABLE),
                    context.perform(action.namespace, where),
                    where,
                )
            case Group(scoped=True):
                with context.scope():
                    self._run(action.actions)
            case Group():
                self._run(action.actions)
            case Include():
                self._run_include(action)
            case Process():
                self._run_process(action)
            case _:
                raise TypeError(f"no evaluation for {type(action).__name__}")

    def _run_process(self, action: Process) -> None:
        process = self._process_evaluator.evaluate(action)
        if process.node_name is not None and any(
            process.node_name == other.node_name for other in self.processes
        ):
            self.messages.append(
                f"[WARNING] [{process.label}]: there is already a node {process.node_name}"
            )
        self.processes.append(process)

    def _run_argument(self, action: Argument) -> None:
        context = self._context
        if action.name not in context.variables:
            if action.default is None:
                raise _missing(action)
            context.variables[action.name] = context.perform(action.default, action.location)
        value = context.variables[action.name]
        if action.choices and value not in action.choices:
            raise LaunchError(
                f"argument '{action.name}' is '{value}'; expected one of:"
                f" {', '.join(action.choices)}",
                action.location,
            )

    def _run_include(self, action: Include) -> None:
        context = self._context
        where = action.location
        path = absolute(context.perform(action.file, where))
        if path in context.files:
            raise LaunchError(f"{path} includes itself", where)
        if not path.is_file():
            raise LaunchError(f"included file {path} does not exist", where)
        if not path.name.endswith(".xml"):
            raise LaunchError(f"included file {path} is no XML file; supported: *.xml", where)
        context.announce(path)
        names = []
        for name_template, value in action.arguments:
            names.append(context.perform(name_template, where))
            context.variables[names[-1]] = context.perform(value, where)
        try:
            declared = self.run_file(path, names)
        except LaunchError as error:
            error.add_include(where)
            raise
        _check_known(names, declared, path, where)


def _check_required(launch_file: LaunchFile, given: Iterable[str]) -> None:
    """Every argument that is needed in any case must be handed over by whoever starts the file.

    A variable of that name which happens to be set is not enough for ROS 2 launch either.
    """
    names = set(given)
    for action, conditional in _walk(launch_file.actions, False):
        if isinstance(action, Argument) and not conditional and action.name not in names:
            if action.default is None:
                raise _missing(action, names)
            names.add(action.name)  # of several declarations the first one counts


def _missing(action: Argument, given: Iterable[str] = ()) -> LaunchError:
    description = f" ({action.description})" if action.description else ""
    others = f"; given: {', '.join(sorted(given))}" if given else ""
    return LaunchError(
        f"required argument '{action.name}'{description} is missing{others}", action.location
    )


def _check_known(
    given: Iterable[str], declared: frozenset[str], file: Path, where: Location | None = None
) -> None:
    for name in given:
        if name not in declared:
            raise LaunchError(
                f"unknown argument '{name}' for {file};"
                f" it takes: {', '.join(sorted(declared)) or 'none'}",
                where,
            )
