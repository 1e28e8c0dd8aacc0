# SPDX-License-Identifier: Apache-2.0
"""A bag into the graph: over DDS, every input of every node counted."""

import json
from pathlib import Path

import pytest

from ibms_battery import results
from ibms_tools.replay import main

pytestmark = pytest.mark.graph


@pytest.mark.parametrize("rate", [1, 5])
def test_every_input_is_counted_and_equality_claimed_only_if_none_is_missing(
    rate: int,
    recorded: Path,
    robot_pack: Path,
    domain: int,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    figures = tmp_path / "figures.json"
    arguments = [str(recorded), "--graph", "--param", f"pack={robot_pack}"]
    code = main([*arguments, "--rate", str(rate), "--domain", str(domain), "--json", str(figures)])
    report = results.parse(json.loads(figures.read_text()))
    values = {result.name: result.value for result in report.results}
    output = capfd.readouterr().out
    for node, topic in (
        ("protection", "pack"),
        ("protection", "cells"),
        ("state_estimator", "cells"),
    ):
        assert f"{node}: 100 of 100 of {topic}/measurement\n" in output
    assert values["replay.graph.missing"] == 0
    assert values["replay.graph.stale"] == 0  # freshness follows the recorded time
    assert values["replay.graph.different_outputs"] == 0
    # 200 into protection, 100 into the estimator, and what two nodes hear of these two.
    assert values["replay.graph.inputs"] is not None
    assert values["replay.graph.inputs"] > 300
    assert "outputs of protection and state_estimator equal those" in output
    assert code == 0


def test_a_node_that_does_not_start_is_named(
    recorded: Path, domain: int, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(recorded), "--graph", "--param", "pack=/nowhere.yaml"]
    assert main([*arguments, "--domain", str(domain)]) == 1
    assert "has ended; its output says why" in capfd.readouterr().err
