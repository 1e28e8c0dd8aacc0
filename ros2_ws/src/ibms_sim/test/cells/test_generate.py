# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("pybamm")

from ibms_battery.cell import load_cell
from ibms_sim.cells.generate import cell_parameters, rated_cell
from ibms_sim.cells.parameters import CellParameters


def test_the_files_are_what_the_generator_writes(config: Path, parameters: CellParameters) -> None:
    made = cell_parameters()
    differing = [
        name
        for name in ("negative", "positive", "capacity_ah", "heat_capacity_j_k")
        if getattr(made, name) != getattr(parameters, name)
    ]
    assert differing == []
    # Fitted to a solution, so equal only within the solver's tolerance.
    for name in ("ohmic_resistance_ohm", "electrolyte_resistance_ohm", "electrolyte_time_s"):
        assert getattr(made, name) == pytest.approx(getattr(parameters, name), rel=1e-3)
    rated = load_cell(config / "cells" / "lg_m50.yaml")
    assert msgspec.structs.replace(rated_cell(made), source=rated.source) == rated
