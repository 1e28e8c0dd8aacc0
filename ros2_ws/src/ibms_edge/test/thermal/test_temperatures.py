# SPDX-License-Identifier: Apache-2.0
from math import isnan, nan

import numpy as np

from ibms_edge.thermal.temperatures import CellTemperatures


def test_extremes_are_those_of_the_known_cells() -> None:
    cells = CellTemperatures.of(np.array([21.0, nan, 35.0, 24.0]))
    assert cells == CellTemperatures(21.0, 35.0, 0.75)


def test_nothing_known_is_not_zero_degrees() -> None:
    for temperature_c in (np.array([nan, nan]), np.array([])):
        cells = CellTemperatures.of(temperature_c)
        assert isnan(cells.coldest_c)
        assert isnan(cells.hottest_c)
        assert cells.known == 0.0
