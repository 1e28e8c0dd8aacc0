# SPDX-License-Identifier: Apache-2.0
"""What the project's own launch files start."""

import os
from pathlib import Path

import pytest

from ibms_bringup.launcher import LaunchError
from ibms_bringup.launcher.evaluate import evaluate
from ibms_bringup.launcher.model import ProcessSpec

LAUNCH = Path(__file__).resolve().parents[4] / "launch"
CHAIN = {"afe_driver", "protection", "switch_control"}


def started(
    tmp_path: Path, file: str = "ibms.launch.xml", prefix: str = "", **arguments: str
) -> dict[str, ProcessSpec]:
    """Processes by name."""
    found = os.environ["AMENT_PREFIX_PATH"]
    environment = {**os.environ, "AMENT_PREFIX_PATH": f"{prefix}{os.pathsep}{found}"}
    plan = evaluate(LAUNCH / file, arguments, environment, tmp_path)
    return {process.label.rpartition("-")[0]: process for process in plan.processes}


@pytest.mark.parametrize("file", ["ibms.launch.xml", "demo.launch.xml"])
def test_the_chain_is_separate_or_composed(tmp_path: Path, file: str) -> None:
    separate = started(tmp_path, file)
    assert set(separate) >= CHAIN
    assert "chain" not in separate
    composed = started(tmp_path, file, chain="composed")
    assert set(composed) == set(separate) - CHAIN | {"chain"}
    assert composed["chain"].respawn


def test_the_composed_chain_gets_what_its_nodes_would(tmp_path: Path) -> None:
    given = {"bus_channel": "can7", "diagnoses": "/mine.yaml", "state_directory": "/state"}
    separate = started(tmp_path, "ibms.launch.xml", "", **given)

    def parameters(process: ProcessSpec) -> set[str]:
        return {file.text for file in process.files}

    composed = started(tmp_path, "ibms.launch.xml", "", chain="composed", **given)["chain"]
    assert parameters(composed) == set().union(*(parameters(separate[name]) for name in CHAIN))


def test_who_names_faults_gets_the_table_that_protection_judges_by(tmp_path: Path) -> None:
    separate = started(tmp_path, "ibms.launch.xml", "", diagnoses="/mine.yaml")
    for name in ("protection", "pack_supervisor", "pack_services"):
        assert any("/mine.yaml" in file.text for file in separate[name].files), name


def test_another_way_to_run_the_chain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="expected one of: separate, composed"):
        started(tmp_path, chain="threads")


def test_the_aggregator_is_started_where_it_is_asked_for(tmp_path: Path) -> None:
    assert "aggregator_node" not in started(tmp_path)
    prefix = tmp_path / "prefix"
    index = prefix / "share/ament_index/resource_index/packages/diagnostic_aggregator"
    program = prefix / "lib/diagnostic_aggregator/aggregator_node"
    for path in (index, program):
        path.parent.mkdir(parents=True)
        path.touch()
    program.chmod(0o755)
    process = started(tmp_path, prefix=str(prefix), aggregator="true")["aggregator_node"]
    assert process.node_name == "/analyzers"  # as its parameter file says
    assert any("config/diagnostics/aggregator.yaml" in word for word in process.command)


def test_without_the_package_asking_for_it_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="diagnostic_aggregator"):
        started(tmp_path, aggregator="true")
