# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybamm")

from ibms_battery.cell import load_cell
from ibms_sim.cells.generate import cell_parameters
from ibms_sim.cells.parameters import CellParameters


def test_the_file_is_what_the_generator_writes(config: Path, parameters: CellParameters) -> None:
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


def test_the_cell_file_of_the_bms_is_of_the_same_cell(
    config: Path, parameters: CellParameters
) -> None:
    cell = load_cell(config / "cells" / "lg_m50.yaml")
    # C/20 leaves a little in the cell.
    assert cell.capacity_ah == pytest.approx(parameters.capacity_ah, rel=0.005)
    soc = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    positive_v, negative_v = (
        np.interp(
            side.stoichiometry_empty + soc * (side.stoichiometry_full - side.stoichiometry_empty),
            side.potential_stoichiometry,
            side.potential_v,
        )
        for side in (parameters.positive, parameters.negative)
    )
    identified_v = np.interp(soc, cell.soc_points, cell.ocv_points_v)
    assert identified_v == pytest.approx(positive_v - negative_v, abs=0.005)
