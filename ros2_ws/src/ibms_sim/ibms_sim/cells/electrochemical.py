# SPDX-License-Identifier: Apache-2.0
"""PyBaMM's single particle model with electrolyte (SPMe) as the cells of a small pack.

A step of one group costs 1 to 2 ms, so the groups take turns: one is stepped with each step of the
plant, over the time since its last turn and with its mean current. In between its voltage follows
the current by what acts at once: ohmic resistance and charge transfer.
"""

from typing import Any

import casadi
import numpy as np
import numpy.typing as npt
import pybamm

from ibms_sim.cells.stack import CellModelError
from ibms_sim.configuration import Pybamm

FloatArray = npt.NDArray[np.float64]

_CURRENT = "Current function [A]"
_TEMPERATURE = "Ambient temperature [K]"
_START_NEGATIVE = "Initial concentration in negative electrode [mol.m-3]"
_START_POSITIVE = "Initial concentration in positive electrode [mol.m-3]"
_INPUTS = (_CURRENT, _TEMPERATURE, _START_NEGATIVE, _START_POSITIVE)
_OUTPUTS = ("Terminal voltage [V]", "Bulk open-circuit voltage [V]")
_ZERO_C_K = 273.15
_POINTS = {"x_n": 10, "x_s": 5, "x_p": 10, "r_n": 12, "r_p": 12}
_PROBES_A = np.array([-20.0, -10.0, -5.0, -2.5, -1.0, 0.0, 1.0, 2.5, 5.0, 10.0, 20.0])
_PROBE_S = 0.001
_FARADAY = 96485.33212


