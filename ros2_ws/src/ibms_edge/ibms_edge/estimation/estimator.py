# SPDX-License-Identifier: Apache-2.0
"""What every estimator of cell states is told and tells. No ROS."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """What is known of each cell, all arrays (cells,); NaN where there is no estimate.

    Standard deviations are one sigma. Factors are 1 for a cell as described. The ratio is
    the square of the innovation over its variance: 1 on average if the filter's doubt is right.
    """

    soc: FloatArray
    soc_std: FloatArray
    capacity_factor: FloatArray
    capacity_factor_std: FloatArray
    resistance_factor: FloatArray
    resistance_factor_std: FloatArray
    current_bias_a: FloatArray  # of the current sensor, per cell: what it shows too much
    current_bias_std_a: FloatArray
    innovation_v: FloatArray
    innovation_ratio: FloatArray


class Estimator(Protocol):
    """State of a number of cells of one type."""

    @property
    def estimate(self) -> Estimate:
        """Estimate after the last update."""

    def start(self, soc: FloatArray, soc_std: FloatArray, rested: bool) -> None:
        """Forget what was and begin with what is known of the charge.

        Args:
            soc: believed state of charge (cells,); NaN where nothing is known.
            soc_std: its standard deviation (cells,).
            rested: no current has flowed for so long that the cell is at its open-circuit voltage.
        """

    def update(
        self,
        voltage_v: FloatArray,
        temperature_c: FloatArray,
        current_a: FloatArray,
        step_s: float,
    ) -> None:
        """One step over all cells.

        Args:
            voltage_v: measured [V] (cells,); NaN where unmeasured: those cells are only predicted.
            temperature_c: [degC] (cells,); NaN where unknown.
            current_a: mean of the step per cell [A] (cells,), charge positive; NaN where unknown:
                the charge stays as it is, uncertain by what could have flowed.
            step_s: time since the last step [s]; 0 at the first.
        """

    def snapshot(self) -> Mapping[str, FloatArray]:
        """Everything that must be kept to go on after a restart."""

    def restore(self, snapshot: Mapping[str, FloatArray]) -> None:
        """Go on from a snapshot of the same estimator with the same number of cells.

        Raises:
            ValueError: if it does not fit; nothing has been changed then.
        """
