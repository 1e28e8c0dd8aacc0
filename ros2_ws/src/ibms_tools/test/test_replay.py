# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_tools.replay import main


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "one of the arguments --node --graph is required"),
        (["--node", "switch_control"], "invalid choice: 'switch_control'"),  # it would open a bus
        (["--graph", "--output", "x"], "--output goes with --node"),
        (["--graph", "--rate", "0"], "--rate must be above 0"),
    ],
)
def test_a_wrong_call_is_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bag", *arguments])
    assert problem in capsys.readouterr().err


def test_a_missing_bag_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "bag"), "--node", "protection"]) == 1
    assert "bag: does not exist" in capsys.readouterr().err


def test_a_malformed_parameter_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--node", "protection", "--param", "pack"]) == 1
    assert "--param pack: expected NAME=VALUE" in capsys.readouterr().err
