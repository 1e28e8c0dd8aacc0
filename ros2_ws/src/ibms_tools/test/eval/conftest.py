# SPDX-License-Identifier: Apache-2.0
"""Recordings made up, and measured ones where they are."""

import os
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.fleet_recordings import FleetRecording, load_descriptions, load_fleet_recording

ROOT = Path(__file__).resolve().parents[5]
CONFIG = ROOT / "config"
_DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def config() -> Path:
    return CONFIG


@pytest.fixture
def data() -> Path:
    """Measured data, which is not part of the project."""
    if not (_DATA / "index.csv").is_file():
        pytest.skip("measured data are not here; set IBMS_DATA")
    return _DATA


def load(path: Path) -> FleetRecording:
    return load_fleet_recording(path, load_descriptions(CONFIG / "recordings"))


def made_up(
    rows: int = 200, cells: int = 8, period_s: float = 1.0, refresh_s: float = 0.0
) -> FleetRecording:
    """A healthy pack at rest, with noise; change its arrays to make it ill."""
    noise = np.random.default_rng(1).normal(0.0, 0.001, (rows, cells))
    return FleetRecording(
        name="made_up",
        time_s=np.arange(rows, dtype=np.float64) * period_s,
        voltage_v=3.7 + noise,
        temperature_c=25.0 + noise[:, :3],
        current_a=np.zeros(rows),
        pack_voltage_v=np.full(rows, 3.7 * cells),
        warning_level=np.full(rows, np.nan),
        wall_time=np.array([], "datetime64[ms]"),
        cell_names=[f"V_{i + 1}" for i in range(cells)],
        sensor_names=["T_1", "T_2", "T_3"],
        repeated=0,
        invalid=0,
        refresh_s=refresh_s,
    )
