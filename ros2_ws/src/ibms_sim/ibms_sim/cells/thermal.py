# SPDX-License-Identifier: Apache-2.0
"""Heat of the pack: cells, their neighbours, the coolant loop and the ambient air."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack
from ibms_sim.configuration import Thermal

FloatArray = npt.NDArray[np.float64]


@dataclass
class Actuation:
    """What the thermal actuators do, each 0 to 1."""

    pump: float = 0.0
    fan: float = 0.0
    chiller: float = 0.0
    heater: float = 0.0


class ThermalNetwork:
    """Temperatures of all cell groups and of the coolant, stepped explicitly.

    Neighbours in series are neighbours in space, except across the border between two modules.
    """

    def __init__(
        self, pack: Pack, thermal: Thermal, heat_capacity_j_k: float, start_c: float
    ) -> None:
        self.cell_c: FloatArray = np.full(pack.series, start_c)
        self.coolant_c = start_c
        self._thermal = thermal
        self._capacity_j_k = heat_capacity_j_k * pack.parallel
        self._neighbour_w_k = thermal.neighbour_w_k * pack.parallel
        self._plate_w_k = thermal.plate_w_k * pack.parallel
        self._air_w_k = thermal.air_w_k * pack.parallel
        per_module = -(-pack.series // pack.modules)
        self._touching = np.arange(1, pack.series) % per_module != 0

    def step(self, heat_w: FloatArray, actuation: Actuation, step_s: float) -> None:
        """Advance by ``step_s`` with ``heat_w`` (cell groups,) set free in the cells."""
        thermal = self._thermal
        between = (self.cell_c[1:] - self.cell_c[:-1]) * self._touching * self._neighbour_w_k
        pump_share = thermal.plate_without_pump + (1 - thermal.plate_without_pump) * actuation.pump
        to_plate = (self.cell_c - self.coolant_c) * (self._plate_w_k * pump_share)
        to_air = (self.cell_c - thermal.ambient_temperature_c) * self._air_w_k
        flow = heat_w - to_plate - to_air
        flow[:-1] += between
        flow[1:] -= between
        fan_share = (
            thermal.radiator_without_fan + (1 - thermal.radiator_without_fan) * actuation.fan
        )
        # Chiller, heater and radiator are in the loop: they reach the coolant through the flow.
        loop_w = actuation.heater * thermal.heater_w - actuation.chiller * thermal.chiller_w
        radiator_w = (
            (self.coolant_c - thermal.ambient_temperature_c) * thermal.radiator_w_k * fan_share
        )
        coolant_w = float(to_plate.sum()) + (loop_w - radiator_w) * actuation.pump
        self.cell_c += flow * (step_s / self._capacity_j_k)
        self.coolant_c += coolant_w * step_s / thermal.coolant_j_k
