# SPDX-License-Identifier: Apache-2.0
"""Tests of naming and installing what the operating system must bring."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frontdoor import system_packages
from frontdoor.errors import FrontDoorError
from frontdoor.system_packages import Missing

VENV = Missing("Python's venv module", "python3.11-venv")
HEADERS = Missing("Python's C headers", "python3.11-dev")
COMPILER = Missing("a C++ compiler", "g++")


def test_all_are_named_in_one_sentence_with_one_command() -> None:
    assert system_packages.sentence([VENV, HEADERS, COMPILER], has_apt=True) == (
        "Python's venv module, Python's C headers and a C++ compiler are missing; install with: "
        "sudo apt-get install -y --no-install-recommends python3.11-venv python3.11-dev g++"
    )


def test_one_is_named_in_the_singular() -> None:
    text = system_packages.sentence([COMPILER], has_apt=False)
    assert text == "a C++ compiler is missing; install with your system's package manager"


def test_missing_compiler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert COMPILER in system_packages.find_missing(Path(sys.executable))


def test_nothing_missing_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_packages, "find_missing", lambda _: [])
    system_packages.ensure(Path(sys.executable))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    made: list[list[str]] = []

    def record(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        made.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", record)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return made


def test_user_gets_the_sentence(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> None:
    monkeypatch.setattr(system_packages, "find_missing", lambda _: [HEADERS, COMPILER])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FrontDoorError, match=r"^Python's C headers and .*python3\.11-dev g\+\+\.$"):
        system_packages.ensure(Path(sys.executable))
    assert calls == []


def test_root_says_so_and_installs(
    monkeypatch: pytest.MonkeyPatch, calls: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([[HEADERS], []])
    monkeypatch.setattr(system_packages, "find_missing", lambda _: next(answers))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    system_packages.ensure(Path(sys.executable))
    assert calls[-1][-1] == "python3.11-dev"
    assert "running that now, as root" in capsys.readouterr().out


def test_installation_that_changes_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]
) -> None:
    monkeypatch.setattr(system_packages, "find_missing", lambda _: [HEADERS])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(FrontDoorError, match="still missing"):
        system_packages.ensure(Path(sys.executable))
    assert len(calls) == 2
