# SPDX-License-Identifier: Apache-2.0
"""A simulated cell driven at the predicted limit: does it stay within its voltages?

The plant is PyBaMM's single particle model with electrolyte (SPMe); the predictions come from the
estimator that followed it, with the model of the cell file: plant and model differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybamm

from ibms_battery.cell import Cell
from ibms_battery.recordings import FloatArray
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.power_prediction import HORIZONS_S, Limit, PowerPrediction
from ibms_edge.limits.curves import DeratingCurves

PARAMETER_SET = "OKane2022"
SOCS = (0.1, 0.3, 0.5, 0.7, 0.9)
TEMPERATURES_C = (5.0, 15.0, 25.0, 35.0)
SHORT_S = HORIZONS_S[:3]
_CURRENT, _AMBIENT = "Current function [A]", "Ambient temperature [K]"
_ZERO_C_K = 273.15
_STEP_S = 1.0
_DRIVE_STEPS = 300
_WATCH_S = 0.2  # the voltage is looked at this often while it is driven at the limit
_SEED = 20260301


@dataclass(frozen=True)
class LimitDrive:
    """One drive at a predicted limit."""

    temperature_c: float
    soc: float
    horizon_s: float
    charging: bool
    current_a: float  # magnitude
    limited_by: Limit
    beyond_v: float  # largest excess over the voltage to hold; negative: room left


class Plant:
    """The simulated cell; a state is a PyBaMM solution, so that it can be gone on from twice."""

    def __init__(self, soc: float, temperature_c: float) -> None:
        values = pybamm.ParameterValues(PARAMETER_SET)
        values.set_initial_state(soc)
        values.update({_CURRENT: "[input]", _AMBIENT: "[input]"})
        model = pybamm.lithium_ion.SPMe()
        model.events = []  # limits are what is examined
        self._solver = pybamm.IDAKLUSolver(rtol=1e-5, atol=1e-7)
        simulation = pybamm.Simulation(model, parameter_values=values, solver=self._solver)
        simulation.build()
        self._model = simulation.built_model
        self._ambient_k = temperature_c + _ZERO_C_K

    def step(self, state: Any, current_a: float, step_s: float) -> tuple[Any, float]:
        """State after a step from ``state`` (None: the start) and the voltage then [V]."""
        inputs = {_CURRENT: -current_a, _AMBIENT: self._ambient_k}
        state = self._solver.step(state, self._model, step_s, inputs=inputs, save=False)
        return state, float(state["Terminal voltage [V]"].entries[-1])


def drives(cell: Cell, curves: DeratingCurves) -> Iterator[LimitDrive]:
    """Each charge and temperature is approached with a random load, then driven at each limit."""
    prediction = PowerPrediction(cell, curves)
    one: FloatArray = np.ones(1)
    for temperature_c in TEMPERATURES_C:
        for soc in SOCS:
            random = np.random.default_rng(_SEED)
            plant = Plant(soc, temperature_c)
            estimator = AdaptiveFilter(cell, 1)
            nothing = np.full(1, np.nan)
            estimator.start(nothing, nothing, rested=True)
            state, voltage_v = plant.step(None, 0.0, _STEP_S)
            estimator.update(voltage_v * one, temperature_c * one, 0.0 * one, 0.0)
            loads = random.choice([-1.0, -0.3, 0.0, 0.3, 0.7], _DRIVE_STEPS // 15)
            for load in np.repeat(loads, 15) * cell.capacity_ah * 0.5:
                state, voltage_v = plant.step(state, float(load), _STEP_S)
                estimator.update(voltage_v * one, temperature_c * one, load * one, _STEP_S)
            circuit = estimator.circuit_state()
            power = prediction.cells(circuit)
            for direction, charging in ((0, True), (1, False)):
                sign = 1.0 if charging else -1.0
                hold_v = (curves.charge if charging else curves.discharge).hold_v
                for index, horizon_s in enumerate(SHORT_S):
                    current_a = float(power.current_a[direction, index, 0])
                    branch, beyond_v = state, -np.inf
                    for _ in range(round(horizon_s / _WATCH_S)):
                        branch, voltage_v = plant.step(branch, sign * current_a, _WATCH_S)
                        beyond_v = max(beyond_v, sign * (voltage_v - hold_v))
                    yield LimitDrive(
                        temperature_c=temperature_c,
                        soc=float(circuit.soc[0]),
                        horizon_s=horizon_s,
                        charging=charging,
                        current_a=current_a,
                        limited_by=Limit(int(power.limited_by[direction, index, 0])),
                        beyond_v=beyond_v,
                    )
