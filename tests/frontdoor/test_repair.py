# SPDX-License-Identifier: Apache-2.0
"""Tests of the repair of the wheels' CMake files."""

from pathlib import Path

import pytest

from frontdoor import repair
from frontdoor.errors import FrontDoorError

STALE = (
    '  INTERFACE_INCLUDE_DIRECTORIES "/opt/python/cp311-cp311/include/python3.11;'
    '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include"\n'
)


def test_both_paths_are_replaced_once(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "std_msgs" / "cmake"
    folder.mkdir(parents=True)
    (folder / "export.cmake").write_text(STALE)
    (folder / "other.cmake").write_text("set(x 1)\n")
    assert repair.repair_cmake_files(tmp_path, "/inc", "/site") == 1
    assert (folder / "export.cmake").read_text() == (
        '  INTERFACE_INCLUDE_DIRECTORIES "/inc;/site/numpy/_core/include"\n'
    )
    assert repair.repair_cmake_files(tmp_path, "/inc", "/site") == 0


def test_path_of_another_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "a.cmake").write_text('set(L "/opt/python/cp311-cp311/lib/libx.so")\n')
    with pytest.raises(FrontDoorError, match=r"a\.cmake: unknown path .*libx\.so"):
        repair.repair_cmake_files(tmp_path, "/inc", "/site")
