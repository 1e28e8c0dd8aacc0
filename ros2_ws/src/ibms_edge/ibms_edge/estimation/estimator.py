# SPDX-License-Identifier: Apache-2.0
"""What every estimator of cell states is told and tells. No ROS."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_edge.estimation.circuit_state import CircuitState

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

    def circuit_state(self) -> CircuitState:
        """Where the circuit of each cell stands, for predictions; NaN where that is not known."""

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

    def adopt(self, cell: Cell) -> None:
        """Go on with another description of the same cell type; what is known is kept."""

    def snapshot(self) -> Mapping[str, FloatArray]:
        """Everything that must be kept to go on after a restart, by name."""

    def restore(self, snapshot: Mapping[str, FloatArray], away_s: float) -> None:
        """Go on after a restart; the first voltage corrects the charge.

        Args:
            snapshot: of the same estimator with the same number of cells.
            away_s: how long the pack has been at rest since [s]; NaN where that is not known, and
                it may have been charged or driven meanwhile.

        Raises:
            ValueError: if it does not fit; nothing has been changed then.
        """
