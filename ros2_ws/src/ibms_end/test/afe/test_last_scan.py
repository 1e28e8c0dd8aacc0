# SPDX-License-Identifier: Apache-2.0
import os
import threading
import time
from pathlib import Path

import pytest

from ibms_end.afe.last_scan import LastScan


def keep(file: LastScan, counter: int) -> None:
    """Keep it, until it is on the disk."""
    file.start()
    file.keep(counter)
    file.stop()


def test_kept_counter_is_read_again(tmp_path: Path) -> None:
    file = LastScan(tmp_path / "state" / "pack.last_scan")
    assert file.read() is None
    assert file.problem == ""
    for counter in (0, 4_294_967_295):
        keep(file, counter)
        assert LastScan(tmp_path / "state" / "pack.last_scan").read() == counter
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["pack.last_scan"]


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"-1", b"4294967296", b"1.5", b"\xff\xfe", "²".encode()]
)
def test_damaged_file_costs_history_only(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pack.last_scan"
    path.write_bytes(content)
    file = LastScan(path)
    assert file.read() is None
    assert str(path) in file.problem
    keep(file, 7)
    assert file.problem == ""
    assert file.read() == 7


def test_folder_that_cannot_be_written_is_a_problem_to_show(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder belongs")
    file = LastScan(tmp_path / "state" / "pack.last_scan")
    keep(file, 7)
    assert "cannot be written" in file.problem


def test_nobody_waits_for_a_disk_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = threading.Event()
    replace = os.replace

    def stand_still(source: Path, target: Path) -> None:
        moves.wait(10.0)
        replace(source, target)

    monkeypatch.setattr(Path, "replace", stand_still)
    file = LastScan(tmp_path / "pack.last_scan")
    file.start()
    start_s = time.monotonic()
    for counter in range(100):
        file.keep(counter)
    assert time.monotonic() - start_s < 0.5
    moves.set()
    file.stop()
    assert file.read() == 99
