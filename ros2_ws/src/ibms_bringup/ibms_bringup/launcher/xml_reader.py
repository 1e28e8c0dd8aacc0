# SPDX-License-Identifier: Apache-2.0
"""Reads an XML file into elements that know their line; refuses everything but plain elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from xml.parsers import expat

from .errors import LaunchError, Location


@dataclass(frozen=True)
class Element:
    """One XML element with the place where its start tag stands."""

    tag: str
    attributes: Mapping[str, str]
    children: tuple[Element, ...]
    location: Location


@dataclass
class _Open:
    tag: str
    attributes: Mapping[str, str]
    location: Location
    children: list[Element] = field(default_factory=list)


def read_xml(file: Path) -> Element:
    """Return the root element of `file`.

    Document types are refused, so that no entity is ever expanded and nothing outside of the
    file is read. Text between elements is refused too: it has no meaning in a launch file.

    Raises LaunchError with the line.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LaunchError(f"cannot read launch file {file}: {error.strerror}") from error
    parser = expat.ParserCreate()
    stack: list[_Open] = []
    roots: list[Element] = []

    def here() -> Location:
        return Location(file, parser.CurrentLineNumber)

    def start(tag: str, attributes: dict[str, str]) -> None:
        stack.append(_Open(tag, MappingProxyType(attributes), here()))

    def end(_tag: str) -> None:
        done = stack.pop()
        element = Element(done.tag, done.attributes, tuple(done.children), done.location)
        (stack[-1].children if stack else roots).append(element)

    def text(data: str) -> None:
        if not data.isspace():
            raise LaunchError(f"unexpected text {data.strip()!r} between elements", here())

    def doctype(name: str, _system: str | None, _public: str | None, _internal: bool) -> None:
        raise LaunchError(f"document type <!DOCTYPE {name}> is not supported: remove it", here())

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise LaunchError(
            f"malformed XML: {expat.ErrorString(error.code)}", Location(file, error.lineno)
        ) from error
    return roots[0]
