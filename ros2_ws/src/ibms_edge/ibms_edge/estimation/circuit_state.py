# SPDX-License-Identifier: Apache-2.0
"""Where the equivalent circuit of each cell stands: what a prediction starts from. No ROS."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CircuitState:
    """States of one cell of each group, all arrays (cells,); NaN where there is no estimate.

    Polarisations are those of the circuit as described; the resistance factor multiplies them and
    the drop. The temperature is the one that the tables hold for.
    """

    soc: FloatArray
    soc_std: FloatArray
    fast_v: FloatArray
    slow_v: FloatArray
    hysteresis: FloatArray  # -1 to 1
    resistance_factor: FloatArray
    resistance_std: FloatArray  # of all that drops, relative
    temperature_c: FloatArray
    capacity_ah: FloatArray
