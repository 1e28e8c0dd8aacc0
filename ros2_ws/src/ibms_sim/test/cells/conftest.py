# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_battery import configuration
from ibms_sim.cells.parameters import CellParameters


@pytest.fixture
def parameters(config: Path) -> CellParameters:
    return configuration.load(config / "simulation/cells/lg_m50.yaml", CellParameters)
