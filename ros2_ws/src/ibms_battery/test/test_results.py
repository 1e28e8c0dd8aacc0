# SPDX-License-Identifier: Apache-2.0
"""Tests of the shape of measured figures."""

import json
import math
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery import results
from ibms_battery.results import Machine, Report, Result, ResultsError

MACHINE = Machine(cpu="A CPU | with a bar", cores=2, python="3.11.2")
P99 = Result("reaction.over_voltage.p99", 12.3456, "ms", "<= 15", "96 cells, 2 min")


def report(*figures: Result) -> Report:
    return Report("./ibms bench graph", "abc123", MACHINE, figures)


def as_data(*figures: Result) -> dict[str, object]:
    data: dict[str, object] = json.loads(json.dumps(report(*figures).as_json()))
    return data


@pytest.mark.parametrize(
    ("value", "target", "met"),
    [
        (15.0, "<= 15", True),
        (15.1, "<= 15", False),
        (15.0, "< 15", False),
        (1.0, ">= 0.5", True),
        (-2.0, "> -1e0", False),
        (0.0, "== 0", True),
        (3.0, None, None),
        (None, "<= 15", False),
        (None, None, None),
    ],
)
def test_met_follows_from_value_and_target(
    value: float | None, target: str | None, met: bool | None
) -> None:
    assert Result("a.b", value, "s", target).met is met


@pytest.mark.parametrize(
    ("name", "value", "target", "words"),
    [
        ("two words", 1.0, None, "dotted words"),
        ("a..b", 1.0, None, "dotted words"),
        ("a.b", math.nan, None, "a.b: value is nan"),
        ("a.b", math.inf, "<= 1", "a.b: value is inf"),
        ("a.b", 1.0, "at most 5", "expected a bound"),
        ("a.b", 1.0, "<=5", "expected a bound"),
    ],
)
def test_unreadable_figures_are_refused(
    name: str, value: float, target: str | None, words: str
) -> None:
    with pytest.raises(ResultsError, match=words):
        Result(name, value, "s", target)


def test_figures_of_one_name_are_refused() -> None:
    with pytest.raises(ResultsError, match="p99 stands there twice"):
        report(P99, P99)


@given(
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    target=st.none() | st.builds("{} {}".format, st.sampled_from(["<=", ">"]), st.integers()),
    context=st.text(),
)
def test_written_figures_are_read_back(
    value: float | None, target: str | None, context: str
) -> None:
    written = report(Result("a.b", value, "V", target, context))
    assert results.parse(json.loads(json.dumps(written.as_json()))) == written


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    results.write(report(P99), path)
    assert results.read(path) == report(P99)
    assert json.loads(path.read_text())["results"][0] == {
        "name": "reaction.over_voltage.p99",
        "value": 12.3456,
        "unit": "ms",
        "target": "<= 15",
        "met": True,
        "context": "96 cells, 2 min",
    }


def test_truncated_file_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text('{"command":\n')
    with pytest.raises(ResultsError, match=r"graph\.json: line 2: not JSON"):
        results.read(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("command", 5, "command: found 5, expected str"),
        ("machine", {"cpu": "x"}, "machine: found keys"),
        ("machine", {"cpu": "x", "cores": True, "python": "3"}, r"machine.cores: found True"),
        ("results", {}, "results: found {}, expected list"),
        ("results", [5], r"results\[0\]: found int, expected an object"),
        ("extra", 1, "file: found keys"),
    ],
)
def test_wrong_shape_is_named(key: str, value: object, words: str) -> None:
    with pytest.raises(ResultsError, match=words):
        results.parse(as_data(P99) | {key: value})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("value", "12", r"results\[0\].value: found '12', expected int or float"),
        ("value", True, r"results\[0\].value: found True"),
        ("target", 15, r"results\[0\].target: found 15, expected str"),
        ("met", False, "met: found False, expected True: reaction.over_voltage.p99 is 12.3456"),
        ("met", 1, "met: found 1, expected True"),
        ("context", None, "context: found None, expected str"),
    ],
)
def test_wrong_figure_is_named(key: str, value: object, words: str) -> None:
    figure = {**json.loads(json.dumps(report(P99).as_json()))["results"][0], key: value}
    with pytest.raises(ResultsError, match=words):
        results.parse(as_data() | {"results": [figure]})


