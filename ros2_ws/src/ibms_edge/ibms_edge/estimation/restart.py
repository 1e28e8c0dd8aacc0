# SPDX-License-Identifier: Apache-2.0
"""What a restart does to the state of an estimator. No ROS."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_S_PER_H = 3600.0
_AWAY_SOC_PER_H = 1e-4  # what a pack at rest may lose unseen: electronics and self-discharge
_UNKNOWN_AWAY_SOC_STD = 0.3  # it may have been charged or driven without this computer


def soc_std_after(soc_std: FloatArray, away_s: float) -> FloatArray:
    """Standard deviation of a charge that nobody watched for ``away_s``; NaN if unknown."""
    known = np.isfinite(away_s)
    lost = _AWAY_SOC_PER_H * away_s / _S_PER_H if known else _UNKNOWN_AWAY_SOC_STD
    grown: FloatArray = np.hypot(soc_std, lost)
    return grown


def check_snapshot(
    snapshot: Mapping[str, FloatArray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise ``ValueError`` unless the snapshot has finite arrays of these names and shapes."""
    for name, shape in shapes.items():
        values = snapshot.get(name)
        if values is None or values.shape != shape or not np.isfinite(values).all():
            found = "nothing" if values is None else f"shape {values.shape}"
            if values is not None and values.shape == shape:
                found = "values that are not"
            raise ValueError(f"snapshot: {name!r} must be finite with shape {shape}, found {found}")
