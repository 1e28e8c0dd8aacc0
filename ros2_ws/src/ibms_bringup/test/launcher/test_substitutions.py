# SPDX-License-Identifier: Apache-2.0
"""Grammar of substitutions; expected values were taken from launch's own parser."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_bringup.launcher.substitutions import (
    SUPPORTED,
    Call,
    SubstitutionError,
    Template,
    Text,
    parse_template,
)


def var(*arguments: str) -> Call:
    return Call("var", tuple((Text(argument),) for argument in arguments))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", (Text(""),)),
        ("$", (Text("$"),)),
        ("a$b", (Text("a$b"),)),
        (r"a\b", (Text("ab"),)),
        ("a\\", (Text("a\\"),)),
        (r"a\$(var x)", (Text("a$(var x)"),)),
        (r"a\\$(var x)", (Text(r"a\$(var x)"),)),
        ("$(var x)", (var("x"),)),
        ("$(dirname)/x", (Call("dirname", ()), Text("/x"))),
        ("$(var x)y$(var z)", (var("x"), Text("y"), var("z"))),
        ("$(var 'a b' c)", (var("a b", "c"),)),
        (r'$(var "a\"b")', (var('a"b'),)),
        (r"$(var 'a\'b')", (var("a'b"),)),
        (r"$(var a\)b)", (var("a)b"),)),
        (r"$(var a\ b)", (Call("var", ((Text("a\\"),), (Text("b"),))),)),
        ("$(var a$b)", (var("a$b"),)),
        ("$(var x '')", (Call("var", ((Text("x"),), ())),)),
        ("$(var x '(a)')", (var("x", "(a)"),)),
        ("$(var A=$(var b)c)", (Call("var", ((Text("A="), var("b"), Text("c")),)),)),
        ("$(var x 'q $(var z)')", (Call("var", ((Text("x"),), (Text("q "), var("z")))),)),
        ("$(var a\tb)", (var("a\tb"),)),
    ],
)
def test_grammar(source: str, expected: Template) -> None:
    assert parse_template(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("$(", "expected the name"),
        ("$( var a)", "expected the name"),
        ("$(var a", "missing closing ')'"),
        ("$(var a  b)", "exactly one space"),
        ("$(var a )", "exactly one space"),
        ("$(var a'b)", 'unexpected "\'"'),
        ("$(var 'x'y)", "unexpected 'y'"),
        ("$(var 'x)", "missing closing '"),
        ("$(var (a))", "exactly one space"),
        ("$(var a(b))", "unexpected '('"),
        (r"$(var a\)", "missing closing ')'"),
        ("$(dirname x)", "takes 0 argument(s), found 1"),
        ("$(var a b c)", "takes 1 or 2 argument(s), found 3"),
        ("a $(foo)", "unknown substitution $(foo); supported: var, env,"),
    ],
)
def test_errors_name_the_cause_and_the_column(source: str, message: str) -> None:
    with pytest.raises(SubstitutionError, match=re.escape(message)) as error:
        parse_template(source)
    assert re.search(r"at column \d+ of ", str(error.value))


_plain = st.text(st.characters(exclude_characters="\\\n", exclude_categories=["Cs"]), min_size=1)


def _merged(parts: list[Text | Call]) -> Template:
    """Adjacent texts as one, as the parser returns them."""
    merged: list[Text | Call] = []
    for part in parts:
        if isinstance(part, Text) and merged and isinstance(merged[-1], Text):
            merged[-1] = Text(merged[-1].text + part.text)
        else:
            merged.append(part)
    return tuple(merged)


def _calls(inner: st.SearchStrategy[Template]) -> st.SearchStrategy[Template]:
    def call(name: str, arguments: list[Template]) -> Call:
        fewest, most = SUPPORTED[name]
        return Call(name, tuple((arguments * 2)[:most][: max(fewest, len(arguments))]))

    calls = st.builds(call, st.sampled_from(sorted(SUPPORTED)), st.lists(inner, min_size=2))
    return st.lists(st.builds(Text, _plain) | calls, min_size=1, max_size=3).map(_merged)


_templates = st.recursive(st.builds(Text, _plain).map(lambda text: (text,)), _calls, max_leaves=8)


def _render(template: Template, special: str) -> str:
    """Write a template so that it must be read back: everything special gets a backslash."""
    result = ""
    for part in template:
        if isinstance(part, Text):
            result += re.sub(f"([{re.escape(special)}])", r"\\\1", part.text)
        else:
            words = [_render(a, "$()'\"") for a in part.arguments]
            result += f"$({' '.join([part.name, *words])})"
    return result


def _has_space(template: Template, top: bool = True) -> bool:
    """Whether an unquoted argument would hold a space, which no backslash allows."""
    return any(
        " " in part.text and not top
        if isinstance(part, Text)
        else any(_has_space(argument, False) for argument in part.arguments)
        for part in template
    )


@given(_templates.filter(lambda template: not _has_space(template)))
def test_what_is_written_is_read_back(template: Template) -> None:
    assert parse_template(_render(template, "$")) == template


@given(_plain, _plain)
def test_quotes_protect_everything_but_themselves(name: str, default: str) -> None:
    source = "$(var '{}' \"{}\")".format(
        re.sub(r"(['$])", r"\\\1", name), re.sub(r'(["$])', r"\\\1", default)
    )
    assert parse_template(source) == (var(name, default),)


@given(st.text(st.sampled_from("$() '\"\\avr1") | st.characters(), max_size=30))
def test_any_text_is_parsed_or_refused(source: str) -> None:
    try:
        parts = parse_template(source)
    except SubstitutionError:
        return
    assert parts
    assert not any(
        isinstance(a, Text) and isinstance(b, Text) for a, b in itertools.pairwise(parts)
    )
