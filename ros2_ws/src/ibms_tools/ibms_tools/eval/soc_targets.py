# SPDX-License-Identifier: Apache-2.0
"""Targets of the state of charge: RMSE of the worst run [%], for the default estimator."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Targets:
    """RMSE [%] by the group of scenarios, and how well the truth itself is known (one sigma)."""

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

# What the counted charge may be off: tester 0.1 % of full scale over the length of a drive.
TRUTH_STD = {"lg_18650hg2": 0.003, "panasonic_18650pf": 0.003, "a123_26650": 0.006}
USUAL_TRUTH_STD = 0.003
