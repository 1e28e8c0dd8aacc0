# SPDX-License-Identifier: Apache-2.0
"""config/diagnostics/aggregator.yaml against the names that the nodes publish.

The rules are those that diagnostic_aggregator documents: a GenericAnalyzer matches a name that
begins with one of ``find_and_remove_prefix`` (which is ``startswith``, cut off for show), a group
matches what one of its analyzers matches, and a name may match several.
"""

import atexit
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter

from ibms_battery.clock import VirtualClock
from ibms_ros_common.manifest import manifest
from ibms_ros_common.node import BmsNode

CONFIG = Path(__file__).resolve().parents[4] / "config"
# What every node of the graph is made of, and whether it is the first of a time-critical process.
NODES = {
    "afe_driver": ("ibms_end.afe.node:AfeDriver", True),
    "insulation_monitor": ("ibms_end.insulation_monitor:InsulationMonitor", False),
    "environment_sensors": ("ibms_end.environment_sensors:EnvironmentSensors", False),
    "protection": ("ibms_edge.protection.node:Protection", True),
    "switch_control": ("ibms_edge.switching.node:SwitchControl", True),
    "pack_supervisor": ("ibms_edge.supervisor.node:PackSupervisorNode", True),
    "state_estimator": ("ibms_edge.estimation.node:StateEstimator", False),
    "power_limits": ("ibms_edge.limits.node:PowerLimitsNode", False),
    "balancing": ("ibms_edge.balancing.node:Balancing", False),
    "thermal_control": ("ibms_edge.thermal.node:ThermalControl", False),
    "vehicle_interface": ("ibms_edge.vehicle.node:VehicleInterface", False),
    "charger_interface": ("ibms_edge.charging.node:ChargerInterface", False),
    "event_recorder": ("ibms_edge.events.node:EventRecorder", False),
}
LIFECYCLE = ["lifecycle_manager: nodes"]  # a plain node, with one status


def analyzers() -> dict[str, list[str]]:
    """Prefixes of every GenericAnalyzer by its path in the tree."""
    found: dict[str, list[str]] = {}

    def visit(part: dict[str, Any], path: str) -> None:
        for analyzer in part.values():
            kind, here = analyzer["type"], f"{path}/{analyzer['path']}"
            if kind == "diagnostic_aggregator/AnalyzerGroup":
                assert set(analyzer) == {"type", "path", "analyzers"}, here
                visit(analyzer["analyzers"], here)
            else:
                assert kind == "diagnostic_aggregator/GenericAnalyzer", here
                assert set(analyzer) == {"type", "path", "find_and_remove_prefix", "timeout"}, here
                assert here not in found, here
                found[here] = analyzer["find_and_remove_prefix"]

    document = yaml.safe_load((CONFIG / "diagnostics" / "aggregator.yaml").read_text())
    parameters = dict(document["analyzers"]["ros__parameters"])
    path = parameters.pop("path")
    parameters.pop("pub_rate")
    visit(parameters, f"/{path}")
    return found


def matching(name: str) -> list[str]:
    return [path for path, prefixes in analyzers().items() if any(map(name.startswith, prefixes))]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Names of the statuses of each node, configured here without DDS and bus."""
    if not rclpy.ok():
        rclpy.init()
        atexit.register(rclpy.try_shutdown)
    given = {
        "pack": str(CONFIG / "packs" / "ev_96s.yaml"),
        "bus.channel": "43769",
        "state_directory": str(tmp_path_factory.mktemp("state")),
    }
    names: dict[str, list[str]] = {}
    for name, (place, leads_process) in NODES.items():
        module, _, kind = place.partition(":")
        node: BmsNode[Any] = getattr(import_module(module), kind)(
            clock=VirtualClock(10**12),
            sink=lambda topic, message: None,
            parameter_overrides=[Parameter(key, value=value) for key, value in given.items()],
        )
        if leads_process:
            node.report_process = lambda status: None
        try:
            node.trigger_configure()
            assert node.is_configured, name
            names[node.get_name()] = [
                f"{node.get_name()}: {subject}" for subject, _ in node.subjects()
            ]
        finally:
            node.stop()
            node.destroy_node()
    names["lifecycle_manager"] = LIFECYCLE
    return names


def test_all_nodes_that_publish_diagnostics_are_looked_at(published: dict[str, list[str]]) -> None:
    publishers = {*manifest().topics["/diagnostics"].publishers, "lifecycle_manager"}
    assert set(published) == publishers


def test_names_are_distinct(published: dict[str, list[str]]) -> None:
    for names in published.values():
        assert len(set(names)) == len(names)


def test_every_name_matches_exactly_one_analyzer(published: dict[str, list[str]]) -> None:
    for name in (name for names in published.values() for name in names):
        assert len(matching(name)) == 1, name


def test_no_branch_stays_empty(published: dict[str, list[str]]) -> None:
    """An analyzer that nothing matches shows as stale for ever."""
    used = {path for names in published.values() for name in names for path in matching(name)}
    assert used == set(analyzers())


def test_time_critical_loops_and_processes_are_in_the_tree(
    published: dict[str, list[str]],
) -> None:
    for name in ("afe_driver", "protection", "switch_control", "pack_supervisor"):
        assert f"{name}: loop" in published[name]
        assert f"{name}: process" in published[name]


def test_the_tree_has_end_chain_and_services() -> None:
    assert {path.split("/")[2] for path in analyzers()} == {"End", "Edge chain", "Services"}
    assert matching("protection: faults") == ["/Battery/Edge chain/Protection"]
