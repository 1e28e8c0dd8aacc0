# SPDX-License-Identifier: Apache-2.0
"""Has the default estimator's step compiled before a process does anything else. No ROS.

Compiling takes some 13 s, once per installation, loading what was compiled 1.5 s. In a callback
that would hold up everything else, and whoever waits for an answer would ask again.
"""

import numpy as np

from ibms_battery.cell import Cell
from ibms_edge.estimation.registry import DEFAULT, build_estimator

_ANY_CELL = Cell(
    name="any",
    chemistry="NMC",
    capacity_ah=1.0,
    minimum_voltage_v=3.0,
    maximum_voltage_v=4.0,
    nominal_voltage_v=3.5,
    resistance_ohm=0.1,
    soc_points=[0.0, 1.0],
    ocv_points_v=[3.0, 4.0],
    maximum_charge_current_a=1.0,
    maximum_discharge_current_a=1.0,
    source="stands for any: compiled code depends on types alone",
)


def compile_ahead() -> None:
    """Return when the first step will be as quick as all others."""
    unknown = np.full(1, np.nan)
    build_estimator(DEFAULT, _ANY_CELL, 1).update(unknown, unknown, unknown, 0.0)


if __name__ == "__main__":
    compile_ahead()
