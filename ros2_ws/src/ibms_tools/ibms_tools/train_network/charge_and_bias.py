# SPDX-License-Identifier: Apache-2.0
"""The estimator's Kalman filter of charge and bias over whole sequences, and its gradient.

As torch operations the hundreds of steps take most of a training's time; so both ways are loops
for numba. The equations are those of ``ibms_edge.estimation.network``, one step for each period.
"""

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

STATES = 5  # charge, bias; variance of the charge, covariance, variance of the bias
SOC, BIAS, SOC_V, BOTH_V, BIAS_V = range(STATES)


@numba.njit(cache=True)
def filter_charges(
    reading: FloatArray,
    noise_v: FloatArray,
    usable: FloatArray,
    charge: FloatArray,
    start_soc: FloatArray,
    start_std: FloatArray,
    gain: float,
    bias_std: float,
    bias_drift_v: float,
    soc_drift_v: float,
) -> FloatArray:
    """States before the first and after each period (sequences, periods + 1, STATES).

    Args:
        reading: of the charge (sequences, periods).
        noise_v: its variance (sequences, periods).
        usable: 1 where there is a reading, else 0 (sequences, periods).
        charge: counted in the period, of the capacity (sequences, periods).
        start_soc: believed beforehand (sequences,).
        start_std: its sigma (sequences,).
        gain: charge that a bias of 1 A counts in a period, of the capacity.
        bias_std: sigma of the bias [A].
        bias_drift_v: variance that comes to it in each period [A^2].
        soc_drift_v: variance that comes to the charge in each period.
    """
    count, periods = reading.shape
    states = np.empty((count, periods + 1, STATES))
    for one in range(count):
        x, b, p, q, r = start_soc[one], 0.0, start_std[one] ** 2, 0.0, bias_std**2
        states[one, 0] = (x, b, p, q, r)
        for k in range(periods):
            x += charge[one, k] - gain * b
            p += gain * (gain * r - 2.0 * q) + soc_drift_v
            q -= gain * r
            r += bias_drift_v
            share = usable[one, k] / (p + noise_v[one, k])
            off = reading[one, k] - x
            x += p * share * off
            b += q * share * off
            r -= q * q * share
            q -= q * p * share
            p -= p * p * share
            states[one, k + 1] = (x, b, p, q, r)
    return states


@numba.njit(cache=True)
def gradients(
    states: FloatArray,
    reading: FloatArray,
    noise_v: FloatArray,
    usable: FloatArray,
    charge: FloatArray,
    gain: float,
    bias_drift_v: float,
    soc_drift_v: float,
    by_soc: FloatArray,
    by_variance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives by reading and noise_v, both (sequences, periods).

    Args:
        states: what ``filter_charges`` found for the next arguments.
        reading: see there.
        noise_v: see there.
        usable: see there.
        charge: see there.
        gain: see there.
        bias_drift_v: see there.
        soc_drift_v: see there.
        by_soc: derivatives by the charge after each period (sequences, periods).
        by_variance: those by its variance.
    """
    count, periods = reading.shape
    by_reading, by_noise = np.empty((count, periods)), np.empty((count, periods))
    for one in range(count):
        gx = gb = gp = gq = gr = 0.0
        for k in range(periods - 1, -1, -1):
            gx += by_soc[one, k]
            gp += by_variance[one, k]
            x, b, p, q, r = states[one, k]
            # Forward again to where the reading came in.
            x += charge[one, k] - gain * b
            p += gain * (gain * r - 2.0 * q) + soc_drift_v
            q -= gain * r
            share = usable[one, k] / (p + noise_v[one, k])
            off = reading[one, k] - x
            by_share = gx * p * off + gb * q * off - gr * q * q - gq * q * p - gp * p * p
            by_off = share * (gx * p + gb * q)
            by_total = -by_share * share * share  # usable is 0 or 1
            by_reading[one, k], by_noise[one, k] = by_off, by_total
            # Before the reading, then before the period.
            new_p = gx * share * off - gq * q * share + gp * (1.0 - 2.0 * p * share) + by_total
            new_q = gb * share * off - 2.0 * gr * q * share + gq * (1.0 - p * share)
            gx -= by_off
            gb -= gain * gx
            gr += gain * (gain * new_p - new_q)
            gp, gq = new_p, new_q - 2.0 * gain * new_p
    return by_reading, by_noise
