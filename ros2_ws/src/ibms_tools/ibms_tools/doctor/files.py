# SPDX-License-Identifier: Apache-2.0
"""Loads every shipped configuration and launch file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ibms_battery.cell import load_cell
from ibms_battery.pack import load_pack
from ibms_bringup.launcher import LaunchError
from ibms_bringup.launcher.evaluate import evaluate, list_arguments
from ibms_edge.limits.curves import load_curves
from ibms_edge.protection.table import load_table, table_of
from ibms_end.mapping import load_map
from ibms_ros_common.manifest import MANIFEST_FILE, manifest
from ibms_sim.configuration import load_simulation
from ibms_tools import parameter_files
from ibms_tools.doctor.finding import Finding


def check(config: Path, launch: Path) -> list[Finding]:
    """One finding per kind of file, and one per file that is refused."""
    return [
        *_kind("packs", config.glob("packs/*.yaml"), _load_whole_pack),
        *_kind("cells", config.glob("cells/*.yaml"), load_cell),
        *_kind("diagnoses", config.glob("diagnoses/*.yaml"), load_table),
        *_kind("simulation", config.glob("simulation/*.yaml"), load_simulation),
        *_kind("parameters", config.glob("parameters/*.yaml"), parameter_files.check),
        *_kind("interfaces", iter([MANIFEST_FILE]), lambda _: manifest()),
        *_kind("launch", launch.glob("*.launch.xml"), _evaluate),
    ]


def _kind(topic: str, files: Iterator[Path], load: Callable[[Path], object]) -> Iterator[Finding]:
    good = []
    for file in sorted(files):
        try:
            load(file)
        except (ValueError, LaunchError, OSError) as error:
            yield Finding("FAIL", topic, str(error), "correct the file")
        else:
            good.append(file.name.partition(".")[0])
    if good:
        yield Finding("OK", topic, ", ".join(good))


def _load_whole_pack(file: Path) -> None:
    """The pack with all that it names."""
    config = file.parent.parent
    pack = load_pack(file)
    cell = load_cell(config / "cells" / f"{pack.cell}.yaml")
    load_curves(config / "limits" / f"{pack.cell}.yaml", cell)
    table_of(file, pack)
    load_map(config / "can" / "maps" / pack.can_map, pack)


def _evaluate(file: Path) -> None:
    listed = list_arguments(file, os.environ)
    if all(entry.argument.default_source is not None for entry in listed):
        evaluate(file, {}, os.environ, Path("parameters"))
