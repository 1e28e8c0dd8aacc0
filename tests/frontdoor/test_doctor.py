# SPDX-License-Identifier: Apache-2.0
"""Tests of the doctor's checks of the machine."""

import os
import resource
import shutil
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from frontdoor import doctor, system_packages
from frontdoor.system_packages import Missing
from frontdoor.world import World

HERE = World(None, "jazzy", Path("/usr/bin/python3"))


def test_line_says_how_to_mend() -> None:
    line = str(doctor.Finding("WARN", "disk", "full", "make room"))
    assert line == "WARN disk        full -> make room"


def test_missing_packages_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [Missing("a C++ compiler", "g++")]
    monkeypatch.setattr(system_packages, "find_missing", lambda _: missing)
    (finding,) = doctor.check_system_packages(HERE)
    assert finding.level == "FAIL"
    assert "g++" in finding.text


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "level"), [(10**8, "FAIL"), (10**11, "OK")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    monkeypatch.setattr(doctor, "STAMP", tmp_path / "none")
    assert doctor.check_disk().level == level


def test_kernel_without_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    finding = doctor.check_can()
    assert finding.level == "WARN"
    assert "EAFNOSUPPORT" in finding.text


def test_can_interfaces_are_told_by_their_type(tmp_path: Path) -> None:
    for name, kind in {"can0": "280\n", "eth0": "1\n", "vcan0": "280\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(kind)
    assert doctor.can_interfaces(tmp_path) == ["can0", "vcan0"]


def test_refused_priority_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    finding = doctor.check_priority()
    assert finding.level == "WARN"
    assert "rtprio 99" in finding.remedy


def test_priority_check_leaves_scheduling_as_it_was() -> None:
    before = os.sched_getscheduler(0)
    doctor.check_priority()
    assert os.sched_getscheduler(0) == before


def test_small_memlock_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_has_capability", lambda _: False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 * 1024 * 1024, -1))
    finding = doctor.check_memlock()
    assert finding.level == "WARN"
    assert "8192 KiB" in finding.text
    assert "memlock unlimited" in finding.remedy


def test_memory_can_be_locked_without_a_limit_or_with_the_capability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_has_capability", lambda _: True)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 * 1024 * 1024, -1))
    assert doctor.check_memlock().level == "OK"
    monkeypatch.setattr(doctor, "_has_capability", lambda _: False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert doctor.check_memlock().level == "OK"


@pytest.mark.parametrize(("cpus", "level"), [({2}, "WARN"), ({0, 3}, "OK")])
def test_cpus(monkeypatch: pytest.MonkeyPatch, cpus: set[int], level: str) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus)
    finding = doctor.check_cpus()
    assert finding.level == level
    assert finding.text.endswith(",".join(map(str, sorted(cpus))))


def test_doctor_runs_before_any_set_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "STAMP", tmp_path / "none")
    doctor.run([])
    topics = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert {"ros", "python", "disk", "can", "cpus", "priority", "memlock", "packages"} <= set(
        topics
    )
