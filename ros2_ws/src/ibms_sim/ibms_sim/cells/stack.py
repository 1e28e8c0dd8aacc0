# SPDX-License-Identifier: Apache-2.0
"""The cell groups in series, with temperatures: from a model, or from a recording."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack
from ibms_sim.cells.thermal import Actuation, ThermalNetwork

FloatArray = npt.NDArray[np.float64]

_THERMAL_STEP_S = 0.1


class CellModelError(RuntimeError):
    """Cells that cannot be modelled as asked, or that left the range of their model."""


class CellBank(Protocol):
    """A model of all cell groups; currents per cell [A], charge positive."""

    soc: FloatArray
    voltage_v: FloatArray
    open_circuit_v: FloatArray

    @property
    def ohmic_ohm(self) -> FloatArray:
        """Resistance of a cell that acts at once (groups,)."""

    @property
    def quick_ohm(self) -> FloatArray:
        """The same with charge transfer, at the present current (groups,)."""

    def step(self, current_a: FloatArray, temperature_c: FloatArray) -> None:
        """Advance by the bank's fixed step."""


class Stack(Protocol):
    """Cell groups in series as the plant sees them."""

    @property
    def voltage_v(self) -> FloatArray:
        """Of each group (groups,)."""

    @property
    def temperature_c(self) -> FloatArray:
        """Of each group (groups,)."""

    @property
    def ohmic_ohm(self) -> FloatArray:
        """Resistance of each group that acts at once (groups,)."""

    @property
    def quick_ohm(self) -> FloatArray:
        """The same with charge transfer, at the present current (groups,)."""

    def step(
        self,
        current_a: FloatArray,
        bleed_s: FloatArray,
        short_s: FloatArray,
        actuation: Actuation,
        load_time_s: float,
    ) -> None:
        """Advance by one step.

        Args:
            current_a: through each group, charge positive (groups,).
            bleed_s: conductance of the balancing resistor of each group, 0 where it is off [S].
            short_s: conductance of an internal short of each group, whose heat stays in it [S].
            actuation: of the thermal actuators.
            load_time_s: time for which the load was connected so far.
        """


class ModelStack:
    """Cell groups from a model, with their heat (no entropic heat: the parameters hold none)."""

    def __init__(
        self,
        bank: CellBank,
        network: ThermalNetwork,
        pack: Pack,
        leakage_a: FloatArray,
        step_s: float,
    ) -> None:
        self.bank = bank
        self.network = network
        self._parallel = pack.parallel
        self._leakage_a = leakage_a
        self._step_s = step_s
        self._thermal_s = 0.0
        self._heat_j = np.zeros(pack.series)
        bank.step(-leakage_a, network.cell_c)

    @property
    def voltage_v(self) -> FloatArray:
        """Of each group."""
        return self.bank.voltage_v

    @property
    def temperature_c(self) -> FloatArray:
        """Of each group."""
        return self.network.cell_c

    @property
    def ohmic_ohm(self) -> FloatArray:
        """Of each group."""
        return self.bank.ohmic_ohm / self._parallel

    @property
    def quick_ohm(self) -> FloatArray:
        """Of each group."""
        return self.bank.quick_ohm / self._parallel

    def step(
        self,
        current_a: FloatArray,
        bleed_s: FloatArray,
        short_s: FloatArray,
        actuation: Actuation,
        load_time_s: float,
    ) -> None:
        """As in ``Stack``."""
        bank = self.bank
        drained_a = bank.voltage_v * (bleed_s + short_s)
        cell_a = (current_a - drained_a) / self._parallel - self._leakage_a
        bank.step(cell_a, self.network.cell_c)
        lost_w = cell_a * (bank.voltage_v - bank.open_circuit_v) * self._parallel
        self._heat_j += (lost_w + bank.voltage_v**2 * short_s) * self._step_s
        self._thermal_s += self._step_s
        if self._thermal_s >= _THERMAL_STEP_S:
            heat_w = self._heat_j / self._thermal_s
            self.network.step(heat_w, actuation, self._thermal_s)
            self._thermal_s = 0.0
            self._heat_j[:] = 0.0
