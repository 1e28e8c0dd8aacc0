# SPDX-License-Identifier: Apache-2.0
"""Turns the XML of a launch file into actions; every tag and attribute is known or refused."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypedDict

from .errors import LaunchError, Location
from .model import (
    Action,
    Argument,
    Condition,
    Executable,
    Group,
    Include,
    LaunchFile,
    Let,
    Log,
    Node,
    ParameterFile,
    ParameterGroup,
    ParameterValue,
    PushNamespace,
    SetEnv,
)
from .parameters import TYPES, parse_value
from .substitutions import Call, SubstitutionError, Template, Text, parse_template, unescape
from .xml_reader import Element, read_xml

_CONDITIONS = ("if", "unless")
_PROCESS = ("cwd", "output", "respawn", "respawn_delay", "on_exit")


def parse_launch_file(path: Path) -> LaunchFile:
    """Parse a launch file; `path` must be absolute, so that `$(dirname)` has a meaning.

    Raises LaunchError with file and line for everything that is not supported.
    """
    root = read_xml(path)
    if root.tag != "launch":
        raise LaunchError(f"expected the root tag <launch>, found <{root.tag}>", root.location)
    _check_attributes(root, ("version",))
    return LaunchFile(path, _actions(root.children))


def _actions(elements: Iterable[Element]) -> tuple[Action, ...]:
    actions = []
    for element in elements:
        parse = _TAGS.get(element.tag)
        if parse is None:
            raise LaunchError(
                f"unknown tag <{element.tag}>; supported: {_listed(_TAGS)}", element.location
            )
        actions.append(parse(element))
    return tuple(actions)


def _argument(element: Element) -> Argument:
    _check_attributes(element, ("name", "default", "description", *_CONDITIONS))
    _check_children(element, ("choice",))
    choices = []
    for choice in element.children:
        _check_attributes(choice, ("value",))
        _check_children(choice, ())
        choices.append(unescape(_required(choice, "value")))
    return Argument(
        **_common(element),
        name=unescape(_required(element, "name")),
        default=_optional_template(element, "default"),
        default_source=element.attributes.get("default"),
        description=unescape(element.attributes.get("description", "")),
        choices=tuple(choices),
    )


def _let(element: Element) -> Let:
    _check_leaf(element, ("name", "value"))
    return Let(
        **_common(element), name=_template(element, "name"), value=_template(element, "value")
    )


def _set_env(element: Element) -> SetEnv:
    _check_leaf(element, ("name", "value"))
    return SetEnv(
        **_common(element), name=_template(element, "name"), value=_template(element, "value")
    )


def _unset_env(element: Element) -> SetEnv:
    _check_leaf(element, ("name",))
    return SetEnv(**_common(element), name=_template(element, "name"), value=None)


def _log(element: Element) -> Log:
    _check_leaf(element, ("message",))
    return Log(**_common(element), message=_template(element, "message"))


def _push_namespace(element: Element) -> PushNamespace:
    _check_leaf(element, ("namespace",))
    return PushNamespace(**_common(element), namespace=_template(element, "namespace"))


def _group(element: Element) -> Group:
    _check_attributes(element, ("scoped", *_CONDITIONS))
    return Group(
        **_common(element),
        scoped=_boolean(element, "scoped", default=True),
        actions=_actions(element.children),
    )


def _include(element: Element) -> Include:
    _check_attributes(element, ("file", *_CONDITIONS))
    _check_children(element, ("arg",))
    return Include(
        **_common(element),
        file=_template(element, "file"),
        arguments=_pairs(element.children, "arg", "name", "value"),
    )


def _executable(element: Element) -> Executable:
    _check_attributes(element, ("cmd", "name", "shell", *_PROCESS, *_CONDITIONS))
    _check_children(element, ("env",))
    if _boolean(element, "shell", default=False):
        raise LaunchError(
            "shell='true' is not supported: name the program and its arguments in cmd",
            element.location,
        )
    return Executable(
        **_process(element),
        label=_optional_template(element, "name"),
        command=_words(element, "cmd"),
    )


def _node(element: Element) -> Node:
    own = ("pkg", "exec", "name", "namespace", "exec_name", "args", "ros_args")
    _check_attributes(element, (*own, *_PROCESS, *_CONDITIONS))
    _check_children(element, ("param", "remap", "env"))
    return Node(
        **_process(element),
        label=_optional_template(element, "exec_name"),
        package=_optional_template(element, "pkg"),
        executable=_template(element, "exec"),
        name=_optional_template(element, "name"),
        namespace=_optional_template(element, "namespace"),
        arguments=_words(element, "args") if "args" in element.attributes else (),
        ros_arguments=_words(element, "ros_args") if "ros_args" in element.attributes else None,
        parameters=tuple(_parameter(c) for c in element.children if c.tag == "param"),
        remaps=_pairs(element.children, "remap", "from", "to"),
    )


def _parameter(element: Element) -> ParameterFile | ParameterValue | ParameterGroup:
    if "from" not in element.attributes:
        return _named_parameter(element)
    _check_attributes(element, ("from",))
    _check_children(element, ())
    return ParameterFile(element.location, _template(element, "from"))


def _named_parameter(element: Element) -> ParameterValue | ParameterGroup:
    _check_attributes(element, ("name", "value", "type"))
    _check_children(element, ("param",))
    name = _template(element, "name")
    if element.children:
        if len(element.attributes) > 1:
            raise LaunchError(
                "a <param> with nested <param> takes neither value nor type", element.location
            )
        children = tuple(_named_parameter(child) for child in element.children)
        return ParameterGroup(element.location, name, children)
    source = _required(element, "value")
    type_name = element.attributes.get("type")
    if type_name is not None and type_name not in TYPES:
        raise LaunchError(
            f"unknown parameter type '{type_name}'; supported: {_listed(TYPES)}", element.location
        )
    try:
        value = parse_value(source, type_name)
    except SubstitutionError as error:
        raise LaunchError(f"attribute 'value': {error}", element.location) from error
    except ValueError as error:
        raise LaunchError(str(error), element.location) from error
    return ParameterValue(element.location, name, value, type_name)


_TAGS: dict[str, Callable[[Element], Action]] = {
    "arg": _argument,
    "let": _let,
    "set_env": _set_env,
    "unset_env": _unset_env,
    "log": _log,
    "push-ros-namespace": _push_namespace,
    "push_ros_namespace": _push_namespace,
    "group": _group,
    "include": _include,
    "executable": _executable,
    "node": _node,
}


class _Common(TypedDict):
    location: Location
    condition: Condition | None


class _ProcessFields(_Common):
    working_directory: Template | None
    output: Template | None
    respawn: Template | None
    respawn_delay_s: float
    shutdown_on_exit: bool
    environment: tuple[tuple[Template, Template], ...]


def _common(element: Element) -> _Common:
    expressions = [name for name in _CONDITIONS if name in element.attributes]
    if len(expressions) > 1:
        raise LaunchError("'if' and 'unless' exclude each other", element.location)
    condition = None
    for name in expressions:
        condition = Condition(_template(element, name), negated=name == "unless")
    return {"location": element.location, "condition": condition}


def _process(element: Element) -> _ProcessFields:
    on_exit = element.attributes.get("on_exit")
    if on_exit not in (None, "shutdown"):
        raise LaunchError(f"on_exit='{on_exit}'; supported: shutdown", element.location)
    return {
        **_common(element),
        "working_directory": _optional_template(element, "cwd"),
        "output": _optional_template(element, "output"),
        "respawn": _optional_template(element, "respawn"),
        "respawn_delay_s": _respawn_delay_s(element),
        "shutdown_on_exit": on_exit is not None,
        "environment": _pairs(element.children, "env", "name", "value"),
    }


def _respawn_delay_s(element: Element) -> float:
    source = element.attributes.get("respawn_delay", "0")
    try:
        delay_s = float(source)
    except ValueError:
        delay_s = math.nan
    if not 0.0 <= delay_s < math.inf:
        raise LaunchError(
            f"respawn_delay='{source}'; expected seconds as a number of at least 0, without"
            " substitutions",
            element.location,
        )
    return delay_s


def _pairs(
    elements: Iterable[Element], tag: str, first: str, second: str
) -> tuple[tuple[Template, Template], ...]:
    pairs = []
    for element in elements:
        if element.tag == tag:
            _check_attributes(element, (first, second))
            _check_children(element, ())
            pairs.append((_template(element, first), _template(element, second)))
    return tuple(pairs)


def _words(element: Element, name: str) -> tuple[Template, ...]:
    """Split a command line as ROS 2 launch does.

    Only literal text is split at spaces; the result of a substitution stays one word. A literal
    text without any word ends a word too, so that an empty attribute yields one empty word.
    """
    words: list[Template] = []
    current: list[Text | Call] = []
    for part in _template(element, name):
        if isinstance(part, Call):
            current.append(part)
            continue
        try:
            tokens = shlex.split(part.text)
        except ValueError as error:
            raise LaunchError(
                f"attribute '{name}': {error} in {part.text!r} (quotes cannot enclose a"
                " substitution; its result is one word without them)",
                element.location,
            ) from error
        if tokens:
            if part.text[0].isspace() and current:
                words.append(tuple(current))
                current = []
            for token in tokens[:-1]:
                words.append((*current, Text(token)))
                current = []
            current.append(Text(tokens[-1]))
        if not tokens or part.text[-1].isspace():
            words.append(tuple(current))
            current = []
    if current:
        words.append(tuple(current))
    return tuple(words)


def _template(element: Element, name: str) -> Template:
    try:
        return parse_template(_required(element, name))
    except SubstitutionError as error:
        raise LaunchError(f"attribute '{name}': {error}", element.location) from error


def _optional_template(element: Element, name: str) -> Template | None:
    return _template(element, name) if name in element.attributes else None


def _required(element: Element, name: str) -> str:
    value = element.attributes.get(name)
    if value is None:
        raise LaunchError(f"<{element.tag}> needs the attribute '{name}'", element.location)
    return value


def _boolean(element: Element, name: str, *, default: bool) -> bool:
    source = element.attributes.get(name)
    if source is None:
        return default
    if source.lower() not in ("true", "1", "false", "0"):
        raise LaunchError(f"{name}='{source}'; expected true or false", element.location)
    return source.lower() in ("true", "1")


def _check_leaf(element: Element, attributes: tuple[str, ...]) -> None:
    _check_attributes(element, (*attributes, *_CONDITIONS))
    _check_children(element, ())


def _check_attributes(element: Element, known: tuple[str, ...]) -> None:
    for name in element.attributes:
        if name not in known:
            raise LaunchError(
                f"unknown attribute '{name}' in <{element.tag}>; supported: {_listed(known)}",
                element.location,
            )


def _check_children(element: Element, known: tuple[str, ...]) -> None:
    for child in element.children:
        if child.tag not in known:
            supported = f"supported: {_listed(known)}" if known else "it takes no nested tags"
            raise LaunchError(
                f"unknown tag <{child.tag}> in <{element.tag}>; {supported}", child.location
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
