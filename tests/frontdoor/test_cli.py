# SPDX-License-Identifier: Apache-2.0
"""Tests of the command line as a user meets it."""

import subprocess
import sys
from pathlib import Path

import pytest

from frontdoor import cli, tools
from frontdoor.errors import FrontDoorError
from frontdoor.paths import ROOT


def ibms(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "ibms", *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_help_names_every_command() -> None:
    result = ibms("--help")
    assert result.returncode == 0
    commands = [
        "setup",
        "demo",
        "up",
        "test",
        "lint",
        "bench",
        "eval",
        "identify",
        "tune",
        "record",
        "replay",
        "why",
        "cells-to-bag",
        "results",
        "doctor",
    ]
    assert list(cli.COMMANDS) == commands
    for name in commands:
        assert f"\n  {name} " in result.stdout


def test_no_command_shows_the_help_and_fails() -> None:
    result = ibms()
    assert result.returncode == 2
    assert "usage: ./ibms" in result.stdout


def test_unknown_command_lists_the_known() -> None:
    result = ibms("tset")
    assert result.returncode == 2
    assert "unknown command 'tset'" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_argument_is_refused() -> None:
    result = ibms("setup", "--fast")
    assert result.returncode == 1
    assert result.stderr == "ibms: setup: unknown argument --fast; it knows only --print-env.\n"


def test_too_old_python_gets_one_sentence(tmp_path: Path) -> None:
    """Runs the launcher alone, without a set-up beside it and with no Python in PATH."""
    (tmp_path / "ibms").write_bytes((ROOT / "ibms").read_bytes())
    for name in ("dirname", "readlink", "id"):
        target = Path("/usr/bin", name)
        (tmp_path / name).symlink_to(target)
    result = subprocess.run(
        ["/bin/sh", tmp_path / "ibms", "setup"],
        env={"PATH": str(tmp_path), "IBMS_PYTHON_TRIED": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith("ibms: Python 3.11 or newer is needed")
    assert result.stderr.count("\n") == 1


def test_errors_become_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise FrontDoorError("The disk is full.")

    monkeypatch.setitem(cli.COMMANDS, "up", cli.Command("", "", fail))
    assert cli.main(["up"]) == 1
    assert capsys.readouterr().err == "ibms: The disk is full.\n"


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bench"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Benches."""\n')
    (folder / "graph.py").write_text(
        '"""CPU and lateness of the graph.\n\nMore."""\n'
        'parser.add_argument("--json")\nif __name__ == "__main__":\n    main()\n'
    )
    (folder / "observer.py").write_text('"""A helper."""\nif __name__ == "__main__":\n    run()\n')
    monkeypatch.setattr(tools, "_TOOLS", tmp_path)
    return folder


def test_bench_alone_lists_what_exists(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tools.run_named("bench", []) == 0
    output = capsys.readouterr().out
    assert "  graph  CPU and lateness of the graph.\n" in output
    assert "observer" not in output


def test_unknown_bench_lists_what_exists(benches: Path) -> None:
    with pytest.raises(FrontDoorError, match=r"'grpah' does not exist; there are:\n  graph"):
        tools.run_named("bench", ["grpah"])


def test_bench_passes_its_arguments_on(benches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []

    def execute(module: str, arguments: list[str]) -> int:
        called.extend([module, *arguments])
        return 0

    monkeypatch.setattr(tools, "execute", execute)
    assert tools.run_named("bench", ["graph", "--json", "out.json"]) == 0
    assert called == ["ibms_tools.bench.graph", "--json", "out.json"]


def test_missing_module_is_said_honestly(benches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "ROOT", benches.parent.parent)
    with pytest.raises(FrontDoorError, match=r"`record` is not part of .*record\.py"):
        tools.run("record", [])


def test_front_door_needs_the_standard_library_only() -> None:
    modules = sorted(path.stem for path in (ROOT / "frontdoor").glob("[a-z]*.py"))
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + "".join(
        f"import frontdoor.{name}\n" for name in modules
    )
    subprocess.run([sys.executable, "-SEc", code], check=True)
