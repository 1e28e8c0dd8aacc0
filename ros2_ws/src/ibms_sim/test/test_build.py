# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ibms_battery.cell import load_cell
from ibms_battery.pack import load_pack
from ibms_sim.build import spread
from ibms_sim.configuration import load_simulation

CONFIG = Path(__file__).resolve().parents[4] / "config"


def test_spread_has_the_configured_size_and_is_reproducible(config: Path) -> None:
    pack = load_pack(config / "packs" / "ev_96s.yaml")
    many = msgspec.structs.replace(pack, series=256)
    simulation = load_simulation(config / "simulation" / "rest.yaml")
    drawn = [spread(many, simulation, np.random.default_rng(k)) for k in range(20)]
    soc, capacity, resistance, leakage = (
        np.concatenate(values) for values in zip(*drawn, strict=True)
    )
    assert soc.mean() == pytest.approx(0.8, abs=1e-3)
    assert soc.std() == pytest.approx(0.01, rel=0.05)
    assert capacity.std() == pytest.approx(0.01, rel=0.05)
    assert resistance.std() == pytest.approx(0.03, rel=0.05)
    assert leakage.mean() == pytest.approx(0.0002, rel=0.05)
    again = spread(many, simulation, np.random.default_rng(0))
    for first, second in zip(drawn[0], again, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "file", sorted((CONFIG / "simulation").glob("*.yaml")), ids=lambda f: f.stem
)
def test_every_simulation_file_loads(file: Path) -> None:
    assert load_simulation(file).name == file.stem


@pytest.mark.parametrize("file", sorted((CONFIG / "packs").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_pack_has_its_cell(file: Path) -> None:
    cell = load_cell(CONFIG / "cells" / f"{load_pack(file).cell}.yaml")
    assert len(cell.soc_points) >= 21
