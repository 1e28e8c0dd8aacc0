# SPDX-License-Identifier: Apache-2.0
"""Loading of YAML configuration into typed, checked structures.

The schema is the type itself: ``msgspec.Struct`` fields with ``Annotated[float, Meta(ge=...,
le=..., description=..., ...)]``. A wrong file is refused with file, line, key, the value found and
what was expected.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

T = TypeVar("T")

_PATH_TOKEN = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.+)`")
_DEEPEST = 20


class ConfigurationError(ValueError):
    """A configuration that must not be used; the text says where and how to mend it."""

    def __init__(self, file: str, line: int | None, key: str, problem: str) -> None:
        self.file = file
        self.line = line
        self.key = key
        self.problem = problem
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {key}: {problem}" if key else f"{place}: {problem}")


class Document:
    """A parsed YAML file that remembers the line of every key."""

    def __init__(self, file: str, root: yaml.Node, data: object) -> None:
        self.file = file
        self.data = data
        self._root = root

    def line_of(self, path: Sequence[str | int]) -> int:
        """Line (from 1) of the deepest part of ``path`` that exists in the file."""
        node = self._root
        line = node.start_mark.line
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line + 1

    def value_of(self, path: Sequence[str | int]) -> object:
        """Value at ``path``; ``None`` where it does not exist."""
        value = self.data
        for part in path:
            match value:
                case dict() if part in value:
                    value = value[part]
                case list() if isinstance(part, int) and part < len(value):
                    value = value[part]
                case _:
                    return None
        return value

    def error(self, path: Sequence[str | int], problem: str) -> ConfigurationError:
        """An error that points to ``path`` in this file."""
        return ConfigurationError(self.file, self.line_of(path), _key(path), problem)


class _Loader(yaml.CSafeLoader):
    """Safe loader that knows the line of a text that looks like a date or number and is none."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"cannot read {node.value!r:.60}: {error}", node.start_mark
            ) from error


def read(path: Path | str) -> Document:
    """Read a YAML file; see ``parse``.

    Raises:
        ConfigurationError: if it is missing, is not such YAML, or repeats a key.
    """
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not UTF-8 is a ValueError
        raise ConfigurationError(file, None, "", f"cannot be read: {error}") from error
    return parse(text, file)


def parse(text: str, file: str) -> Document:
    """Parse the text of a YAML file.

    Only what a configuration needs is taken: one document of nested mappings and lists with finite
    numbers, without anchors.

    Args:
        text: YAML.
        file: how errors name it.

    Raises:
        ConfigurationError: if it is not such YAML, or repeats a key.
    """
    try:
        _check_events(file, text)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        if root is None:
            raise ConfigurationError(file, 1, "", "is empty, expected a mapping")
        _check_keys(file, root, [])
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigurationError(file, line, "", f"is not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        # Gives the position of a control character, but no line.
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(file, line, "", f"is not valid YAML: {error.reason}") from error
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise ConfigurationError(file, line, "", "holds half a character (not UTF-8)") from error
    document = Document(file, root, data)
    _check_numbers(document, data, [])
    return document


def convert(document: Document, kind: type[T], path: Sequence[str | int] = ()) -> T:
    """Convert the part of ``document`` at ``path`` to ``kind``.

    Raises:
        ConfigurationError: with line, key, value found and what was expected.
    """
    try:
        return msgspec.convert(document.value_of(path), kind)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `")
        inner: list[str | int] = []
        for name, index in _PATH_TOKEN.findall(where.rstrip("`").partition("$")[2]):
            if index == "...":
                break
            inner.append(int(index) if index else name)
        if unknown := _UNKNOWN_FIELD.search(problem):
            inner.append(unknown.group(1))
        full = [*path, *inner]
        found = document.value_of(full)
        shown = "" if isinstance(found, dict | list) else f", found {found!r:.80}"
        raise document.error(full, f"{problem}{shown}") from error


def load(path: Path | str, kind: type[T]) -> T:
    """Read ``path`` and convert it to ``kind``; raises ``ConfigurationError``."""
    return convert(read(path), kind)


def _key(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line, value
    return None


def _check_events(file: str, text: str) -> None:
    """Refuse what must not even be composed: deep nesting would crash the parser."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            raise ConfigurationError(file, line, "", "holds an alias (*), write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise ConfigurationError(file, line, "", f"is nested deeper than {_DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_keys(file: str, node: yaml.Node, path: list[str | int]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigurationError(file, line, _key(path), "has a key that is no plain text")
            here = [*path, key.value]
            if key.value in seen:
                raise ConfigurationError(file, line, _key(here), "stands twice, remove one")
            seen.add(key.value)
            _check_keys(file, value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _check_keys(file, value, [*path, index])


def _check_numbers(document: Document, value: object, path: list[str | int]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise document.error(path, f"found {value}, expected a finite number")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(document, inner, [*path, key])
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_numbers(document, inner, [*path, index])
