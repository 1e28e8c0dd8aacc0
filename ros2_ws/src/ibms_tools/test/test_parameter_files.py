# SPDX-License-Identifier: Apache-2.0
"""Parameter files against the nodes of the edge."""

from pathlib import Path

import pytest
import yaml

from ibms_battery.configuration import ConfigurationError
from ibms_ros_common.manifest import manifest
from ibms_tools import parameter_files

CONFIG = Path(__file__).resolve().parents[4] / "config"
SHIPPED = CONFIG / "parameters" / "edge.yaml"


def test_the_shipped_file_fits_the_nodes() -> None:
    parameter_files.check(SHIPPED)


def test_every_node_of_the_graph_is_managed_and_known(tmp_path: Path) -> None:
    nodes = set(manifest().topics["/diagnostics"].publishers)
    managed = yaml.safe_load(SHIPPED.read_text())["/**/lifecycle_manager"]["ros__parameters"]
    assert set(managed["nodes"]) == nodes
    for node in nodes:  # an unknown one would be refused by name
        file = tmp_path / "mine.yaml"
        file.write_text(f"/**/{node}:\n  ros__parameters:\n    pack: mine.yaml\n")
        parameter_files.check(file)


@pytest.mark.parametrize(
    "node", ["afe_driver", "protection", "switch_control", "pack_supervisor", "**"]
)
def test_nodes_of_time_critical_processes_say_how_they_want_to_be_run(
    tmp_path: Path, node: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"/{node}:\n  ros__parameters:\n    real_time:\n      cpus: '2-3'\n      priority: 60\n"
        "      scheduling: round_robin\n      lock_memory: false\n      garbage: automatic\n"
    )
    parameter_files.check(file)


@pytest.mark.parametrize(
    ("node", "line", "sentence"),
    [
        ("balancing", "priority: 60", "no parameter is called 'real_time.priority'"),
        ("protection", "priority: 99", "found 99"),
        ("protection", "cpus: 2", "found 2"),
        ("protection", "cpus: '2;3'", "such as 2 or 0,2-3"),
        ("protection", "scheduling: idle", "one of 'fifo', 'ordinary', 'round_robin'"),
        ("protection", "nice: 3", "no parameter is called 'real_time.nice'"),
    ],
)
def test_what_a_node_would_refuse_is_refused_with_its_line(
    tmp_path: Path, node: str, line: str, sentence: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"/**/{node}:\n  ros__parameters:\n    real_time:\n      {line}\n")
    with pytest.raises(ConfigurationError) as refusal:
        parameter_files.check(file)
    assert "mine.yaml:4" in str(refusal.value)
    assert sentence in str(refusal.value)
