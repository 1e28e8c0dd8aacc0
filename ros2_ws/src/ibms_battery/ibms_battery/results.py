# SPDX-License-Identifier: Apache-2.0
"""Measured figures: the one JSON shape that every bench, eval and the demo's summary write.

A figure's `target` is a bound such as "<= 15"; `met` follows from it and is never claimed.
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TARGET = re.compile(r"(<=|>=|<|>|==) (-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_REPORT_KEYS = ("command", "commit", "machine", "results")
_OPTIONAL_REPORT_KEYS = ("columns",)
_MACHINE_TYPES = {"cpu": str, "cores": int, "python": str}
_RESULT_KEYS = ("name", "value", "unit", "target", "met", "context")
_HEADING = """\
# Measured results

Written by `./ibms results` from the files in `results/`; change those, not this page.
Each file is what the command above its table wrote with `--json FILE`.
"""


class ResultsError(ValueError):
    """A file of figures has another shape; the message names file, key, found and expected."""


@dataclass(frozen=True)
class Result:
    """One figure.

    `name` is dotted, such as `reaction.over_voltage.p99`; `value` is None where nothing could be
    measured, which never meets a target; `context` says under which conditions it holds.
    """

    name: str
    value: float | None
    unit: str
    target: str | None = None
    context: str = ""

    def __post_init__(self) -> None:
        """Refuse a name or target that nothing could read; raises ResultsError."""
        if not _NAME.fullmatch(self.name):
            raise ResultsError(f"name: found {self.name!r}, expected dotted words such as 'a.p99'")
        if self.value is not None and not math.isfinite(self.value):
            raise ResultsError(f"{self.name}: value is {self.value}, expected a number or None")
        if self.target is not None and not _TARGET.fullmatch(self.target):
            raise ResultsError(
                f"{self.name}: target is {self.target!r}, expected a bound such as '<= 15'"
            )

    @property
    def met(self) -> bool | None:
        """Whether the value keeps the target; None where there is no target."""
        if self.target is None:
            return None
        if self.value is None:
            return False
        match = _TARGET.fullmatch(self.target)
        assert match is not None
        bound = float(match[2])
        return {
            "<=": self.value <= bound,
            ">=": self.value >= bound,
            "<": self.value < bound,
            ">": self.value > bound,
            "==": self.value == bound,
        }[match[1]]


@dataclass(frozen=True)
class Machine:
    """Where the figures were measured."""

    cpu: str
    cores: int
    python: str


@dataclass(frozen=True)
class Report:
    """The figures of one run, with the command and commit that made them.

    Figures whose last word is one of ``columns`` stand in one table on the page: a line for each
    name before it.
    """

    command: str
    commit: str
    machine: Machine
    results: tuple[Result, ...]
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse two figures of one name; raises ResultsError."""
        seen: set[str] = set()
        for result in self.results:
            if result.name in seen:
                raise ResultsError(f"results: {result.name} stands there twice")
            seen.add(result.name)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that is written."""
        return {
            "command": self.command,
            "commit": self.commit,
            "machine": vars(self.machine),
            **({"columns": list(self.columns)} if self.columns else {}),
            "results": [
                {key: getattr(result, key) for key in _RESULT_KEYS} for result in self.results
            ],
        }


def measured(command: str, results: Sequence[Result], columns: Sequence[str] = ()) -> Report:
    """Return the report of a run that ended just now, on this machine and commit."""
    commit = current_commit(Path(__file__).resolve().parent)
    return Report(command, commit, this_machine(), tuple(results), tuple(columns))


def this_machine() -> Machine:
    """Name the processor, the cores this process may use, and the Python."""
    try:
        cpu_info = Path("/proc/cpuinfo").read_text()
    except OSError:
        cpu_info = ""
    match = re.search(r"^(?:model name|Model)\s*: (.*)$", cpu_info, re.MULTILINE)
    cpu = match[1] if match else platform.machine()
    return Machine(cpu, len(os.sched_getaffinity(0)), platform.python_version())


def current_commit(folder: Path) -> str:
    """Return the short commit of a checkout, marked if files differ, or 'unknown' without git.

    Figures of the run before, in ``results``, do not count as a difference.
    """
    git = ["git", "-C", str(folder)]
    head = [*git, "rev-parse", "--short=12", "HEAD"]
    differences = [*git, "diff", "--name-only", "HEAD", "--", ":/", ":(top,exclude)results"]
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            for command in (head, differences)
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def write(report: Report, path: Path) -> None:
    """Write one run's figures as JSON."""
    path.write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")


