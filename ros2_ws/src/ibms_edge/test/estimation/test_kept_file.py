# SPDX-License-Identifier: Apache-2.0
"""What is kept comes back whole or not at all."""

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibms_edge.estimation.kept_file import KeptFile


def kept(path: Path, body: bytes) -> None:
    file = KeptFile(path)
    file.start()
    file.keep(lambda: body)
    file.stop()
    assert file.problem == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.binary(max_size=1000))
def test_what_was_kept_is_read(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "folder" / "file"
    kept(path, body)
    file = KeptFile(path)
    assert file.read() == body
    assert file.problem == ""


def test_nothing_kept_is_no_problem(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "file")
    assert file.read() is None
    assert file.problem == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_any_damage_is_told_and_ignored(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "file"
    kept(path, bytes(range(100)))
    whole = path.read_bytes()
    where = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:where])
    else:
        flipped = bytearray(whole)
        flipped[where] ^= data.draw(st.integers(1, 255))
        path.write_bytes(flipped)
    file = KeptFile(path)
    assert file.read() is None
    assert str(path) in file.problem
    assert "ignored" in file.problem


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    file = KeptFile(tmp_path / "file")
    assert file.read() is None
    assert "cannot be read" in file.problem
    file.start()
    file.keep(lambda: b"body")
    file.stop()
    assert "cannot be written" in file.problem


def test_it_is_written_in_a_thread_of_its_own_and_the_newest_wins(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "file")
    threads: list[int] = []

    def encode() -> bytes:
        threads.append(threading.get_ident())
        return b"new"

    file.start()
    file.keep(lambda: b"old")
    file.keep(encode)
    file.stop()
    file.stop()
    assert threads == [threads[0]] != [threading.get_ident()]
    assert file.read() == b"new"
    assert not list(tmp_path.glob("*.new"))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "file")
    file.start()
    file.keep(lambda: b"first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", _full)
        file.keep(lambda: b"second")
        file.stop()
    assert "cannot be written: no space" in file.problem


def _full(_descriptor: int) -> None:
    raise OSError("no space")
