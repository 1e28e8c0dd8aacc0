# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_tools.record import full_name, main


def test_names_are_relative_to_the_pack() -> None:
    assert full_name("cells/state", "battery") == "/battery/cells/state"
    assert full_name("cells/state", "/fleet/battery/") == "/fleet/battery/cells/state"
    assert full_name("/diagnostics", "battery") == "/diagnostics"


def test_a_topic_outside_the_manifest_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cells/colour", "-o", str(tmp_path / "bag")]) == 2
    error = capsys.readouterr().err
    assert "'cells/colour' is not in the manifest" in error
    assert "cells/measurement" in error
    assert not (tmp_path / "bag").exists()


def test_an_existing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", str(tmp_path)]) == 1
    assert "exists already and is not overwritten" in capsys.readouterr().err
