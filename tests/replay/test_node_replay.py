# SPDX-License-Identifier: Apache-2.0
"""A bag into one node: the real node, on the recorded time, equal to the bit."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from ibms_battery import results
from ibms_msgs.msg import Event, ProtectionStatus
from ibms_tools.bag.reader import BagMessage, BagReader
from ibms_tools.replay import main

OUTPUTS = {
    "state_estimator": [
        f"/battery/{name}" for name in ("cells/state", "pack/estimate", "pack/power")
    ],
    "protection": ["/battery/protection/status", "/battery/events"],
}


def replay(bag: Path, node: str, pack: Path, output: Path, *more: str) -> int:
    arguments = [str(bag), "--node", node, "--param", f"pack={pack}", "--output", str(output)]
    return main([*arguments, *more])


def read(bag: Path, topics: Iterable[str]) -> list[BagMessage]:
    with BagReader(bag) as reader:
        return list(reader.messages(list(topics)))


@pytest.mark.parametrize("node", list(OUTPUTS))
def test_two_replays_are_equal_to_the_bit(
    node: str, recorded: Path, robot_pack: Path, tmp_path: Path
) -> None:
    assert replay(recorded, node, robot_pack, tmp_path / "first") == 0
    # The second run finds other bytes in fresh memory and runs in a process of its own.
    subprocess.run(
        [
            *(sys.executable, "-m", "ibms_tools.replay", recorded, "--node", node),
            *("--param", f"pack={robot_pack}", "--output", tmp_path / "second"),
        ],
        env={**os.environ, "MALLOC_PERTURB_": "165", "PYTHONHASHSEED": "7"},
        check=True,
        timeout=60,
    )
    first, second = (read(tmp_path / name, OUTPUTS[node]) for name in ("first", "second"))
    assert len(first) >= 15
    assert [(m.topic, m.stamp_ns, m.data) for m in first] == [
        (m.topic, m.stamp_ns, m.data) for m in second
    ]


def test_the_recorded_time_drives_everything(
    recorded: Path, robot_pack: Path, tmp_path: Path
) -> None:
    assert replay(recorded, "protection", robot_pack, tmp_path / "out") == 0
    scans = {
        m.message.scan_counter: m.message for m in read(recorded, ["/battery/cells/measurement"])
    }
    statuses = [m.message for m in read(tmp_path / "out", ["/battery/protection/status"])]
    assert {status.scan_counter for status in statuses} == set(scans)
    for status in statuses:
        scan = scans[status.scan_counter]
        assert status.boot_ns == scan.boot_ns
        assert 0 <= status.header.stamp.sec <= 3  # the recording's wall time, not today's
    trips = [
        m.message
        for m in read(tmp_path / "out", ["/battery/events"])
        if m.message.kind == Event.KIND_FAULT_SET and m.message.element == 0
    ]
    begin_ns = scans[80].boot_ns
    assert trips, "the over-voltage was not found"
    assert all(begin_ns <= trip.boot_ns <= begin_ns + 400_000_000 for trip in trips)
    assert statuses[-1].reaction == ProtectionStatus.REACTION_OPEN_NOW


def test_figures_and_the_counted_charge(
    recorded: Path, robot_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    more = ("--json", str(figures))
    assert replay(recorded, "state_estimator", robot_pack, tmp_path / "out", *more) == 0
    report = results.parse(json.loads(figures.read_text()))
    values = {result.name: result.value for result in report.results}
    assert values["replay.inputs"] == 100
    assert values["replay.inputs_stale"] == 0
    assert values["replay.outputs"] == len(read(tmp_path / "out", OUTPUTS["state_estimator"]))
    assert values["replay.speed_factor"] is not None
    assert values["replay.soc.rmse"] is not None
    output = capsys.readouterr().out
    assert "in        100  cells/measurement" in output
    assert "SOC against counted charge" in output


@pytest.mark.parametrize(
    ("node", "parameters", "problem"),
    [
        ("power_limits", ["pack={pack}"], "holds nothing that power_limits listens to"),
        ("protection", ["pack={pack}", "period_s=fast"], "'period_s'"),
        ("protection", ["pack={pack}", "period_s=7.0"], "'period_s'"),
        ("protection", [], "protection refused to start"),
        ("protection", ["pack=/nowhere.yaml"], "protection refused to start"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    node: str,
    parameters: list[str],
    problem: str,
    recorded: Path,
    robot_pack: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(recorded), "--node", node]
    for text in parameters:
        arguments += ["--param", text.format(pack=robot_pack)]
    assert main(arguments) == 1
    assert problem in capsys.readouterr().err
