# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from ibms_battery import configuration
from ibms_battery.configuration import ConfigurationError


class Part(Struct, forbid_unknown_fields=True):
    size: Annotated[float, Meta(gt=0)]
    note: str = ""


class Whole(Struct, forbid_unknown_fields=True):
    name: str
    count: int = 0
    parts: list[Part] = []
    named: dict[str, Part] = {}


def load(tmp_path: Path, text: str | bytes) -> Whole:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return configuration.load(path, Whole)


def test_a_good_file_loads(tmp_path: Path) -> None:
    whole = load(tmp_path, "name: a\nparts:\n  - {size: 1}\nnamed:\n  left: {size: 2.5}\n")
    assert whole.parts == [Part(1.0)]
    assert whole.named == {"left": Part(2.5)}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1", "is empty"),
        ("# only a comment\n", "1", "is empty"),
        ("~", "1", "Expected `object`"),
        ("just text", "1", "Expected `object`"),
        ("- a\n- b\n", "1", "Expected `object`"),
        ("name: a\ncount: many\n", "2: count", "found 'many'"),
        ("name: a\ncount: true\n", "2: count", "found True"),
        ("name: a\ncount: 1.5\n", "2: count", "found 1.5"),
        ("name: a\ncount: 2020-01-01\n", "2: count", "found datetime.date"),
        ("name: a\nother: 1\n", "2: other", "unknown field"),
        ("count: 1\n", "1", "missing required field `name`"),
        ("name: a\nparts:\n  - {size: 1}\n  - {size: 0}\n", "4: parts[1].size", "> 0.0, found 0"),
        ("name: a\nparts:\n  - {sise: 1}\n", "3: parts[0].sise", "unknown field"),
        ("name: a\nparts: 5\n", "2: parts", "found 5"),
        ("name: a\nnamed:\n  left: {size: -1}\n", "2: named", "> 0.0"),
        ("name: a\nname: b\n", "2: name", "stands twice"),
        ("name: a\nparts:\n  - size: 1\n    size: 2\n", "4: parts[0].size", "stands twice"),
        ("name: a\ncount: .nan\n", "2: count", "finite number"),
        ("name: a\nparts:\n  - {size: .inf}\n", "3: parts[0].size", "found inf"),
        ("name: [a\n", "2", "is not valid YAML"),
        ("name: a\n\tcount: 1\n", "2", "is not valid YAML"),
        ("name: a\n---\nname: b\n", "2", "another document"),
        ("name: &x a\nnote: *x\n", "2", "alias"),
        ("&x [*x]", "1", "alias"),
        ("name: a\n? [b]\n: 1\n", "2", "key that is no plain text"),
        ("name: a\ncount: 2001-99-99\n", "2", "cannot read '2001-99-99'"),
        ("name: a\ncount: !!int abc\n", "2", "cannot read 'abc'"),
        ("name: !!python/object:os.system a\n", "1", "could not determine a constructor"),
        ("name: a\ncount: " + "9" * 5000, "2", "cannot read"),
        ("name: a\nx: \x07\n", "2", "control characters"),
        ("[" * 30, "1", "nested deeper"),
        ("[" * 200_000, "1", "nested deeper"),
        ("{a: " * 5_000, "1", "nested deeper"),
        (b"name: \xff\xfe\n", None, "cannot be read"),
        (b"\x00\x00\x00", "1", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, place: str | None, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    start = f"{tmp_path}/file.yaml" + (f":{place}: " if place else ": ")
    assert str(caught.value).startswith(start)
    assert words in str(caught.value)
    assert len(str(caught.value)) < len(start) + 400


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            configuration.read(path)


def test_a_part_of_a_document_is_converted_with_its_full_key(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a:\n  - b: {size: 3}\n  - b: {size: big}\n")
    document = configuration.read(path)
    assert configuration.convert(document, Part, ["a", 0, "b"]) == Part(3.0)
    with pytest.raises(ConfigurationError, match=r":3: a\[1\]\.b\.size: .*found 'big'"):
        configuration.convert(document, Part, ["a", 1, "b"])
    with pytest.raises(ConfigurationError, match=r":1: a\[7\]\.b: Expected `object`"):
        configuration.convert(document, Part, ["a", 7, "b"])


YAML_SIGNS = "ab01:-[]{}&*!?|>'\"%@#,. \n\t~<=\\_eE+xn\x85\u2028"
YAML_TEXT = st.text(
    alphabet=YAML_SIGNS,
    max_size=60,
)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=YAML_TEXT)
@example(text="? ? ? a")
@example(text="<<: {a: 1}")
@example(text="=: 1")
@example(text="a: 0x_")
@example(text="a: 1:99:99")
def test_any_text_loads_or_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    try:
        load(tmp_path, text)
    except ConfigurationError:
        return


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=40))
def test_any_bytes_load_or_are_a_configuration_error(tmp_path: Path, data: bytes) -> None:
    try:
        load(tmp_path, b"name: a\n" + data)
    except ConfigurationError:
        return


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "count", "parts", "named", "size", "note"])
            | st.text(max_size=3)
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=TREES)
def test_any_tree_loads_or_is_a_configuration_error(tmp_path: Path, tree: object) -> None:
    try:
        whole = load(tmp_path, yaml.safe_dump(tree))
    except ConfigurationError:
        return
    assert msgspec.convert(tree, Whole) == whole
