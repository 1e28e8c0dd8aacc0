# SPDX-License-Identifier: Apache-2.0
"""Charge of a cell of which nothing is known, from its first voltage. No ROS."""

import numpy as np
import numpy.typing as npt

from ibms_battery.cell_model import Uncertainty
from ibms_battery.circuit import Circuit
from ibms_edge.estimation.circuit_place import CircuitPlace

FloatArray = npt.NDArray[np.float64]

UNKNOWN_SOC_STD = 12.0**-0.5  # of a charge of which nothing is known
_SURE_OF_BIAS = 2.0
_WARM_C = 25.0
_LEAST_SLOPE_V = 1e-3


def polarisation_variances(
    circuit: Circuit, uncertainty: Uncertainty, temperature_c: FloatArray, unrested: FloatArray
) -> FloatArray:
    """Variance of the fast and of the slow polarisation when a cell is met (2, cells) [V^2].

    Args:
        circuit: of the cell type.
        uncertainty: of the cell type.
        temperature_c: of the cells (cells,).
        unrested: share that is left of what the load before brought (2, cells); 0 after a rest.
    """
    place = CircuitPlace(circuit, temperature_c)
    before_a = uncertainty.load_before_h * circuit.capacity_ah
    typical = [place.typical_ohm(table) for table in (circuit.fast_ohm, circuit.slow_ohm)]
    variances: FloatArray = np.square(unrested * before_a * np.array(typical))
    return variances


def branch_under_load(uncertainty: Uncertainty, current_a: FloatArray) -> FloatArray:
    """Hysteresis of cells that are met under load: they have been driven the way the current flows.

    0, so that the branch is in doubt, where the current may be the sensor's bias.
    """
    flows = np.abs(current_a) > _SURE_OF_BIAS * uncertainty.bias_a
    return np.where(flows, np.sign(current_a), 0.0)


def soc_of_first_voltage(
    circuit: Circuit,
    uncertainty: Uncertainty,
    voltage_v: FloatArray,
    temperature_c: FloatArray,
    current_a: FloatArray,
    hysteresis: FloatArray,
    polarisation_v2: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Charge at which the circuit without polarisation shows a voltage, and its doubt (cells,).

    Args:
        circuit: of the cell type.
        uncertainty: of the cell type.
        voltage_v: measured, finite, as all else (cells,).
        temperature_c: of the cells.
        current_a: that flows.
        hysteresis: -1 to 1; where it is less the branch is in doubt.
        polarisation_v2: variance of what may add to the open-circuit voltage [V^2].
    """
    place = CircuitPlace(circuit, temperature_c)
    soc = place.soc_at(voltage_v, current_a, hysteresis)
    cold = np.exp(uncertainty.cold_growth_per_k * np.maximum(_WARM_C - temperature_c, 0.0))
    variance = np.square(np.hypot(uncertainty.voltage_v, uncertainty.model_v) * cold)
    variance += np.square(uncertainty.drop_share * place.drop_v(soc, current_a))
    variance += np.square((1.0 - np.abs(hysteresis)) * place.curve(circuit.hysteresis_v, soc))
    slope_v = np.maximum(place.table(circuit.slope_v, soc), _LEAST_SLOPE_V)
    return soc, np.minimum(np.sqrt(variance + polarisation_v2) / slope_v, UNKNOWN_SOC_STD)
