# SPDX-License-Identifier: Apache-2.0
"""Types of parameter values; expected values were taken from launch_ros."""

import math

import pytest

from ibms_bringup.launcher.parameters import EvaluatedValue, evaluate_value, parse_value
from ibms_bringup.launcher.substitutions import Call, Template, Text

VARIABLES = {"i": "1", "f": "2.5", "b": "true", "t": "two words", "l": "[1, 2]", "e": ""}


def evaluated(source: str, type_name: str | None = None) -> EvaluatedValue:
    return evaluate_value(parse_value(source, type_name), type_name, perform)


def perform(template: Template) -> str:
    texts = []
    for part in template:
        match part:
            case Text(text):
                texts.append(text)
            case Call("var", ((Text(name),),)):
                texts.append(VARIABLES[name])
    return "".join(texts)


@pytest.mark.parametrize(
    ("source", "type_name", "expected"),
    [
        ("1", None, 1),
        ("1.5", None, 1.5),
        ("1e3", None, "1e3"),
        ("0x10", None, 16),
        ("12:30", None, 750),
        ("yes", None, True),
        ("abc", None, "abc"),
        ("", None, ""),
        ("'1'", None, "1"),
        ("a # c", None, "a"),
        ("[1, 2]", None, [1, 2]),
        ("[]", None, []),
        ("['a', 'b']", None, ["a", "b"]),
        ("[1", None, "[1"),
        ("$(var i)", None, 1),
        ("'$(var i)'", None, 1),
        ("-$(var i)", None, -1),
        ("$(var i)$(var i)", None, 11),
        ("$(var l)", None, [1, 2]),
        ("$(var e)", None, ""),
        ("[$(var i), 2]", None, [1, 2]),
        ("[$(var t), x]", None, ["two words", "x"]),
        ("[1.5, $(var f)]", None, [1.5, 2.5]),
        ("1", "str", "1"),
        ("$(var i)", "str", "1"),
        ("7", "int", 7),
        ("$(var i)", "int", 1),
        ("7", "float", 7.0),
        ("$(var i)", "float", 1.0),
        ("1", "bool", True),
        ("$(var b)", "bool", True),
        ("[1, 2]", "yaml", [1, 2]),
        ("[1, $(var i)]", "list_of_int", [1, 1]),
        ("[$(var f), $(var f)]", "list_of_float", [2.5, 2.5]),
        ("[]", "list_of_str", []),
    ],
)
def test_values(source: str, type_name: str | None, expected: EvaluatedValue) -> None:
    value = evaluated(source, type_name)
    assert value == expected
    assert type(value) is type(expected)
    if isinstance(value, list) and isinstance(expected, list):
        assert [type(member) for member in value] == [type(member) for member in expected]


def test_not_a_number_is_a_float() -> None:
    value = evaluated(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("source", "type_name"),
    [
        ("null", None),
        ("{a: 1}", None),
        ("[[1]]", None),
        ("[1, 2.5]", None),
        ("[1, true]", None),
        ("[true, 1]", None),
        ("[a, 1]", None),
        ("[null]", None),
        ("2024-01-01", None),
        ("a: b", None),
        ("[1, $(var f)]", None),
        ("[$(var i), $(var t)]", None),
        ("[$(var l)]", None),
        ("1.5", "int"),
        ("x", "int"),
        ("$(var f)", "int"),
        ("x", "float"),
        ("2", "bool"),
        ("x", "bool"),
        ("$(var i)", "list_of_int"),
        ("[1, 2]", "list_of_float"),
        ("[1, $(var f)]", "list_of_int"),
        ("[]", "list_of_int"),
        ("1", "list_of_int"),
    ],
)
def test_refused(source: str, type_name: str | None) -> None:
    with pytest.raises(ValueError, match=r"value|list"):
        evaluated(source, type_name)
