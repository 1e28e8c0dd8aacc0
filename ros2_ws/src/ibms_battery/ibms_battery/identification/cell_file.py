# SPDX-License-Identifier: Apache-2.0
"""Writing of cell files: YAML that people can read, one row of a table per line. No ROS."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import yaml

from ibms_battery.cell import Cell

_WIDTH = 100


def write_cell(cell: Cell, path: Path, comment: str) -> None:
    """Write a cell file that ``load_cell`` reads; raises OSError."""
    lines = [f"# {comment}", *_mapping(msgspec.to_builtins(cell), 0)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _mapping(values: dict[str, object], depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for key, value in values.items():
        match value:
            case None:
                continue
            case dict():
                lines += [f"{indent}{key}:", *_mapping(value, depth + 1)]
            case [list(), *_]:
                lines.append(f"{indent}{key}:")
                rows = cast(list[list[float]], value)
                for row in rows:
                    lines += _wrapped(f"{indent}  - ", _list(row))
            case list():
                lines += _wrapped(f"{indent}{key}: ", _list(value))
            case _:
                lines += _wrapped(f"{indent}{key}: ", _scalar(value))
    return lines


def _list(values: Sequence[object]) -> str:
    return "[" + ", ".join(_scalar(value) for value in values) + "]"


def _scalar(value: object) -> str:
    if isinstance(value, float):
        return _number(value)
    text = yaml.safe_dump(value, width=1_000_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _number(value: float) -> str:
    text = repr(value)
    # YAML 1.1 takes 1e-05 for text: a number needs a point.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _wrapped(start: str, text: str) -> list[str]:
    inner = " " * (len(start) - len(start.lstrip()) + 2)
    return textwrap.wrap(
        start + text,
        _WIDTH,
        subsequent_indent=inner,
        break_long_words=False,
        break_on_hyphens=False,
    )
