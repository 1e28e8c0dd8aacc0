# SPDX-License-Identifier: Apache-2.0
"""Tests of the decision whether set-up must run."""

from pathlib import Path

import pytest

from frontdoor import stamp
from frontdoor.stamp import Stamp

FULL = Stamp("d", "w", ["ibms_edge"], {"PYTHONPATH": ["/a", "/b"]})


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    for name, text in {
        "ibms_msgs/package.xml": "<package/>",
        "ibms_msgs/CMakeLists.txt": "project(ibms_msgs)",
        "ibms_msgs/msg/Cell.msg": "float32 voltage",
        "ibms_edge/package.xml": "<package/>",
        "ibms_edge/setup.py": "setup()",
        "ibms_edge/ibms_edge/node.py": "x = 1",
        "ibms_edge/test/test_node.py": "y = 1",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_stamp_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "stamp.json"
    stamp.write(path, FULL)
    assert stamp.read(path) == FULL
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"dependencies": "d"}', '{"other": 1}'])
def test_unreadable_stamp_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stamp.json"
    path.write_text(text)
    assert stamp.read(path) is None


def test_missing_stamp_counts_as_none(tmp_path: Path) -> None:
    assert stamp.read(tmp_path / "stamp.json") is None


@pytest.mark.parametrize(
    "name",
    ["ibms_msgs/package.xml", "ibms_msgs/CMakeLists.txt", "ibms_msgs/msg/Cell.msg",
     "ibms_edge/setup.py"],
)  # fmt: skip
def test_changed_definition_needs_a_build(sources: Path, name: str) -> None:
    before = stamp.workspace_hash(sources, {})
    (sources / name).write_text("changed")
    assert stamp.workspace_hash(sources, {}) != before


@pytest.mark.parametrize(
    "name", ["ibms_msgs/srv/Clear.srv", "ibms_edge/resource/ibms_edge", "ibms_new/package.xml"]
)
def test_new_file_needs_a_build(sources: Path, name: str) -> None:
    before = stamp.workspace_hash(sources, {})
    (sources / name).parent.mkdir(exist_ok=True)
    (sources / name).write_text("")
    assert stamp.workspace_hash(sources, {}) != before


def test_renamed_interface_needs_a_build(sources: Path) -> None:
    before = stamp.workspace_hash(sources, {})
    (sources / "ibms_msgs/msg/Cell.msg").rename(sources / "ibms_msgs/msg/Cells.msg")
    assert stamp.workspace_hash(sources, {}) != before


@pytest.mark.parametrize(
    "name",
    ["ibms_edge/ibms_edge/node.py", "ibms_edge/ibms_edge/other.py", "ibms_edge/test/data.yaml",
     "ibms_edge/ibms_edge/__pycache__/node.pyc", "ibms_edge/ibms_edge.egg-info/PKG-INFO",
     "ibms_edge/.pytest_cache/x"],
)  # fmt: skip
def test_python_code_and_tests_need_no_build(sources: Path, name: str) -> None:
    before = stamp.workspace_hash(sources, {})
    (sources / name).parent.mkdir(exist_ok=True)
    (sources / name).write_text("changed")
    assert stamp.workspace_hash(sources, {}) == before


def test_configuration_counts_by_name(sources: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    missing = stamp.workspace_hash(sources, {"config": config})
    config.mkdir()
    (config / "pack.yaml").write_text("a")
    before = stamp.workspace_hash(sources, {"config": config})
    (config / "pack.yaml").write_text("b")
    assert stamp.workspace_hash(sources, {"config": config}) == before
    assert before != missing


def test_dependencies_hash_knows_world_place_and_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1")
    before = stamp.dependencies_hash("wheels", tmp_path, [lock])
    assert stamp.dependencies_hash("wheels", tmp_path, [lock]) == before
    assert stamp.dependencies_hash("sourced", tmp_path, [lock]) != before
    assert stamp.dependencies_hash("wheels", tmp_path / "moved", [lock]) != before
    lock.write_text("a==2")
    assert stamp.dependencies_hash("wheels", tmp_path, [lock]) != before


def test_package_names_are_folders_with_a_package_xml(sources: Path) -> None:
    (sources / "notes").mkdir()
    assert stamp.package_names(sources) == ["ibms_edge", "ibms_msgs"]
