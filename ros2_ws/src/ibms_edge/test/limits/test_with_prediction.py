# SPDX-License-Identifier: Apache-2.0
"""Limits with the prediction in the loop: a charge ends full, a discharge empty, none beyond.

The plant is the circuit of the cell as described, with other resistances and three unequal cells,
of which the estimator knows nothing; limits and prediction are those of the nodes.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.cell import load_cell
from ibms_battery.circuit import build_circuit
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.power_prediction import HORIZONS_S, PowerPrediction
from ibms_edge.estimation.registry import DEFAULT, build_estimator
from ibms_edge.limits.curves import load_curves
from ibms_edge.limits.power_limits import CellsNow, LimitedBy, PowerLimits, Prediction

CONFIG = Path(__file__).resolve().parents[5] / "config"
CELL = load_cell(CONFIG / "cells" / "lg_m50.yaml")
CURVES = load_curves(CONFIG / "limits" / "lg_m50.yaml", CELL)
COUNT = 3
ALL = np.ones(COUNT, np.bool_)
STEP_S = 5.0
WARM_C = np.full(COUNT, 25.0)
AT = HORIZONS_S.index(10.0)


class Plant:
    """Cells by the circuit; a factor of all resistances and charges of their own."""

    def __init__(self, soc: float, factor: float) -> None:
        self.circuit = build_circuit(CELL)
        self.place = CircuitPlace(self.circuit, WARM_C)
        self.soc = soc + np.array([-0.02, 0.0, 0.01])
        self.factor = factor
        self.fast_v = self.slow_v = np.zeros(COUNT)

    def step(self, current_a: float) -> np.ndarray:
        circuit = self.circuit
        self.soc = self.soc + current_a * STEP_S / 3600.0 / circuit.capacity_ah
        for name, tau, table in (
            ("fast_v", circuit.fast_s, circuit.fast_ohm),
            ("slow_v", circuit.slow_s, circuit.slow_ohm),
        ):
            left = np.exp(-STEP_S / tau)
            ohm = self.place.table(table, self.soc)
            setattr(self, name, left * getattr(self, name) + (1.0 - left) * ohm * current_a)
        drop_v = self.place.drop_v(self.soc, np.full(COUNT, current_a))
        over_v = self.factor * (drop_v + self.fast_v + self.slow_v)
        voltage_v: np.ndarray = self.place.table(circuit.ocv_v, self.soc) + over_v
        return voltage_v


def drive(plant: Plant, sign: float, hours: float) -> tuple[np.ndarray, np.ndarray]:
    """Currents and voltages (steps,), (steps, cells) with the most that the limits allow."""
    estimator = build_estimator(DEFAULT, CELL, COUNT)
    prediction = PowerPrediction(CELL, CURVES)
    limits = PowerLimits(CELL, 1, CURVES)
    current_a, currents_a, voltages_v = 0.0, [], []
    for number in range(round(hours * 3600.0 / STEP_S)):
        voltage_v = plant.step(current_a)
        estimator.update(voltage_v, WARM_C, np.full(COUNT, current_a), STEP_S)
        state = replace(estimator.circuit_state(), soc_std=np.zeros(COUNT))
        power = prediction.pack(state, [slice(0, COUNT)], 1, ALL)
        cells = CellsNow(
            voltage_v, WARM_C, estimator.estimate.soc, np.full(COUNT, np.nan), current_a
        )
        allowed = limits.update(
            cells,
            derate=False,
            withdraw=False,
            now_ns=round(number * STEP_S * 1e9),
            prediction=Prediction(
                (float(power.current_a[0, AT]), LimitedBy(power.limited_by[0, AT])),
                (float(power.current_a[1, AT]), LimitedBy(power.limited_by[1, AT])),
            ),
        )
        current_a = allowed.charge_current_a if sign > 0 else -allowed.discharge_current_a
        currents_a.append(current_a)
        voltages_v.append(voltage_v)
    return np.array(currents_a), np.array(voltages_v)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_a_charge_ends_full(factor: float) -> None:
    currents_a, voltages_v = drive(Plant(0.93, factor), 1.0, 0.8)
    assert currents_a.max() > 0.3 * CELL.maximum_charge_current_a
    assert voltages_v.max() < CELL.maximum_voltage_v
    # Small at the end, as a charger's end is.
    assert currents_a[-1] < 0.03 * CELL.capacity_ah
    assert voltages_v[-1].max() > CURVES.charge.hold_v - 0.02


def test_a_discharge_ends_empty() -> None:
    plant = Plant(0.1, 1.3)
    _, voltages_v = drive(plant, -1.0, 0.4)
    assert voltages_v.min() > CURVES.discharge.zero_v
    assert plant.soc.min() < 0.03
