# SPDX-License-Identifier: Apache-2.0
"""What estimates are judged by: targets for the default estimator, and how well truth is known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """RMSE of the worst run [%] by the group of scenarios."""

    known: float
    mid_20: float
    sensors: float

    def of(self, group: str) -> float | None:
        """Target of a group; None where there is none."""
        values = {
            "known": self.known,
            "full_minus_20": self.known,
            "mid_20": self.mid_20,
            "sensors": self.sensors,
        }
        return values.get(group)


# By cell and temperature of the chamber [degC].
TARGETS: dict[str, dict[float, Targets]] = {
    "lg_18650hg2": {
        40.0: Targets(0.35, 0.5, 0.8),
        25.0: Targets(0.35, 0.5, 0.8),
        10.0: Targets(0.35, 1.0, 0.8),
        0.0: Targets(0.35, 1.0, 0.8),
        -10.0: Targets(0.35, 0.8, 0.8),
        -20.0: Targets(0.6, 2.5, 0.9),
    },
    "panasonic_18650pf": {
        25.0: Targets(0.5, 0.9, 2.0),
        10.0: Targets(0.6, 1.1, 2.0),
        0.0: Targets(0.75, 2.5, 2.0),
        -10.0: Targets(0.8, 3.5, 2.0),
        -20.0: Targets(1.2, 6.0, 2.0),
    },
    "a123_26650": {25.0: Targets(0.6, 2.0, 2.0)},
}


@dataclass(frozen=True)
class TruthUncertainty:
    """One sigma of the counted charge [1]: of any count, and what is added per charge taken out.

    The latter is the doubt of the capacity that the count is divided by: charge and discharge of
    the slow tests do not balance (by 7 % of LG's, so it is 3 % either way at empty, of two sigma;
    by 13 % of Panasonic's, whose cell also aged between the temperatures).
    """

    counted: float
    capacity: float

    def at(self, soc: FloatArray) -> FloatArray:
        """Sigma at true states of charge, same shape."""
        std: FloatArray = np.hypot(self.counted, self.capacity * (1.0 - soc))
        return std


_USUAL_TRUTH = TruthUncertainty(0.003, 0.01)
_TRUTHS = {
    "lg_18650hg2": TruthUncertainty(0.003, 0.015),
    "panasonic_18650pf": TruthUncertainty(0.003, 0.035),
    "a123_26650": TruthUncertainty(0.006, 0.001),
    "lg_m50": TruthUncertainty(0.0, 0.0),  # simulated
}


def truth_uncertainty(cell: str) -> TruthUncertainty:
    """Of recordings of a cell, by its name."""
    return _TRUTHS.get(cell, _USUAL_TRUTH)
