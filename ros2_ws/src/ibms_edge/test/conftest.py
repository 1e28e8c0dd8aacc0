# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_battery.pack import Cell, Pack, load_cell, load_pack

CONFIG = Path(__file__).resolve().parents[4] / "config"


@pytest.fixture(scope="session")
def config() -> Path:
    return CONFIG


@pytest.fixture(scope="session")
def pack() -> Pack:
    return load_pack(CONFIG / "packs" / "robot_12s.yaml")


@pytest.fixture(scope="session")
def cell() -> Cell:
    return load_cell(CONFIG / "cells" / "lg_m50.yaml")
