# SPDX-License-Identifier: Apache-2.0
"""What the first voltage says of a cell: all states of charge are weighed, not one tangent. No ROS.

At a wrong start of 20 % the slope of the open-circuit voltage holds nowhere near; so the state of
charge is integrated over the whole table (a point-mass filter, Simon, Optimal State Estimation, ch.
15.1), and what is left over is shared out among the other states by their variances.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ibms_battery.circuit import Circuit

FloatArray = npt.NDArray[np.float64]

_OFFSET = 3  # place in means and covariances


class Doubt(NamedTuple):
    """Variances of what may lie between a voltage and the table [V^2], each (cells,)."""

    fast: FloatArray
    slow: FloatArray
    offset: FloatArray  # that all voltages share; given the charge
    offset_per_soc: FloatArray  # [V]: expected of it where the charge is more than believed
    resistance: FloatArray  # [1]: of the factor of the drop
    sample: FloatArray  # and all else


class FirstEstimate(NamedTuple):
    """Mean (5, cells), covariance (5, 5, cells): soc, fast, slow, offset, change of resistance."""

    mean: FloatArray
    covariance: FloatArray


def weigh(
    circuit: Circuit,
    soc: FloatArray,
    soc_std: FloatArray,
    voltage_v: FloatArray,
    temperature_c: FloatArray,
    current_a: FloatArray,
    hysteresis: FloatArray,
    doubt: Doubt,
) -> FirstEstimate:
    """Combine a belief about the charge with a first voltage.

    Args:
        circuit: of the cell type.
        soc: belief (cells,).
        soc_std: its standard deviation (cells,).
        voltage_v: measured (cells,), finite like the next two.
        temperature_c: measured (cells,).
        current_a: measured (cells,).
        hysteresis: -1 to 1 (cells,).
        doubt: beforehand.
    """
    grid = np.linspace(0.0, 1.0, circuit.ocv_v.shape[1])
    place = (temperature_c - circuit.first_temperature_c) / circuit.temperature_step_k
    place = np.clip(place, 0.0, len(circuit.ocv_v) - 1.000001)
    row = place.astype(np.intp)
    share = (place - row)[:, np.newaxis]

    def at(table: FloatArray) -> FloatArray:
        return (1.0 - share) * table[row] + share * table[row + 1]  # (cells, grid)

    i = current_a[:, np.newaxis]
    i0 = circuit.activation_current_a
    drop_v = at(circuit.ohmic_ohm) * i + at(circuit.activation_ohm) * i0 * np.arcsinh(i / i0)
    offset_v = doubt.offset_per_soc[:, np.newaxis] * (grid - soc[:, np.newaxis])
    rest_v = voltage_v[:, np.newaxis] - (
        at(circuit.ocv_v) + circuit.hysteresis_v * hysteresis[:, np.newaxis] + drop_v + offset_v
    )
    resistance_v2 = doubt.resistance[:, np.newaxis] * drop_v**2
    known = (doubt.fast + doubt.slow + doubt.offset + doubt.sample)[:, np.newaxis]
    total = known + resistance_v2
    # A belief narrower than the grid would collapse onto one of its points.
    soc_std = np.maximum(soc_std, 0.5 * (grid[1] - grid[0]))
    belief = ((grid - soc[:, np.newaxis]) / soc_std[:, np.newaxis]) ** 2
    logarithm = -0.5 * (rest_v**2 / total + np.log(total) + belief)
    weight = np.exp(logarithm - logarithm.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)

    # Given the charge each cause has mean and variance of its share; then over all charges.
    causes = [doubt.fast, doubt.slow, doubt.offset]
    means = [np.broadcast_to(grid, rest_v.shape)]
    means += [cause[:, np.newaxis] * rest_v / total for cause in causes]
    means[_OFFSET] = means[_OFFSET] + offset_v
    means.append(doubt.resistance[:, np.newaxis] * drop_v * rest_v / total)
    size = len(means)
    mean = np.array([(weight * one).sum(axis=1) for one in means])
    covariance = np.empty((size, size, len(soc)))
    gains = [np.zeros_like(rest_v)]
    gains += [np.broadcast_to(cause[:, np.newaxis], rest_v.shape) for cause in causes]
    gains.append(doubt.resistance[:, np.newaxis] * drop_v)
    priors = [np.zeros(len(soc)), *causes, doubt.resistance]
    for a in range(size):
        for b in range(a, size):
            among = (weight * (means[a] - mean[a][:, np.newaxis]) * means[b]).sum(axis=1)
            within = -(weight * gains[a] * gains[b] / total).sum(axis=1)
            covariance[a, b] = covariance[b, a] = among + within + (priors[a] if a == b else 0.0)
    return FirstEstimate(mean, covariance)
