# SPDX-License-Identifier: Apache-2.0
"""Cells whose circuit is drawn at random, and another way to look into their tables."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from ibms_battery.cell import Cell
from ibms_battery.cell_model import (
    Activation,
    CellModel,
    Hysteresis,
    ResistorCapacitor,
    Thermal,
    Uncertainty,
)
from ibms_battery.circuit import Circuit

CAPACITY_AH = 2.5
WITHIN = 1e-6  # of an interval: where the code under test holds its tables at their ends
TEMPERATURES_C = [-20.0, 0.0, 25.0, 45.0]


def draw_cell(seed: int) -> Cell:
    """A cell with hysteresis, charge transfer and tables that differ at each point."""
    random = np.random.default_rng(seed)
    socs = np.linspace(0.0, 1.0, 11)
    ocv_v = 3.0 + np.cumsum(random.uniform(0.02, 0.2, len(socs)))

    def table(low: float, high: float) -> list[list[float]]:
        values: list[list[float]] = random.uniform(low, high, (4, len(socs))).tolist()
        return values

    model = CellModel(
        version=1,
        temperatures_c=TEMPERATURES_C,
        soc_points=socs.tolist(),
        ocv_correction_v=table(-0.003, 0.003),
        ohmic_resistance_ohm=table(0.01, 0.04),
        activation=Activation(current_a=0.8, resistance_ohm=table(0.0, 0.02)),
        fast=ResistorCapacitor(time_constant_s=6.0, resistance_ohm=table(0.005, 0.02)),
        slow=ResistorCapacitor(time_constant_s=90.0, resistance_ohm=table(0.005, 0.03)),
        hysteresis=Hysteresis(voltage_v=random.uniform(0.0, 0.02, len(socs)).tolist(), rate=40.0),
        entropic_coefficient_v_per_k=[0.0] * len(socs),
        thermal=Thermal(heat_capacity_j_per_k=45.0, thermal_resistance_k_per_w=8.0),
        uncertainty=Uncertainty(
            voltage_v=0.004,
            drop_share=0.4,
            polarisation_v=0.001,
            cold_growth_per_k=0.03,
            model_v=0.005,
            offset_v=0.004,
            load_before_h=0.5,
            bias_a=0.06,
            bias_drift_a=0.05,
            resistance=0.2,
            resistance_drift=0.1,
            temperature_k=3.0,
            temperature_drift_k=1.0,
            capacity=0.03,
            capacity_drift=1e-3,
            gate=9.0,
        ),
        source="drawn at random",
    )
    return Cell(
        name="drawn",
        chemistry="NMC",
        capacity_ah=CAPACITY_AH,
        minimum_voltage_v=2.5,
        maximum_voltage_v=5.5,
        nominal_voltage_v=3.6,
        resistance_ohm=0.03,
        soc_points=socs.tolist(),
        ocv_points_v=ocv_v.tolist(),
        maximum_charge_current_a=5.0,
        maximum_discharge_current_a=10.0,
        source="drawn at random",
        model=model,
    )


class Tables:
    """Tables of a circuit by scipy, held at their ends: independent of the code under test."""

    def __init__(self, circuit: Circuit) -> None:
        rows, columns = circuit.ocv_v.shape
        self.first_c, self.step_k = circuit.first_temperature_c, circuit.temperature_step_k
        self.last_c = self.first_c + self.step_k * (rows - 1)
        self._rows_c = self.first_c + self.step_k * np.arange(rows)
        self._socs = np.linspace(0.0, 1.0, columns)
        self._of = {
            name: RegularGridInterpolator((self._rows_c, self._socs), getattr(circuit, name))
            for name in ("ocv_v", "slope_v", "ohmic_ohm", "activation_ohm", "fast_ohm", "slow_ohm")
        }
        self._hysteresis_v = circuit.hysteresis_v

    def at(self, name: str, temperature_c: float, soc: float) -> float:
        """Value of a table."""
        place = [
            np.clip(temperature_c, self.first_c, self.last_c - WITHIN * self.step_k),
            np.clip(soc, 0.0, 1.0 - WITHIN * (self._socs[1] - self._socs[0])),
        ]
        return float(self._of[name](place)[0])

    def per_k(self, name: str, temperature_c: float, soc: float) -> float:
        """Derivative by the temperature: from the row below to the row above."""
        row = int(np.floor((temperature_c - self.first_c) / self.step_k))
        row = max(0, min(row, len(self._rows_c) - 2))
        low_c, high_c = self._rows_c[row], self._rows_c[row] + 0.5 * self.step_k
        return float((self.at(name, high_c, soc) - self.at(name, low_c, soc)) / (high_c - low_c))

    def hysteresis_v(self, soc: float) -> float:
        """Half the gap of charge and discharge."""
        last = 1.0 - WITHIN * (self._socs[1] - self._socs[0])
        return float(np.interp(min(soc, last), self._socs, self._hysteresis_v))


@pytest.fixture
def random_cell() -> Callable[[int], Cell]:
    return draw_cell


@pytest.fixture
def tables_of() -> Callable[[Circuit], Tables]:
    return Tables
