# SPDX-License-Identifier: Apache-2.0
"""Types of parameter values, by the rules of launch and launch_ros (launch.utilities.type_utils).

A value without a type attribute is YAML: `1` is an integer, `1.0` a float, `[1, 2]` a list. What
comes out of a substitution is typed when it is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import yaml

from .model import Scalar, Value, ValueList
from .substitutions import Template, Text, parse_template

EvaluatedValue: TypeAlias = Scalar | list[Scalar]

_SCALARS: dict[str | None, type[Scalar]] = {"str": str, "bool": bool, "float": float, "int": int}
_LISTS: dict[str | None, type[Scalar]] = {f"list_of_{n}": kind for n, kind in _SCALARS.items()}
TYPES: tuple[str, ...] = (*(name for name in (*_SCALARS, *_LISTS) if name), "yaml")


def parse_value(source: str, type_name: str | None) -> Value:
    """Parse the value attribute of a <param>; `type_name` is its type attribute, if any.

    Raises ValueError (SubstitutionError included) if it can never have the wanted type.
    """
    raw = _convert(source, type_name, or_text=True)
    if isinstance(raw, list):
        members = tuple(_parse_text(item) if isinstance(item, str) else item for item in raw)
        kinds = {type(member) for member in members if not isinstance(member, tuple)}
        if len(kinds) > 1:
            raise ValueError(f"value {source!r} mixes types in one list")
        wanted = _LISTS.get(type_name)
        # An empty list counts as one of texts, as in launch.
        found = kinds if members else {str}
        if wanted is not None and not found <= {wanted}:
            raise _wrong(source, type_name)
        return ValueList(members)
    value = _parse_text(raw) if isinstance(raw, str) else raw
    if not isinstance(value, tuple) and not _fits(value, type_name):
        raise _wrong(source, type_name)
    return value


def evaluate_value(
    value: Value, type_name: str | None, perform: Callable[[Template], str]
) -> EvaluatedValue:
    """Return the final value; `perform` resolves substitutions. Raises ValueError."""
    if isinstance(value, tuple):
        return _convert(perform(value), type_name, or_text=False)
    if not isinstance(value, ValueList):
        return value
    member_type = type_name.removeprefix("list_of_") if type_name else None
    result: list[Scalar] = []
    for member in value.members:
        if not isinstance(member, tuple):
            result.append(member)
            continue
        converted = _convert(perform(member), member_type, or_text=False)
        if isinstance(converted, list):
            raise _wrong(str(converted), member_type)
        result.append(converted)
    if not _fits(result, type_name):
        raise _wrong(str(result), type_name)
    return result


def _parse_text(source: str) -> str | Template:
    """A plain text stays text; with a substitution in it, it is a template."""
    template = parse_template(source)
    if len(template) == 1 and isinstance(template[0], Text):
        return template[0].text
    return template


def _convert(source: str, type_name: str | None, *, or_text: bool) -> EvaluatedValue:
    """Convert text to a type; with `or_text`, text that does not convert stays text.

    (It may contain a substitution, whose result is converted later.)
    """
    if type_name == "str":
        return source
    if type_name in ("int", "float"):
        try:
            return int(source) if type_name == "int" else float(source)
        except ValueError:
            if or_text:
                return source
            raise _wrong(source, type_name) from None
    if type_name == "bool":
        source = {"1": "true", "0": "false"}.get(source, source)
    value = _load_yaml(source, or_text=or_text)
    texts_allowed = or_text and isinstance(value, str) and type_name not in _LISTS
    if not _fits(value, type_name, or_text=or_text) and not texts_allowed:
        raise _wrong(source, type_name)
    return value


def _load_yaml(source: str, *, or_text: bool) -> EvaluatedValue:
    if not source:
        return source
    try:
        value = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError) as error:
        if or_text:
            return source
        raise ValueError(f"value {source!r} is not YAML: {error}") from error
    scalars = value if isinstance(value, list) else [value]
    if not all(isinstance(item, bool | int | float | str) for item in scalars):
        raise ValueError(
            f"value {source!r} is read as {type(value).__name__}; supported: bool, int, float, str"
            " and lists of one of them (type='str' takes the text as it is)"
        )
    result: EvaluatedValue = value
    return result


def _fits(value: EvaluatedValue, type_name: str | None, *, or_text: bool = False) -> bool:
    """Whether a value (or, with `or_text`, each member that is not text) has the wanted type."""
    if type_name in _SCALARS:
        return isinstance(value, _SCALARS[type_name])
    if isinstance(value, list):
        members = [item for item in value if not (or_text and isinstance(item, str))]
        if type_name in _LISTS:
            return all(isinstance(item, _LISTS[type_name]) for item in members)
        # Python counts bool as int, but a list of both is no ROS parameter.
        return not members or all(isinstance(item, type(members[0])) for item in members)
    return type_name not in _LISTS


def _wrong(source: str, type_name: str | None) -> ValueError:
    return ValueError(f"value {source!r} is not of the type {type_name or 'yaml'}")
