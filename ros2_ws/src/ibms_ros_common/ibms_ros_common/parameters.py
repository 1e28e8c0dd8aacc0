# SPDX-License-Identifier: Apache-2.0
"""Typed node parameters: a ``msgspec.Struct`` is schema, defaults and documentation in one.

Nested structures become dotted names (``bus.channel``), ranges become parameter ranges.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ibms_battery import configuration
from ibms_battery.configuration import Document

P = TypeVar("P", bound=msgspec.Struct)

_LARGEST = 1.0e308
_REQUIRED = object()
_PARAMETERS = "ros__parameters"


class ParameterError(ValueError):
    """A parameter is missing or wrong; the text names node, parameter and what is expected."""


@dataclass(frozen=True)
class _Field:
    """One parameter, that is one leaf of a structure of parameters."""

    name: str  # dotted
    annotation: Any
    type: inspect.Type
    default: Any


# Every ROS 2 node has it.
_SIM_TIME = _Field("use_sim_time", bool, inspect.BoolType(), False)


def declare(node: Node, kind: type[msgspec.Struct], defaults: msgspec.Struct | None = None) -> None:
    """Declare all fields of ``kind`` as parameters of ``node``; ``defaults`` are in place of its.

    Raises:
        ParameterError: if a value given from outside has the wrong type or is out of range.
    """
    for field in _fields(kind, given=defaults):
        descriptor = _descriptor(field.type)
        try:
            if field.default is _REQUIRED:
                node.declare_parameter(field.name, _parameter_type(field.type), descriptor)
            else:
                node.declare_parameter(field.name, field.default, descriptor)
        except Exception as error:  # rclpy raises several kinds for types and ranges
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter {field.name!r}: {error}; "
                f"expected {_expectation(field.type)}"
            ) from error


def read(node: Node, kind: type[P]) -> P:
    """Read the parameters of ``node`` into ``kind``.

    Raises:
        ParameterError: if one is missing, unknown or outside its range.
    """
    tree: dict[str, Any] = {}
    for field in _fields(kind):
        value = node.get_parameter_or(field.name, Parameter(field.name)).value
        if value is None:
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter {field.name!r} is not set and has "
                f"no default; expected {_expectation(field.type)}"
            )
        if isinstance(_bare(field.type), inspect.ListType):
            value = list(value)
        try:
            msgspec.convert(value, field.annotation)
        except msgspec.ValidationError as error:
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter {field.name!r}: {error}, found "
                f"{value!r}; expected {_expectation(field.type)}"
            ) from error
        *parents, leaf = field.name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return msgspec.convert(tree, kind)


def check_file(path: Path | str, kinds: Mapping[str, Sequence[type[msgspec.Struct]]]) -> None:
    """Check a ROS 2 parameter file before any node reads it: ROS 2 ignores names it does not know.

    Args:
        path: the YAML file.
        kinds: structures of the parameters of each node, by the node's name.

    Raises:
        ConfigurationError: with file and line, for a node or parameter that does not exist and
            for a value that the node would refuse.
    """
    _check_nodes(configuration.read(path), [], kinds)


def _check_nodes(
    document: Document,
    path: list[str | int],
    kinds: Mapping[str, Sequence[type[msgspec.Struct]]],
) -> None:
    part = document.value_of(path)
    if not isinstance(part, dict) or not part:
        raise document.error(path, "expected names of nodes with 'ros__parameters' in them")
    for key, inner in part.items():
        here = [*path, key]
        if key != _PARAMETERS:
            _check_nodes(document, here, kinds)
            continue
        node = "/".join(str(name) for name in path).rpartition("/")[2]
        if node in kinds:
            fields = _all_fields(kinds[node])
        elif node in ("*", "**"):
            fields = _all_fields(kind for of_node in kinds.values() for kind in of_node)
        else:
            raise document.error(
                path, f"no node is called {node!r}, known are {', '.join(sorted(kinds))}"
            )
        if not isinstance(inner, dict):
            raise document.error(here, "expected names of parameters with their values")
        _check_values(document, here, "", inner, fields | {_SIM_TIME.name: _SIM_TIME})


def _check_values(
    document: Document,
    path: list[str | int],
    prefix: str,
    part: dict[Any, Any],
    fields: Mapping[str, _Field],
) -> None:
    for key, value in part.items():
        here, name = [*path, key], f"{prefix}{key}"
        if isinstance(value, dict):
            _check_values(document, here, f"{name}.", value, fields)
            continue
        field = fields.get(name)
        if field is None:
            raise document.error(
                here, f"no parameter is called {name!r}, known are {', '.join(sorted(fields))}"
            )
        expected = f"found {value!r}, expected {_expectation(field.type)}"
        try:
            msgspec.convert(value, field.annotation)
        except msgspec.ValidationError as error:
            raise document.error(here, expected) from error
        values = value if isinstance(value, list) else [value]
        bare = _bare(field.type)
        inner = _bare(bare.item_type) if isinstance(bare, inspect.ListType) else bare
        if isinstance(inner, inspect.FloatType) and any(type(entry) is int for entry in values):
            raise document.error(here, f"{expected}; ROS 2 wants a decimal point: 1.0, not 1")


def _all_fields(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, _Field]:
    return {field.name: field for kind in kinds for field in _fields(kind)}


def _fields(
    kind: type[msgspec.Struct], prefix: str = "", given: msgspec.Struct | None = None
) -> list[_Field]:
    """Leaves of ``kind``, with the defaults of ``given`` where that is a structure's default."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    result: list[_Field] = []
    for field, raw in zip(info.fields, msgspec.structs.fields(kind), strict=True):
        name = f"{prefix}{field.name}"
        bare = _bare(field.type)
        default: Any = _REQUIRED
        if given is not None:
            default = getattr(given, field.name)
        elif not field.required:
            default = field.default
            if default is msgspec.NODEFAULT:
                default = field.default_factory()
        if isinstance(bare, inspect.StructType):
            nested = default if isinstance(default, msgspec.Struct) else None
            result += _fields(bare.cls, f"{name}.", nested)
        else:
            result.append(_Field(name, raw.type, field.type, default))
    return result


