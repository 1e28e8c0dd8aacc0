# SPDX-License-Identifier: Apache-2.0
"""Holds commands and environments against those of launch_ros, where that is installed."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ibms_bringup.launcher.evaluate import evaluate
from ibms_bringup.launcher.model import ProcessSpec

launch = pytest.importorskip("launch", reason="needs ROS 2 launch")
pytest.importorskip("launch_ros", reason="needs ROS 2 launch")
pytest.importorskip("launch_xml", reason="needs ROS 2 launch")

FILES: tuple[tuple[str, dict[str, str]], ...] = (
    ("good_nodes.launch.xml", {"pack": "p 12", "simulate": "False"}),
    ("good_nodes.launch.xml", {}),
    ("good_scopes.launch.xml", {"speed": "7"}),
    ("good_includes.launch.xml", {}),
)


def _parameters(command: list[str], texts: Mapping[str, str]) -> list[Any]:
    """The command, with the contents of parameter files in the place of their names."""
    result: list[Any] = []
    for index, word in enumerate(command):
        if index and command[index - 1] == "--params-file":
            text = texts[word] if word in texts else Path(word).read_text(encoding="utf-8")
            result.append(yaml.safe_load(text))
        else:
            result.append(word)
    return result


def _ours(spec: ProcessSpec) -> dict[str, Any]:
    texts = {str(file.path): file.text for file in spec.files}
    return {
        "command": _parameters(list(spec.command), texts),
        "environment": dict(spec.environment),
        "directory": None if spec.working_directory is None else str(spec.working_directory),
        "label": spec.label.rpartition("-")[0],
    }


def _theirs(
    file: Path, arguments: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Evaluate with launch; the processes are recorded instead of being started."""
    from launch.actions import ExecuteLocal, IncludeLaunchDescription
    from launch.launch_description_sources import AnyLaunchDescriptionSource
    from launch.utilities import visit_all_entities_and_collect_futures

    recorded = []

    def record(self: ExecuteLocal, context: object) -> None:
        self.prepare(context)
        details = self._ExecuteLocal__process_event_args
        recorded.append(
            {
                "command": _parameters(details["cmd"], {}),
                "environment": dict(details["env"]),
                "directory": details["cwd"],
                "label": details["name"].rpartition("-")[0],
            }
        )

    monkeypatch.setattr(ExecuteLocal, "execute", record)
    context = launch.LaunchContext()
    context._set_asyncio_loop(asyncio.new_event_loop())
    source = AnyLaunchDescriptionSource(str(file))
    include = IncludeLaunchDescription(source, launch_arguments=list(arguments.items()))
    visit_all_entities_and_collect_futures(launch.LaunchDescription([include]), context)
    context.asyncio_loop.close()
    return recorded


@pytest.mark.parametrize(("name", "arguments"), FILES)
def test_commands_and_environments_are_the_same(
    name: str,
    arguments: Mapping[str, str],
    data: Path,
    tmp_path: Path,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # launch reads and changes os.environ; its own package must stay findable.
    search = f"{environment['AMENT_PREFIX_PATH']}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}"
    saved = dict(os.environ)
    for key in saved:
        monkeypatch.delenv(key)
    for key, value in {**environment, "AMENT_PREFIX_PATH": search}.items():
        monkeypatch.setenv(key, value)
    plan = evaluate(data / name, arguments, dict(os.environ), tmp_path / "parameters")
    assert len(plan.processes) >= 4
    expected = _theirs(data / name, arguments, monkeypatch)
    assert [_ours(spec) for spec in plan.processes] == expected
