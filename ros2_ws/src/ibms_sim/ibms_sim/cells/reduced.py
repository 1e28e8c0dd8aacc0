# SPDX-License-Identifier: Apache-2.0
"""Reduced electrochemical model of all cell groups at once (struct of arrays).

A single particle per electrode. Its diffusion is the exact modal solution for a sphere (eigenvalues
of tan x = x), cut after a few modes; what the others add in steady state is one more, fast mode. On
top: charge transfer after Butler and Volmer, a first-order concentration polarisation of the
electrolyte and an ohmic resistance. All rates follow Arrhenius.

Literature: V. Subramanian et al., J. Electrochem. Soc. 152 (2005) A2002 (modal diffusion);
S. Marquis et al., J. Electrochem. Soc. 166 (2019) A3693 (single particle model with electrolyte).
"""

import numpy as np
import numpy.typing as npt

from ibms_sim.cells.parameters import CellParameters, Electrode

FloatArray = npt.NDArray[np.float64]

_GAS_J_MOL_K = 8.314462618
_FARADAY = 96485.33212
_ZERO_C_K = 273.15
_REFERENCE_K = 298.15
# Roots of tan x = x.
_ROOTS = np.array([4.49340946, 7.72525184, 10.90412166, 14.06619391, 17.22075527, 20.37130296])
_GAINS = np.append(2 / _ROOTS**2, 0.2 - np.sum(2 / _ROOTS**2))
# The remaining modes together; the rate that comes closest to PyBaMM's SPMe on a pulse profile.
_RATES = np.append(_ROOTS**2, 600.0)
_REFRESH_K = 0.1  # change of temperature after which rates are computed anew
_SURFACE_LIMIT = 1e-3
_SMALL_A = 1e-6


def arrhenius(activation_j_mol: float, temperature_k: FloatArray) -> FloatArray:
    """Factor by which a rate exceeds its value at 25 degC."""
    exponent = activation_j_mol / _GAS_J_MOL_K * (1 / _REFERENCE_K - 1 / temperature_k)
    return np.asarray(np.exp(exponent))