def _bare(field_type: inspect.Type) -> inspect.Type:
    return field_type.type if isinstance(field_type, inspect.Metadata) else field_type


def _schema(field_type: inspect.Type) -> dict[str, Any]:
    if isinstance(field_type, inspect.Metadata):
        return field_type.extra_json_schema or {}
    return {}


def _expectation(field_type: inspect.Type) -> str:
    bare = _bare(field_type)
    words = type(bare).__name__.removesuffix("Type").lower()
    for sign, key in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
        bound = getattr(bare, key, None)
        if bound is not None:
            words += f" {sign} {bound}"
    if isinstance(bare, inspect.LiteralType):
        words = "one of " + ", ".join(repr(value) for value in bare.values)
    description = _schema(field_type).get("description")
    return f"{words} ({description})" if description else words


def _descriptor(field_type: inspect.Type) -> ParameterDescriptor:
    bare = _bare(field_type)
    descriptor = ParameterDescriptor(description=_expectation(field_type))
    low = _first(getattr(bare, "ge", None), getattr(bare, "gt", None))
    high = _first(getattr(bare, "le", None), getattr(bare, "lt", None))
    if low is None and high is None:
        return descriptor
    if isinstance(bare, inspect.FloatType):
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(-_LARGEST if low is None else low),
                to_value=float(_LARGEST if high is None else high),
            )
        ]
    elif isinstance(bare, inspect.IntType):
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(-(2**62) if low is None else low),
                to_value=int(2**62 if high is None else high),
            )
        ]
    return descriptor


def _first(*bounds: float | None) -> float | None:
    return next((bound for bound in bounds if bound is not None), None)


def _parameter_type(field_type: inspect.Type) -> Parameter.Type:
    bare = _bare(field_type)
    if isinstance(bare, inspect.ListType):
        return {
            "FloatType": Parameter.Type.DOUBLE_ARRAY,
            "IntType": Parameter.Type.INTEGER_ARRAY,
            "BoolType": Parameter.Type.BOOL_ARRAY,
        }.get(type(_bare(bare.item_type)).__name__, Parameter.Type.STRING_ARRAY)
    return {
        "FloatType": Parameter.Type.DOUBLE,
        "IntType": Parameter.Type.INTEGER,
        "BoolType": Parameter.Type.BOOL,
    }.get(type(bare).__name__, Parameter.Type.STRING)
