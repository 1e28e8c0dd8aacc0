# SPDX-License-Identifier: Apache-2.0
r"""Parses text with `$(name argument ...)` substitutions, with the grammar of ROS 2 launch.

The rules, as in `launch/frontend/grammar.lark`:
- `$(` starts a substitution unless a backslash stands before it; `\x` means `x`.
- Only the substitutions in SUPPORTED are accepted. `$(eval)` is not: it runs any Python code.
- Arguments are separated by exactly one space. An argument is a run of characters and nested
  substitutions without spaces, quotes and parentheses (which a backslash allows), or is quoted
  as a whole with ' or ", and may then contain spaces, parentheses and substitutions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

# Name: fewest and most arguments.
SUPPORTED: dict[str, tuple[int, int]] = {
    "var": (1, 2),
    "env": (1, 2),
    "find-pkg-share": (1, 1),
    "find-pkg-prefix": (1, 1),
    "exec-in-pkg": (2, 2),
    "dirname": (0, 0),
    "equals": (2, 2),
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ESCAPE = re.compile(r"\\(.)")


class SubstitutionError(ValueError):
    """The text is no valid use of the supported substitutions."""


@dataclass(frozen=True)
class Text:
    """Literal text, escapes already resolved."""

    text: str


@dataclass(frozen=True)
class Call:
    """A substitution `$(name arguments...)`."""

    name: str
    arguments: tuple[Template, ...]


Template: TypeAlias = tuple[Text | Call, ...]


def unescape(text: str) -> str:
    r"""Replace `\x` by `x`, as ROS 2 launch does in every literal text."""
    return _ESCAPE.sub(r"\1", text)


def parse_template(source: str) -> Template:
    """Return the parts of `source`; adjacent literal characters form one Text.

    Raises SubstitutionError with the column where the text stops to make sense.
    """
    return _Parser(source).template(quote="")


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def template(self, quote: str) -> Template:
        """Text and substitutions up to the end, or up to the closing `quote`."""
        parts: list[Text | Call] = []
        start = self._at
        while self._at < len(self._source):
            if quote and self._plain(quote):
                break
            if self._plain("$("):
                self._add_text(parts, start)
                parts.append(self._call(quote))
                start = self._at
            else:
                self._at += 1
        else:
            if quote:
                raise self._error(f"missing closing {quote}")
        self._add_text(parts, start)
        if not parts and not quote:
            return (Text(""),)
        return tuple(parts)

    def _call(self, quote: str) -> Call:
        opening = self._at
        self._at += 2
        match = _NAME.match(self._source, self._at)
        if match is None:
            raise self._error("expected the name of a substitution after '$('")
        self._at = match.end()
        arguments: list[Template] = []
        while self._peek() == " ":
            self._at += 1
            arguments.append(self._argument(quote))
        if self._peek() == ")":
            self._check(match.group(), len(arguments), opening)
            self._at += 1
            return Call(match.group(), tuple(arguments))
        if self._peek() == "":
            self._at = opening
            raise self._error("missing closing ')' of the substitution")
        raise self._error(f"unexpected {self._peek()!r} in a substitution")

    def _argument(self, quote: str) -> Template:
        # Inside of quotes the grammar knows no second level of quotes.
        if not quote and self._peek() in ("'", '"'):
            inner = self._peek()
            self._at += 1
            parts = self.template(inner)
            self._at += 1
            return parts
        stops = quote or "'\""
        bare: list[Text | Call] = []
        start = self._at
        while self._at < len(self._source) and self._peek() != " ":
            if self._plain("$("):
                self._add_text(bare, start)
                bare.append(self._call(quote))
                start = self._at
            elif any(self._plain(character) for character in "()" + stops):
                break
            else:
                self._at += 1
        self._add_text(bare, start)
        if not bare:
            raise self._error("expected an argument (they are separated by exactly one space)")
        return tuple(bare)

    def _check(self, name: str, count: int, opening: int) -> None:
        if name in SUPPORTED:
            fewest, most = SUPPORTED[name]
            if fewest <= count <= most:
                return
            expected = str(fewest) if fewest == most else f"{fewest} or {most}"
            message = f"$({name}) takes {expected} argument(s), found {count}"
        else:
            message = f"unknown substitution $({name}); supported: {', '.join(SUPPORTED)}"
        self._at = opening
        raise self._error(message)

    def _plain(self, token: str) -> bool:
        """Whether `token` stands here without a backslash before it."""
        escaped = self._at > 0 and self._source[self._at - 1] == "\\"
        return not escaped and self._source.startswith(token, self._at)

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _add_text(self, parts: list[Text | Call], start: int) -> None:
        if self._at > start:
            parts.append(Text(unescape(self._source[start : self._at])))

    def _error(self, message: str) -> SubstitutionError:
        return SubstitutionError(f"{message}, at column {self._at + 1} of {self._source!r}")