def test_page_shows_every_figure_with_its_command() -> None:
    missed = Result("cpu.graph", 1.5, "cores", "< 1", "a | b")
    page = results.to_markdown({"graph": report(P99, missed, Result("scans", 30000, ""))})
    assert "## graph" in page
    assert "`./ibms bench graph` at commit abc123" in page
    assert "| `reaction.over_voltage.p99` | 12.35 | ms | <= 15 | yes | 96 cells, 2 min |" in page
    assert "| `cpu.graph` | 1.5 | cores | < 1 | **no** | a \\| b |" in page
    assert "| `scans` | 30000 |  |  |  |  |" in page


def test_figures_of_columns_stand_in_one_table() -> None:
    figures = (
        Result("25.mean.known", 0.5, "%", None, "2 runs; errors in %"),
        Result("25.mean.mid", 0.7, "%", "<= 0.6", "2 runs; errors in %"),
        Result("0.mean.mid", 0.4, "%", "<= 0.6", "3 runs; errors in %"),
        Result("seconds", 3.0, "s"),
    )
    whole = Report("./ibms eval soc", "abc", MACHINE, figures, ("known", "mid"))
    assert results.parse(json.loads(json.dumps(whole.as_json()))) == whole
    page = results.to_markdown({"soc": whole})
    assert "errors in %\n" in page
    assert "| figure [%] | known | mid | of |" in page
    assert "| `25.mean` | 0.5 | **0.7** (<= 0.6) | 2 runs |" in page
    assert "| `0.mean` |  | 0.4 (<= 0.6) | 3 runs |" in page
    assert "| `seconds` | 3 | s |  |  |  |" in page


def test_comparison_shows_ratio_only_where_it_means_something() -> None:
    first = report(Result("a", 2.0, "s"), Result("b", 0.0, "s"), Result("c", 1.0, "s"))
    second = report(Result("a", 3.0, "s"), Result("b", 1.0, "s"), Result("c", 1.0, "ms"))
    rows = {line.split()[0]: line.split() for line in results.compare(first, second).splitlines()}
    assert rows["a"] == ["a", "2", "3", "1.500", "s"]
    assert rows["b"] == ["b", "0", "1", "-", "s"]
    assert rows["c"] == ["c", "1", "1", "-", "s", "/", "ms"]


def test_comparison_keeps_figures_of_one_run_only() -> None:
    text = results.compare(report(Result("old", 1.0, "s")), report(Result("new", 2.0, "s")))
    rows = [line.split() for line in text.splitlines()[3:]]
    assert rows == [["old", "1", "-", "-", "s"], ["new", "-", "2", "-", "s"]]


def test_main_writes_the_page(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    results.write(report(P99), tmp_path / "results" / "graph.json")
    assert results.main(["--write", str(tmp_path)]) == 0
    assert "reaction.over_voltage.p99" in (tmp_path / "docs" / "results.md").read_text()


def test_main_refuses_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(["--write", str(tmp_path)]) == 1
    assert "there is no *.json" in capsys.readouterr().err


def test_main_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    results.write(report(P99), path)
    assert results.main(["--compare", str(path), str(path)]) == 0
    assert "1.000" in capsys.readouterr().out


def test_machine_is_named() -> None:
    machine = results.this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.python.startswith("3.")


def test_commit_outside_of_a_checkout_is_unknown(tmp_path: Path) -> None:
    assert results.current_commit(tmp_path) == "unknown"


def test_commit_is_marked_where_files_differ_but_for_the_figures(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    source, figures = tmp_path / "package" / "source.py", tmp_path / "results" / "figures.json"
    for file in (source, figures):
        file.parent.mkdir()
        file.write_text("before")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    figures.write_text("after")
    commit = results.current_commit(source.parent)
    assert re.fullmatch("[0-9a-f]{12}", commit)
    source.write_text("after")
    assert results.current_commit(source.parent) == f"{commit}-dirty"