class ReducedCells:
    """Cell groups; currents are those of one cell of the group [A], charge positive.

    Args:
        parameters: of the cell type.
        state_of_charge: at the start (groups,).
        capacity_factor, resistance_factor: spread between groups (groups,).
        step_s: the fixed step of ``step``.
    """

    def __init__(
        self,
        parameters: CellParameters,
        state_of_charge: FloatArray,
        capacity_factor: FloatArray,
        resistance_factor: FloatArray,
        step_s: float,
    ) -> None:
        count = len(state_of_charge)
        self.soc: FloatArray = state_of_charge.astype(np.float64)
        self.voltage_v: FloatArray = np.zeros(count)
        self.open_circuit_v: FloatArray = np.zeros(count)
        self.capacity_ah: FloatArray = parameters.capacity_ah * capacity_factor
        self._parameters = parameters
        self._sides = (parameters.negative, parameters.positive)
        self._resistance_factor = resistance_factor
        self._step_s = step_s
        # Change of stoichiometry per ampere and second, of both electrodes (2, 1, groups).
        window = np.array([s.stoichiometry_full - s.stoichiometry_empty for s in self._sides])
        self._slope = window[:, None, None] / (3600 * self.capacity_ah)
        self._modes: FloatArray = np.zeros((2, len(_RATES), count))
        self._polarisation_v: FloatArray = np.zeros(count)
        self._current_a: FloatArray = np.zeros(count)
        self._transfer_v: FloatArray = np.zeros(count)
        self._exchange_now_a: FloatArray = np.ones((2, count))
        self._temperature_k: FloatArray = np.zeros(count)
        self._refresh(np.full(count, _REFERENCE_K))

    @property
    def ohmic_ohm(self) -> FloatArray:
        """Resistance of one cell that acts at once (groups,)."""
        return self._ohmic_ohm

    @property
    def quick_ohm(self) -> FloatArray:
        """The same with charge transfer: its voltage at the present current over that current."""
        slope_ohm = self._thermal_voltage_v * np.sum(0.5 / self._exchange_now_a, axis=0)
        flows = np.abs(self._current_a) > _SMALL_A
        current_a = np.where(flows, self._current_a, 1.0)
        return self._ohmic_ohm + np.where(flows, self._transfer_v / current_a, slope_ohm)

    def step(self, current_a: FloatArray, temperature_c: FloatArray) -> None:
        """Advance all groups by the fixed step."""
        temperature_k = temperature_c + _ZERO_C_K
        if float(np.max(np.abs(temperature_k - self._temperature_k))) > _REFRESH_K:
            self._refresh(temperature_k)
        self.soc += current_a * (self._step_s / (3600 * self.capacity_ah))
        self._modes *= self._decay
        self._modes += self._drive * current_a
        self._polarisation_v += self._electrolyte_rate * (
            self._electrolyte_ohm * current_a - self._polarisation_v
        )
        deviation = self._modes.sum(axis=1)
        transfer_v = np.zeros_like(current_a)
        potential: list[FloatArray] = []
        mean: list[FloatArray] = []
        for index, side in enumerate(self._sides):
            filling = _filling(side, self.soc)
            surface = np.clip(filling + deviation[index], _SURFACE_LIMIT, 1 - _SURFACE_LIMIT)
            exchange = self._exchange_a[index] * np.sqrt(surface * (1 - surface))
            self._exchange_now_a[index] = exchange
            transfer_v += np.arcsinh(current_a / (2 * exchange))
            potential.append(_potential(side, surface))
            mean.append(_potential(side, filling))
        self.open_circuit_v = mean[1] - mean[0]
        self._current_a = current_a
        self._transfer_v = transfer_v * self._thermal_voltage_v
        self.voltage_v = (
            potential[1]
            - potential[0]
            + self._transfer_v
            + self._polarisation_v
            + self._ohmic_ohm * current_a
        )

    def _refresh(self, temperature_k: FloatArray) -> None:
        """Rates and resistances at new temperatures."""
        self._temperature_k = temperature_k.copy()
        decay, drive, exchange = [], [], []
        for index, side in enumerate(self._sides):
            time_s = side.diffusion_time_s / arrhenius(
                side.diffusion_activation_j_mol, temperature_k
            )
            decay.append(np.exp(-_RATES[:, None] * (self._step_s / time_s)))
            # In steady state a mode is gain x diffusion time / 3 x change of stoichiometry in 1 s.
            drive.append((1 - decay[-1]) * _GAINS[:, None] * (time_s / 3) * self._slope[index])
            factor = arrhenius(side.exchange_activation_j_mol, temperature_k)
            exchange.append(side.exchange_current_a * factor / self._resistance_factor)
        self._decay = np.stack(decay)
        self._drive = np.stack(drive)
        self._exchange_a = np.stack(exchange)
        self._thermal_voltage_v = 2 * _GAS_J_MOL_K * temperature_k / _FARADAY
        cell = self._parameters
        conductivity = arrhenius(cell.conductivity_activation_j_mol, temperature_k)
        diffusion = arrhenius(cell.electrolyte_diffusion_activation_j_mol, temperature_k)
        self._ohmic_ohm = cell.ohmic_resistance_ohm * self._resistance_factor / conductivity
        self._electrolyte_ohm = (
            cell.electrolyte_resistance_ohm * self._resistance_factor / diffusion
        )
        self._electrolyte_rate = 1 - np.exp(-self._step_s * diffusion / cell.electrolyte_time_s)


def _filling(side: Electrode, soc: FloatArray) -> FloatArray:
    return side.stoichiometry_empty + soc * (side.stoichiometry_full - side.stoichiometry_empty)


def _potential(side: Electrode, stoichiometry: FloatArray) -> FloatArray:
    return np.interp(stoichiometry, side.potential_stoichiometry, side.potential_v)
