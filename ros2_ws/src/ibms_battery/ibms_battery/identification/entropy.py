# SPDX-License-Identifier: Apache-2.0
"""Entropic coefficient of a cell: how its open-circuit voltage moves with temperature. No ROS."""

from collections.abc import Sequence

import numpy as np

from ibms_battery.identification.open_circuit import OpenCircuit
from ibms_battery.recordings import FloatArray

_SMALLEST_SPAN_K = 20.0  # of the tests' temperatures: below, capacity and drift hide the slope
_LOWEST_C = -5.0  # colder, a slow test is far from equilibrium
_LARGEST_V_PER_K = 0.6e-3  # beyond what cells of these chemistries show (Viswanathan 2010)
_SMOOTH = 2  # points to each side over which the slope is averaged

_LARGEST_IMBALANCE = 0.03  # of discharge and full charge: beyond, their mean is off by more

# K. O'Regan, F. Brosa Planella, W. D. Widanage, E. Kendrick, Electrochimica Acta 425 (2022) 140700:
# nickel-rich positive electrode against graphite with silicon, over the window of an LG M50 [mV/K],
# evenly from empty to full.
_NICKEL_RICH = (
    *(-0.240, -0.409, -0.300, -0.126, -0.075, -0.064, -0.051, -0.033, -0.014, 0.003, 0.017),
    *(0.028, 0.036, 0.043, 0.049, 0.055, 0.060, 0.066, 0.079, 0.116, 0.098),
)
_LITERATURE = {"NMC": _NICKEL_RICH, "NCA": _NICKEL_RICH}


def entropic_coefficient(
    circuits: Sequence[OpenCircuit], soc: FloatArray, chemistry: str
) -> tuple[FloatArray, str]:
    """Slope of the open-circuit voltage over temperature [V/K] at ``soc``, and its source.

    The median of the slopes between all pairs of slow tests (Theil and Sen) at least 10 K apart;
    where they do not tell (one temperature, or charge and discharge that do not balance, which
    shifts their mean more than temperature does), that of the literature for the chemistry.
    """
    tests = [one for one in circuits if one.temperature_c >= _LOWEST_C]
    balances = [one.discharge.charge_ah / one.charge.charge_ah for one in tests if one.ended_full]
    temperatures = np.array([one.temperature_c for one in tests])
    unbalanced = any(abs(balance - 1.0) > _LARGEST_IMBALANCE for balance in balances)
    if len(tests) < 2 or np.ptp(temperatures) < _SMALLEST_SPAN_K or unbalanced:
        return _from_literature(soc, chemistry)
    ocv_v = np.array([one.ocv_v for one in tests])
    slopes = [
        (ocv_v[warm] - ocv_v[cold]) / (temperatures[warm] - temperatures[cold])
        for cold in range(len(tests))
        for warm in range(cold + 1, len(tests))
        if temperatures[warm] - temperatures[cold] >= 10.0
    ]
    measured = np.isfinite(slopes).all(axis=0)  # the coldest test ends before the cell is empty
    slope = np.median(np.array(slopes)[:, measured], axis=0)
    slope = np.clip(slope, -_LARGEST_V_PER_K, _LARGEST_V_PER_K)
    at_soc = np.interp(soc, tests[0].soc[measured], slope)
    padded = np.pad(at_soc, _SMOOTH, mode="edge")
    width = 2 * _SMOOTH + 1
    smooth: FloatArray = np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
    told = ", ".join(f"{temperature:.0f}" for temperature in temperatures)
    return smooth, f"entropic coefficient: slope of the slow tests at {told} degC"


def _from_literature(soc: FloatArray, chemistry: str) -> tuple[FloatArray, str]:
    for name, known_mv_per_k in _LITERATURE.items():
        if chemistry.startswith(name):
            known_soc = np.linspace(0.0, 1.0, len(known_mv_per_k))
            values: FloatArray = 1e-3 * np.interp(soc, known_soc, known_mv_per_k)
            return values, (
                "entropic coefficient: K. O'Regan et al., Electrochimica Acta 425 (2022) 140700"
            )
    return np.zeros(len(soc)), "entropic coefficient: not known, taken as 0"
