# SPDX-License-Identifier: Apache-2.0
"""Tests of parts of the set-up; the whole of it is tested by a fresh clone."""

from pathlib import Path

from frontdoor.installer import remove_dangling_links


def test_links_to_renamed_files_go_and_all_else_stays(tmp_path: Path) -> None:
    source = tmp_path / "source.xml"
    source.touch()
    installed = tmp_path / "install" / "share"
    installed.mkdir(parents=True)
    (installed / "kept.xml").symlink_to(source)
    (installed / "chain.xml").symlink_to(installed / "gone.xml")
    (installed / "gone.xml").symlink_to(tmp_path / "renamed.xml")
    (installed / "file.xml").touch()
    remove_dangling_links(tmp_path / "install")
    assert sorted(path.name for path in installed.iterdir()) == ["file.xml", "kept.xml"]
    remove_dangling_links(tmp_path / "never_built")
