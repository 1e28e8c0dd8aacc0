# SPDX-License-Identifier: Apache-2.0
"""What was compiled ahead serves every pack."""

import numpy as np
import pytest

from ibms_battery.cell import Cell
from ibms_edge.estimation import cell_step
from ibms_edge.estimation.compile_ahead import compile_ahead
from ibms_edge.estimation.registry import DEFAULT, build_estimator


def test_no_step_compiles_anything_afterwards(cell: Cell) -> None:
    pytest.importorskip("numba")
    compile_ahead()
    compiled = cell_step.compiled_step_cells
    before = list(compiled.signatures)  # type: ignore[union-attr]
    estimator = build_estimator(DEFAULT, cell, 96)
    values = np.full(96, 3.7)
    for _ in range(3):
        estimator.update(values, values, values, 0.1)
    assert before == list(compiled.signatures)  # type: ignore[union-attr]