def read(path: Path) -> Report:
    """Read and check one run's figures; raises ResultsError, or OSError if there is no file."""
    try:
        return parse(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from error


def parse(data: object) -> Report:
    """Check the shape of decoded JSON; raises ResultsError with key, found and expected."""
    report = _checked(data, "file", _REPORT_KEYS, _OPTIONAL_REPORT_KEYS)
    machine = _checked(report["machine"], "machine", tuple(_MACHINE_TYPES))
    for key, kind in _MACHINE_TYPES.items():
        _expect(machine[key], f"machine.{key}", kind)
    for key in ("command", "commit"):
        _expect(report[key], key, str)
    _expect(report["results"], "results", list)
    results = [_parse_result(item, f"results[{i}]") for i, item in enumerate(report["results"])]
    columns = report.get("columns", [])
    _expect(columns, "columns", list)
    for i, column in enumerate(columns):
        _expect(column, f"columns[{i}]", str)
    return Report(
        report["command"], report["commit"], Machine(**machine), tuple(results), tuple(columns)
    )


def _parse_result(data: object, where: str) -> Result:
    item = _checked(data, where, _RESULT_KEYS)
    for key in ("name", "unit", "context"):
        _expect(item[key], f"{where}.{key}", str)
    if item["value"] is not None:
        _expect(item["value"], f"{where}.value", int, float)
    if item["target"] is not None:
        _expect(item["target"], f"{where}.target", str)
    fields = {key: item[key] for key in _RESULT_KEYS if key != "met"}
    result = Result(**fields)
    if item["met"] is not result.met:
        raise ResultsError(
            f"{where}.met: found {item['met']}, expected {result.met}: "
            f"{result.name} is {result.value} with target {result.target}"
        )
    return result


def _checked(
    data: object, where: str, keys: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ResultsError(f"{where}: found {type(data).__name__}, expected an object")
    if set(data) - set(optional) != set(keys):
        raise ResultsError(f"{where}: found keys {sorted(data)}, expected {sorted(keys)}")
    return data


def _expect(value: object, where: str, *kinds: type) -> None:
    # bool is an int in Python, but true is no number in a figure.
    if isinstance(value, bool) or not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ResultsError(f"{where}: found {value!r}, expected {names}")


def to_markdown(reports: Mapping[str, Report]) -> str:
    """Return the page of results: one table per file, in the order given."""
    sections = [_HEADING]
    for name, report in reports.items():
        machine = report.machine
        lines = [
            f"## {name}\n",
            f"`{report.command}` at commit {report.commit}, "
            f"on {machine.cpu} ({machine.cores} cores), Python {machine.python}.\n",
        ]
        tabled = [one for one in report.results if _column(one) in report.columns]
        if tabled:
            lines += _pivot(tabled, report.columns)
        listed = [one for one in report.results if _column(one) not in report.columns]
        if listed:
            lines += [
                "| figure | value | unit | target | met | context |",
                "|---|--:|---|---|---|---|",
                *map(_line, listed),
            ]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _column(result: Result) -> str:
    return result.name.rpartition(".")[2]


def _line(result: Result) -> str:
    target = result.target or ""
    met = {None: "", True: "yes", False: "**no**"}[result.met]
    cells = [f"`{result.name}`", format_value(result.value), result.unit, target, met]
    row = [cell.replace("|", "\\|") for cell in [*cells, result.context]]
    return f"| {' | '.join(row)} |"


def _pivot(results: Sequence[Result], columns: Sequence[str]) -> list[str]:
    """Lines of a table with a line for each name but its last word, after its common context."""
    rows: dict[str, dict[str, Result]] = {}
    for result in results:
        rows.setdefault(result.name.rpartition(".")[0], {})[_column(result)] = result
    units = {result.unit for result in results}
    unit = f" [{units.pop()}]" if len(units) == 1 else ""
    contexts = [result.context.split("; ") for result in results]
    common: list[str] = []
    for parts in zip(*(reversed(context) for context in contexts), strict=False):
        if len(set(parts)) > 1:
            break
        common.insert(0, parts[0])
    notes = any(len(context) > len(common) for context in contexts)
    lines = ["; ".join(common) + "\n"] if common else []
    lines.append(f"| figure{unit} | {' | '.join(columns)} |{' of |' if notes else ''}")
    lines.append("|---|" + "--:|" * len(columns) + ("---|" if notes else ""))
    for name, found in rows.items():
        cells = [_cell(found.get(column)) for column in columns]
        context = next(iter(found.values())).context.split("; ")
        own = "; ".join(context[: len(context) - len(common)])
        lines.append(f"| `{name}` | {' | '.join(cells)} |{f' {own} |' if notes else ''}")
    return [*lines, ""]


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if result.target is None:
        return format_value(result.value)
    value = format_value(result.value)
    return f"{value if result.met else f'**{value}**'} ({result.target})"


def compare(first: Report, second: Report) -> str:
    """Return both runs side by side, with the ratio second to first."""
    before = {result.name: result for result in first.results}
    after = {result.name: result for result in second.results}
    names = list(dict.fromkeys([*before, *after]))
    width = max([len("figure"), *map(len, names)])
    lines = [
        f"A: {first.command} at {first.commit} on {first.machine.cpu}",
        f"B: {second.command} at {second.commit} on {second.machine.cpu}",
        f"{'figure':<{width}} {'A':>12} {'B':>12} {'B/A':>8}  unit",
    ]
    for name in names:
        a, b = before.get(name), after.get(name)
        units = list(dict.fromkeys(result.unit for result in (a, b) if result is not None))
        values = [result.value if result is not None else None for result in (a, b)]
        ratio = "-"
        if len(units) == 1 and values[0] and values[1] is not None:
            ratio = f"{values[1] / values[0]:.3f}"
        a_text, b_text = (format_value(value) for value in values)
        unit = " / ".join(units)
        lines.append(f"{name:<{width}} {a_text:>12} {b_text:>12} {ratio:>8}  {unit}")
    return "\n".join(lines)


def format_value(value: float | None) -> str:
    """Return a figure for people: four significant digits, whole numbers whole."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.4g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page of results of a checkout, or compare two files."""
    parser = argparse.ArgumentParser(prog="ibms results", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "--write", type=Path, metavar="ROOT", help="write ROOT/docs/results.md from ROOT/results"
    )
    action.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two JSON files")
    options = parser.parse_args(arguments)
    try:
        if options.compare:
            print(compare(*(read(path) for path in options.compare)))
            return 0
        paths = sorted((options.write / "results").glob("*.json"))
        if not paths:
            raise ResultsError(f"{options.write / 'results'}: there is no *.json to write from")
        page = options.write / "docs" / "results.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text(to_markdown({path.stem: read(path) for path in paths}))
        print(f"{page}: written from {len(paths)} files")
    except (ResultsError, OSError) as error:
        print(f"ibms results: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
