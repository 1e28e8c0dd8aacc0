# SPDX-License-Identifier: Apache-2.0
"""Tests of what `./ibms test` runs and how it judges it."""

from pathlib import Path

import pytest

from frontdoor import testing
from frontdoor.errors import FrontDoorError
from frontdoor.testing import Outcome, Part

UNIT = Part("unit", ("src/*/test", "tests/frontdoor"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("src/a/test/test_x.py", "src/b/test/test_x.py", "tests/frontdoor/test_y.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    (tmp_path / "src/c/test").mkdir(parents=True)
    return tmp_path


def test_part_is_all_its_folders_with_tests(root: Path) -> None:
    found = testing.selected_paths(UNIT, [], root)
    assert found == [root / "src/a/test", root / "src/b/test", root / "tests/frontdoor"]


def test_absent_folders_are_no_part(root: Path) -> None:
    assert testing.selected_paths(Part("graph", ("tests/graph",)), [], root) == []


def test_wanted_file_selects_itself_and_wanted_folder_all_below(root: Path) -> None:
    file = root / "src/a/test/test_x.py"
    assert testing.selected_paths(UNIT, [file], root) == [file]
    assert testing.selected_paths(UNIT, [root / "src"], root) == [
        root / "src/a/test", root / "src/b/test",
    ]  # fmt: skip
    assert testing.selected_paths(UNIT, [root / "docs"], root) == []


def test_page_with_a_doctest_is_a_test(root: Path) -> None:
    docs = Part("docs", ("docs",))
    (root / "docs").mkdir()
    (root / "docs" / "page.md").write_text("# Page\n")
    assert testing.selected_paths(docs, [], root) == []
    (root / "docs" / "page.md").write_text("# Page\n\n>>> 1 + 1\n2\n")
    assert testing.selected_paths(docs, [], root) == [root / "docs"]


def test_arguments_are_told_apart(root: Path) -> None:
    chosen = testing.parse(["--long", "-k", "src", "-x", "src/a/test/test_x.py::test_z"], root)
    assert chosen.is_long
    assert chosen.passed_on == ("-k", "src", "-x")
    assert chosen.paths == (root / "src/a/test/test_x.py::test_z",)
    assert chosen.is_partial
    assert not testing.parse(["--long", "-x"], root).is_partial


def test_missing_path_is_refused(root: Path) -> None:
    with pytest.raises(FrontDoorError, match="tests/nowhere does not exist"):
        testing.parse(["tests/nowhere"], root)


@pytest.mark.parametrize(
    ("output", "line", "counts"),
    [
        ("x\n===== 3 passed in 0.21s =====\n", "3 passed in 0.21s", {"passed": 3}),
        (
            "\x1b[31m= \x1b[1m1 failed\x1b[0m, 2 errors, 4 deselected in 65.01s (0:01:05) ==\n",
            "1 failed, 2 errors, 4 deselected in 65.01s (0:01:05)",
            {"failed": 1, "errors": 2, "deselected": 4},
        ),
        ("Killed\n", "", {}),
    ],
)
def test_closing_line_is_read(output: str, line: str, counts: dict[str, int]) -> None:
    assert testing.closing_line(output) == line
    assert testing.read_counts(line) == counts


def outcome(*, is_good: bool = True, **counts: int) -> Outcome:
    return Outcome("unit", 1.0, is_good, "closing line", counts)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([outcome(passed=1)], 0),
        ([outcome(passed=1), outcome(is_good=False)], 1),
        ([outcome(passed=1), outcome(is_good=False, failed=1)], 1),
        ([outcome(skipped=3)], 1),
        ([outcome()], 1),
        ([], 1),
    ],
)
def test_failure_and_no_test_at_all_are_failures(outcomes: list[Outcome], code: int) -> None:
    assert testing.report(outcomes) == code


def test_closing_lines_are_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    testing.report([outcome(passed=1)])
    assert "closing line" in capsys.readouterr().out


def test_domain_with_a_used_port_is_left_out() -> None:
    assert testing.free_domain(set(), 0) == 1
    assert testing.free_domain({7400 + 250}, 0) == 2
    assert testing.free_domain({7400 + 250 * 2 - 1}, 0) == 2
    assert testing.free_domain({7400 + 250 * 101}, 100) == 1
    assert all(1 <= testing.free_domain(set(), pid) <= 101 for pid in range(300))


def test_no_free_domain_is_an_error() -> None:
    with pytest.raises(FrontDoorError, match="in use"):
        testing.free_domain({7400 + 250 * domain for domain in range(1, 102)}, 0)
