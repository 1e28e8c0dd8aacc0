# SPDX-License-Identifier: Apache-2.0
"""Typed node parameters: a ``msgspec.Struct`` is schema, defaults and documentation in one.

Nested structures become dotted names (``bus.channel``), ranges become parameter ranges.
"""

from typing import Any, TypeVar

import msgspec
from msgspec import inspect
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

P = TypeVar("P", bound=msgspec.Struct)

_LARGEST = 1.0e308
_REQUIRED = object()


class ParameterError(ValueError):
    """A parameter is missing or wrong; the text names node, parameter and what is expected."""


def declare(node: Node, kind: type[msgspec.Struct]) -> None:
    """Declare all fields of ``kind`` as parameters of ``node``.

    Raises:
        ParameterError: if a value given from outside has the wrong type or is out of range.
    """
    for name, field_type, default in _fields(kind):
        descriptor = _descriptor(field_type)
        try:
            if default is _REQUIRED:
                node.declare_parameter(name, _parameter_type(field_type), descriptor)
            else:
                node.declare_parameter(name, default, descriptor)
        except Exception as error:  # rclpy raises several kinds for types and ranges
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter {name!r}: {error}; "
                f"expected {_expectation(field_type)}"
            ) from error


def read(node: Node, kind: type[P]) -> P:
    """Read the parameters of ``node`` into ``kind``.

    Raises:
        ParameterError: if one is missing, unknown or outside its range.
    """
    tree: dict[str, Any] = {}
    for name, field_type, _ in _fields(kind):
        value = node.get_parameter_or(name, Parameter(name)).value
        if value is None:
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter {name!r} is not set and has no "
                f"default; expected {_expectation(field_type)}"
            )
        *parents, leaf = name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = list(value) if isinstance(field_type, inspect.ListType) else value
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise ParameterError(f"{node.get_fully_qualified_name()}: {error}") from error


def _fields(kind: type[msgspec.Struct], prefix: str = "") -> list[tuple[str, inspect.Type, Any]]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    result: list[tuple[str, inspect.Type, Any]] = []
    for field in info.fields:
        name = f"{prefix}{field.name}"
        bare = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
        if isinstance(bare, inspect.StructType):
            result += _fields(bare.cls, f"{name}.")
        elif field.required:
            result.append((name, field.type, _REQUIRED))
        else:
            default = field.default
            if default is msgspec.NODEFAULT:
                default = field.default_factory()
            result.append((name, field.type, default))
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
    low = (
        getattr(bare, "ge", None)
        if getattr(bare, "ge", None) is not None
        else getattr(bare, "gt", None)
    )
    high = (
        getattr(bare, "le", None)
        if getattr(bare, "le", None) is not None
        else getattr(bare, "lt", None)
    )
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
