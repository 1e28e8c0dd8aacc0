# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_end.afe.last_scan import LastScan


def test_kept_counter_is_read_again(tmp_path: Path) -> None:
    file = LastScan(tmp_path / "state" / "pack.last_scan")
    assert file.read() is None
    assert file.problem == ""
    for counter in (0, 4_294_967_295):
        file.keep(counter)
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
    file.keep(7)
    assert file.problem == ""
    assert file.read() == 7


def test_folder_that_cannot_be_written_is_a_problem_to_show(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder belongs")
    file = LastScan(tmp_path / "state" / "pack.last_scan")
    file.keep(7)
    assert "cannot be written" in file.problem
