# SPDX-License-Identifier: Apache-2.0
"""Estimators by name, as configuration and the command line choose them. No ROS."""

from collections.abc import Callable

from ibms_battery.cell import Cell
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.coulomb_counting import CoulombCounter
from ibms_edge.estimation.estimator import Estimator
from ibms_edge.estimation.extended_kalman import ExtendedKalmanFilter
from ibms_edge.estimation.fused import FusedEstimator
from ibms_edge.estimation.network import NetworkEstimator
from ibms_edge.estimation.unscented import UnscentedKalmanFilter

ESTIMATORS: dict[str, Callable[[Cell, int], Estimator]] = {
    "counting": CoulombCounter,
    "ekf": ExtendedKalmanFilter,
    "ukf": UnscentedKalmanFilter,
    "adaptive": AdaptiveFilter,
}
# These need a network that was trained for the cell type, and onnxruntime.
LEARNED: dict[str, Callable[[Cell, int], Estimator]] = {
    "network": NetworkEstimator,
    "fused": FusedEstimator,
}
DEFAULT = "adaptive"


def build_estimator(name: str, cell: Cell, count: int) -> Estimator:
    """Estimator ``name`` for ``count`` cells.

    Raises:
        ValueError: if there is none of that name; the text lists all. If it needs a network and
            there is none for this cell.
    """
    known = ESTIMATORS | LEARNED
    if name not in known:
        raise ValueError(f"there is no estimator {name!r}; there are {', '.join(known)}")
    return known[name](cell, count)
