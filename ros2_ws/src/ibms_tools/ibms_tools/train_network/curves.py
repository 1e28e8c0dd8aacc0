# SPDX-License-Identifier: Apache-2.0
"""Curves that a network is given with: what is known of the cell when it is trained."""

import numpy as np

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit, model_of
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.network_file import Curves

_SOC_STEPS = 40
_LEAST_RISE_V = 1e-3  # between points: the curve is inverted


def curves_of(cell: Cell) -> Curves:
    """Open-circuit voltage and typical resistances at the temperatures of the cell's model.

    Charge transfer counts as ohmic at its small currents; how far it is less at large ones the
    network sees itself.
    """
    circuit = build_circuit(cell)
    temperatures_c = np.array(model_of(cell).temperatures_c)
    place = CircuitPlace(circuit, temperatures_c)
    socs = np.linspace(0.0, 1.0, _SOC_STEPS + 1)
    ocv_v = np.array([place.table(circuit.ocv_v, np.full(len(temperatures_c), x)) for x in socs]).T
    rising = np.arange(len(socs)) * _LEAST_RISE_V
    ocv_v = np.maximum.accumulate(ocv_v - rising, axis=1) + rising
    instant_ohm = place.typical_ohm(circuit.ohmic_ohm) + place.typical_ohm(circuit.activation_ohm)

    def rounded(values: np.typing.NDArray[np.float64]) -> list[float]:
        return [float(f"{value:.4g}") for value in values]

    return Curves(
        temperatures_c=temperatures_c.tolist(),
        soc_points=[round(float(x), 4) for x in socs],
        ocv_v=[[round(float(v), 5) for v in row] for row in ocv_v],
        instant_ohm=rounded(instant_ohm),
        fast_ohm=rounded(place.typical_ohm(circuit.fast_ohm)),
        slow_ohm=rounded(place.typical_ohm(circuit.slow_ohm)),
        fast_s=circuit.fast_s,
        slow_s=circuit.slow_s,
    )
