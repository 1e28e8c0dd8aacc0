# SPDX-License-Identifier: Apache-2.0
"""The state estimator in a running graph: killed, restarted, given another model of the cell."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from ibms_battery.cell import load_cell
from ibms_battery.circuit import model_of
from ibms_msgs.msg import PackEstimate
from ibms_msgs.srv import RollBackCellModel, UpdateCellModel
from ibms_ros_common.manifest import manifest
from ibms_tools.bench.pack_under_test import PackUnderTest

pytestmark = pytest.mark.graph

Estimates = list[PackEstimate]


@pytest.fixture
def estimates(pack: PackUnderTest) -> Iterator[Estimates]:
    heard: Estimates = []
    subscription = pack._node.create_subscription(
        PackEstimate, "pack/estimate", heard.append, manifest().qos_of("pack/estimate")
    )
    pack.wait_until("an estimate", lambda: bool(heard) and heard[-1].valid, 20.0)
    yield heard
    pack._node.destroy_subscription(subscription)


def ask(pack: PackUnderTest, kind: Any, service: str, request: Any) -> Any:
    client = pack._node.create_client(kind, service)
    try:
        assert client.wait_for_service(5.0)
        future = client.call_async(request)
        pack.wait_until(f"an answer of {service}", future.done, 5.0)
        return future.result()
    finally:
        pack._node.destroy_client(client)


def newer_model(pack: PackUnderTest, factor: float) -> str:
    """The pack's cell with a newer model that has other series resistances."""
    cell = load_cell(pack.pack_file.parent.parent / "cells" / f"{pack.pack.cell}.yaml")
    data: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(cell, model=model_of(cell)))
    model = data["model"]
    model["version"] += 1
    table = model["ohmic_resistance_ohm"]
    model["ohmic_resistance_ohm"] = [[factor * value for value in row] for row in table]
    return yaml.safe_dump(data)


def diagnostics(pack: PackUnderTest) -> dict[str, str]:
    return pack.diagnostics.get("state_estimator: estimate", {})


def test_a_killed_estimator_goes_on_where_it_was(pack: PackUnderTest, estimates: Estimates) -> None:
    file = pack.log.parent / "state" / f"{pack.pack.name}.estimate"
    pack.wait_until("a kept state", file.exists, 10.0)
    before = estimates[-1]
    os.kill(pack.pid_of("state_estimator"), signal.SIGKILL)
    pack.wait_until(
        "an estimate after it",
        lambda: estimates[-1].valid and estimates[-1].boot_ns - before.boot_ns > 1_000_000_000,
        30.0,
    )
    pack.wait_until(
        "its diagnostics", lambda: "went on after" in diagnostics(pack).get("restart", ""), 5.0
    )
    assert "without scans" in diagnostics(pack)["restart"]
    assert estimates[-1].soc == pytest.approx(before.soc, abs=3.0 * before.soc_std)


def test_a_model_is_taken_outlives_a_kill_and_is_rolled_back(
    pack: PackUnderTest, estimates: Estimates
) -> None:
    configured = estimates[-1].model_version
    refused = ask(
        pack,
        UpdateCellModel,
        "update_cell_model",
        UpdateCellModel.Request(cell_yaml=newer_model(pack, 8.0)),
    )
    assert (refused.success, refused.active_version) == (False, configured)
    assert "series resistance" in refused.message
    taken = ask(
        pack,
        UpdateCellModel,
        "update_cell_model",
        UpdateCellModel.Request(cell_yaml=newer_model(pack, 1.1)),
    )
    assert (taken.success, taken.active_version) == (True, configured + 1), taken.message

    def in_use(version: int) -> None:
        pack.wait_until(
            f"model version {version}", lambda: estimates[-1].model_version == version, 5.0
        )

    in_use(configured + 1)
    assert estimates[-1].model_trial == PackEstimate.TRIAL_RUNNING
    time.sleep(0.5)  # for the disk
    os.kill(pack.pid_of("state_estimator"), signal.SIGKILL)
    count = len(estimates)
    pack.wait_until("an estimate after a kill", lambda: len(estimates) > count + 5, 40.0)
    in_use(configured + 1)
    back = ask(pack, RollBackCellModel, "roll_back_cell_model", RollBackCellModel.Request())
    assert (back.success, back.active_version) == (True, configured)
    in_use(configured)
    assert any("rolled back" in text for text in pack.texts())
