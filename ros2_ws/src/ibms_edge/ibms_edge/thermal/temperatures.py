# SPDX-License-Identifier: Apache-2.0
"""What thermal control knows of the cells' temperatures. No ROS."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class CellTemperatures:
    """Extremes of the known temperatures, and how many are known."""

    coldest_c: float = float("nan")  # [degC] of the known ones, NaN if there is none
    hottest_c: float = float("nan")
    known: float = 0.0  # share of cells whose temperature is known, 0 to 1

    @classmethod
    def of(cls, temperature_c: npt.NDArray[np.floating]) -> "CellTemperatures":
        """From one temperature per cell [degC], NaN where there is none."""
        known_c = temperature_c[~np.isnan(temperature_c)]
        if not known_c.size:
            return cls()
        return cls(float(known_c.min()), float(known_c.max()), known_c.size / temperature_c.size)
