# SPDX-License-Identifier: Apache-2.0
"""What a launch file says (actions), and what follows from it (processes to start)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from .errors import Location
from .substitutions import Template

Scalar: TypeAlias = bool | int | float | str


@dataclass(frozen=True)
class Condition:
    """An `if` (or, negated, an `unless`) attribute."""

    expression: Template
    negated: bool


@dataclass(frozen=True)
class Action:
    """What all tags have in common that stand directly in <launch> or <group>."""

    location: Location
    condition: Condition | None


@dataclass(frozen=True)
class Argument(Action):
    """<arg>: declares an argument of the file. `default_source` is the default as written."""

    name: str
    default: Template | None
    default_source: str | None
    description: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Let(Action):
    """<let>: sets a variable."""

    name: Template
    value: Template


@dataclass(frozen=True)
class SetEnv(Action):
    """<set_env> and, with no value, <unset_env>."""

    name: Template
    value: Template | None


@dataclass(frozen=True)
class Log(Action):
    """<log>: shows a message."""

    message: Template


@dataclass(frozen=True)
class PushNamespace(Action):
    """<push-ros-namespace>: prefixes the namespace of the nodes that follow in the scope."""

    namespace: Template


@dataclass(frozen=True)
class Group(Action):
    """<group>: actions whose variables and environment end with the group, if scoped."""

    scoped: bool
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Include(Action):
    """<include>: another launch file, with values for its arguments."""

    file: Template
    arguments: tuple[tuple[Template, Template], ...]


@dataclass(frozen=True)
class ParameterFile:
    """<param from>: a file of parameters."""

    location: Location
    file: Template


@dataclass(frozen=True)
class ValueList:
    """A list in which some members may still have to be evaluated."""

    members: tuple[Scalar | Template, ...]


Value: TypeAlias = Scalar | Template | ValueList


@dataclass(frozen=True)
class ParameterValue:
    """<param value>: a typed value, or templates whose result is typed when evaluated.

    `type_name` is the type attribute; None means the type follows from YAML.
    """

    location: Location
    name: Template
    value: Value
    type_name: str | None


@dataclass(frozen=True)
class ParameterGroup:
    """<param> with nested <param>: the names are joined with dots."""

    location: Location
    name: Template
    children: tuple[ParameterValue | ParameterGroup, ...]


@dataclass(frozen=True)
class Process(Action):
    """What <node> and <executable> have in common."""

    label: Template | None
    working_directory: Template | None
    output: Template | None
    respawn: Template | None
    respawn_delay_s: float
    shutdown_on_exit: bool
    environment: tuple[tuple[Template, Template], ...]


@dataclass(frozen=True)
class Executable(Process):
    """<executable>: any command, already split into its words."""

    command: tuple[Template, ...]


@dataclass(frozen=True)
class Node(Process):
    """<node>: a ROS node."""

    package: Template | None
    executable: Template
    name: Template | None
    namespace: Template | None
    arguments: tuple[Template, ...]
    ros_arguments: tuple[Template, ...] | None
    parameters: tuple[ParameterFile | ParameterValue | ParameterGroup, ...]
    remaps: tuple[tuple[Template, Template], ...]


@dataclass(frozen=True)
class LaunchFile:
    """A parsed launch file."""

    path: Path
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class GeneratedFile:
    """A parameter file that must exist before the process starts."""

    path: Path
    text: str


@dataclass(frozen=True)
class ProcessSpec:
    """One process to start.

    label: unique, as in `ros2 launch`: base name of the executable (or `exec_name`) and a number.
    node_name: fully qualified name of the node, or None where the launch file does not give one.
    """

    label: str
    node_name: str | None
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: Path | None
    respawn: bool
    respawn_delay_s: float
    shutdown_on_exit: bool
    location: Location
    files: tuple[GeneratedFile, ...] = field(default=())


@dataclass(frozen=True)
class Plan:
    """Everything that a launch file starts with given arguments; messages come from <log>."""

    processes: tuple[ProcessSpec, ...]
    messages: tuple[str, ...]
