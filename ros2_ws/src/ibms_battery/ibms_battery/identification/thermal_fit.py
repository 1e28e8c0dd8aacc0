# SPDX-License-Identifier: Apache-2.0
"""Heat capacity and thermal resistance of a cell from measured temperatures. No ROS.

One thermal mass: C dT/dt = heat - (T - ambient) / R, so T - ambient = R F[heat] with the
first-order lag F of time constant R C. Heat as by D. Bernardi, E. Pawlikowski, J. Newman,
J. Electrochem. Soc. 132 (1985) 5, without mixing and phase change.
"""

from collections.abc import Sequence

import numpy as np

from ibms_battery.identification.circuit_fit import lag
from ibms_battery.identification.runs import Run
from ibms_battery.recordings import FloatArray

_TIMES_S: FloatArray = np.geomspace(100.0, 5000.0, 40)
_SMALLEST_RISE_K = 0.5  # below, sensors and the chamber hide what the cell does
_HEAT_CAPACITY_J_PER_K_AH = (5.0, 80.0)  # what cells of any kind have, per A h
_RESISTANCE_K_AH_PER_W = (1.0, 200.0)


def fit_thermal(
    runs: Sequence[Run],
    ocv_v: Sequence[FloatArray],
    entropic_v_per_k: Sequence[FloatArray],
    capacity_ah: float,
) -> tuple[float, float] | None:
    """Heat capacity [J/K] and thermal resistance [K/W]; None where no run warms up measurably.

    Args:
        runs: with measured temperatures; the first of each is taken as its ambient.
        ocv_v: open-circuit voltage of each run at its samples (samples,).
        entropic_v_per_k: its slope over temperature, likewise.
        capacity_ah: bounds what is plausible.
    """
    warmed: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for run, ocv, entropic in zip(runs, ocv_v, entropic_v_per_k, strict=True):
        rise_k = run.temperature_c - run.temperature_c[0]
        if np.ptp(rise_k) >= _SMALLEST_RISE_K:
            kelvin = run.temperature_c + 273.15
            heat_w = run.held_a * (run.voltage_v - ocv) + run.held_a * kelvin * entropic
            warmed.append((rise_k, heat_w[:, np.newaxis], run.step_s))
    if not warmed:
        return None
    fits = [_fit(warmed, float(time_s), capacity_ah) for time_s in _TIMES_S]
    plausible = [fit for fit in fits if fit is not None]
    return min(plausible)[1:] if plausible else None


def _fit(
    warmed: Sequence[tuple[FloatArray, FloatArray, FloatArray]], time_s: float, capacity_ah: float
) -> tuple[float, float, float] | None:
    """Squared error, heat capacity and resistance for a time constant; None if implausible."""
    lagged = [lag(heat_w, step_s, time_s)[:, 0] for _, heat_w, step_s in warmed]
    pairs = [(rise_k, one) for (rise_k, _, _), one in zip(warmed, lagged, strict=True)]
    square = sum(float(one @ one) for _, one in pairs)
    if square <= 0.0:
        return None
    resistance = sum(float(rise_k @ one) for rise_k, one in pairs) / square
    low, high = (bound / capacity_ah for bound in _RESISTANCE_K_AH_PER_W)
    lowest, highest = (bound * capacity_ah for bound in _HEAT_CAPACITY_J_PER_K_AH)
    if not (low <= resistance <= high and lowest <= time_s / resistance <= highest):
        return None
    error = sum(float(np.sum((rise_k - resistance * one) ** 2)) for rise_k, one in pairs)
    return error, time_s / resistance, resistance
