# SPDX-License-Identifier: Apache-2.0
"""Tests of what is checked together."""

from pathlib import Path

from frontdoor import lint


def test_equal_test_names_are_checked_apart(tmp_path: Path) -> None:
    for package in ("a", "b"):
        for name in ("setup.py", f"{package}/x.py", "test/test_x.py"):
            path = tmp_path / "src" / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "src/msgs").mkdir()
    (tmp_path / "frontdoor").mkdir()
    (tmp_path / "frontdoor/cli.py").touch()
    assert lint.type_check_groups(tmp_path, tmp_path / "src") == {
        "packages": ["frontdoor", "src/a/a", "src/b/b"],
        "src/a/test": ["src/a/test"],
        "src/b/test": ["src/b/test"],
    }