class ElectrochemicalCells:
    """Cell groups; currents are those of one cell of the group [A], charge positive.

    Args:
        settings: parameter set and step.
        state_of_charge: at the start (groups,).
        capacity_factor, resistance_factor: spread between groups (groups,).
        temperature_c: at the start.
        step_s: the fixed step of ``step``.

    Raises:
        CellModelError: if the groups cannot all have their turn within ``settings.step_s``.
    """

    def __init__(
        self,
        settings: Pybamm,
        state_of_charge: FloatArray,
        capacity_factor: FloatArray,
        resistance_factor: FloatArray,
        temperature_c: float,
        step_s: float,
    ) -> None:
        count = len(state_of_charge)
        self._turns = round(settings.step_s / step_s)
        if count > self._turns:
            raise CellModelError(
                f"{count} cell groups need a turn each within plant.step_s = {settings.step_s} s, "
                f"which has {self._turns} steps of {step_s} s; raise plant.step_s to at least "
                f"{count * step_s:g} or use 'kind: reduced'"
            )
        self.soc: FloatArray = state_of_charge.astype(np.float64)
        self._step_s = step_s
        self._capacity_factor = capacity_factor
        self._temperature_k: FloatArray = np.full(count, temperature_c + _ZERO_C_K)
        values = pybamm.ParameterValues(settings.parameter_set)
        empty_n, full_n, full_p, empty_p = pybamm.lithium_ion.get_min_max_stoichiometries(values)
        largest_n = values["Maximum concentration in negative electrode [mol.m-3]"]
        largest_p = values["Maximum concentration in positive electrode [mol.m-3]"]
        self._capacity_ah = _negative_capacity_ah(values) * (full_n - empty_n)
        self._start = [
            (
                float(empty_n + soc * (full_n - empty_n)) * largest_n,
                float(empty_p + soc * (full_p - empty_p)) * largest_p,
            )
            for soc in state_of_charge
        ]
        values.update(dict.fromkeys(_INPUTS, "[input]"))
        model = pybamm.lithium_ion.SPMe()
        model.events = []  # limits are the business of the BMS
        self._solver = pybamm.IDAKLUSolver(rtol=1e-4, atol=1e-6)
        simulation = pybamm.Simulation(
            model, parameter_values=values, solver=self._solver, var_pts=_POINTS
        )
        simulation.build()
        self._model = simulation.built_model
        self._outputs: Any = None
        self._solutions: list[Any] = [None] * count
        self._slow_v: FloatArray = np.zeros(count)
        self.open_circuit_v: FloatArray = np.zeros(count)
        # Voltage of currents just switched on, as a table: charge transfer is not linear.
        self._jump_v = np.zeros(len(_PROBES_A))
        for index, probe_a in enumerate(_PROBES_A):
            self._solutions[0] = None
            self._solve(0, probe_a * float(capacity_factor[0]), _PROBE_S)
            self._jump_v[index] = self._slow_v[0] - self.open_circuit_v[0]
        self._solutions[0] = None
        self._resistance_factor = resistance_factor
        for group in range(count):
            self._solve(group, 0.0, step_s)
        self.voltage_v: FloatArray = self._slow_v.copy()
        self._charge_c: FloatArray = np.zeros(count)
        self._since_s: FloatArray = np.zeros(count)
        self._turn = 0

    @property
    def ohmic_ohm(self) -> FloatArray:
        """Resistance of a cell that acts at once (groups,)."""
        return self._jump(np.ones(len(self.soc))) * self._resistance_factor

    @property
    def quick_ohm(self) -> FloatArray:
        """The same: what acts at once holds charge transfer here."""
        return self.ohmic_ohm

    def step(self, current_a: FloatArray, temperature_c: FloatArray) -> None:
        """Advance by the fixed step; one group has its turn."""
        self._charge_c += current_a * self._step_s
        self._since_s += self._step_s
        self.soc += current_a * (self._step_s / (3600 * self._capacity_ah * self._capacity_factor))
        self._temperature_k = temperature_c + _ZERO_C_K
        group, self._turn = self._turn, (self._turn + 1) % self._turns
        if group < len(self.soc):
            mean_a = float(self._charge_c[group] / self._since_s[group])
            self._solve(group, mean_a, float(self._since_s[group]))
            self._slow_v[group] -= np.interp(
                mean_a / self._capacity_factor[group], _PROBES_A, self._jump_v
            )
            self._charge_c[group] = self._since_s[group] = 0.0
        self.voltage_v = self._slow_v + self._jump(current_a) * self._resistance_factor

    def _jump(self, current_a: FloatArray) -> FloatArray:
        """Voltage that a current causes at once (groups,)."""
        return np.interp(current_a / self._capacity_factor, _PROBES_A, self._jump_v)

    def _solve(self, group: int, current_a: float, duration_s: float) -> None:
        """Step one group of the model; PyBaMM counts discharge positive."""
        start_n, start_p = self._start[group]
        inputs = {
            _CURRENT: -current_a / self._capacity_factor[group],
            _TEMPERATURE: self._temperature_k[group],
            _START_NEGATIVE: start_n,
            _START_POSITIVE: start_p,
        }
        try:
            solution = self._solver.step(
                self._solutions[group], self._model, duration_s, inputs=inputs, save=False
            )
        except pybamm.SolverError as error:
            raise CellModelError(
                f"cell group {group} left the range of the electrochemical model at "
                f"{100 * self.soc[group]:.1f} % state of charge and {current_a:.1f} A per cell: "
                f"{error}"
            ) from error
        self._solutions[group] = solution
        state = solution.all_ys[-1][:, -1]
        if self._outputs is None:
            self._outputs = self._compile(len(state))
        voltage, open_circuit = self._outputs(
            solution.t[-1], state, [inputs[name] for name in _INPUTS]
        ).full()[:, 0]
        self._slow_v[group] = voltage
        self.open_circuit_v[group] = open_circuit

    def _compile(self, size: int) -> casadi.Function:
        """Both voltages as a compiled function of the state: quicker than asking the solution."""
        time, state = casadi.MX.sym("t"), casadi.MX.sym("y", size)
        inputs = {name: casadi.MX.sym(name) for name in _INPUTS}
        symbols = [self._model.get_processed_variable(name) for name in _OUTPUTS]
        voltages = [symbol.to_casadi(time, state, inputs=inputs) for symbol in symbols]
        vector = casadi.vertcat(*inputs.values())
        return casadi.Function("voltages", [time, state, vector], [casadi.vertcat(*voltages)])


def _negative_capacity_ah(values: pybamm.ParameterValues) -> float:
    volume = (
        values["Electrode height [m]"]
        * values["Electrode width [m]"]
        * values["Negative electrode thickness [m]"]
        * values["Negative electrode active material volume fraction"]
    )
    largest = values["Maximum concentration in negative electrode [mol.m-3]"]
    return float(_FARADAY * volume * largest / 3600)
