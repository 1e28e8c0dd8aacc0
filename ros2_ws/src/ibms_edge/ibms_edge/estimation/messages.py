# SPDX-License-Identifier: Apache-2.0
"""Messages of ``state_estimator`` from estimates; headers are the node's. No DDS."""

from array import array

import numpy as np
import numpy.typing as npt

from ibms_battery.circuit import Circuit
from ibms_edge.estimation.circuit_place import CircuitPlace
from ibms_edge.estimation.estimator import Estimate
from ibms_edge.estimation.pack_estimate import CellContents, CellEnergy, PackContents
from ibms_edge.estimation.power_prediction import HORIZONS_S, PackPower
from ibms_edge.estimation.scan_input import Step
from ibms_msgs.msg import CellStates, PackEstimate
from ibms_msgs.msg import PackPower as PackPowerMessage

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SECONDS_S = 10.0  # what "within seconds" means for a resistance
_WARM_C = 25.0


class CellFigures:
    """What follows from estimates of cells of one type, ``parallel`` of them per group."""

    def __init__(self, circuit: Circuit, parallel: int) -> None:
        self.circuit = circuit
        self.energy = CellEnergy(circuit)
        self._parallel = parallel
        # Of the fast pair, what a current has charged it to within seconds; the slow one likewise.
        self._seconds_ohm = (
            circuit.ohmic_ohm
            + circuit.activation_ohm
            + (1.0 - np.exp(-_SECONDS_S / circuit.fast_s)) * circuit.fast_ohm
            + (1.0 - np.exp(-_SECONDS_S / circuit.slow_s)) * circuit.slow_ohm
        )

    def contents(self, estimate: Estimate, temperature_c: FloatArray) -> CellContents:
        """Of the groups; a capacity that is not estimated is that of the description."""
        factor = np.where(np.isnan(estimate.capacity_factor), 1.0, estimate.capacity_factor)
        return CellContents(
            soc=estimate.soc,
            soc_std=estimate.soc_std,
            capacity_ah=factor * self.circuit.capacity_ah * self._parallel,
            temperature_c=temperature_c,
        )

    def fill(
        self,
        state: CellStates,
        estimate: Estimate,
        cells: CellContents,
        step: Step,
        ratio: FloatArray,
    ) -> None:
        """Fill in all arrays but what the AFE says of its bleeding; ``ratio`` is the mean one."""
        known = np.isfinite(estimate.soc + estimate.soc_std)
        soc = np.where(known, estimate.soc, 0.5)
        warm = np.where(np.isfinite(cells.temperature_c), cells.temperature_c, _WARM_C)
        below, full = self.energy.below(np.stack((soc, np.ones_like(soc))), warm)
        seconds_ohm = CircuitPlace(self.circuit, warm).table(self._seconds_ohm, soc)
        resistance = np.where(np.isnan(estimate.resistance_factor), 1.0, estimate.resistance_factor)
        state.soc = floats(estimate.soc)
        state.soc_std = floats(estimate.soc_std)
        state.soe = floats(np.where(known, below / full, np.nan))
        state.soh_capacity = floats(estimate.capacity_factor)
        state.soh_capacity_std = floats(estimate.capacity_factor_std)
        state.soh_resistance = floats(1.0 / estimate.resistance_factor)
        state.soh_resistance_std = floats(
            estimate.resistance_factor_std / estimate.resistance_factor**2
        )
        state.resistance_ohm = floats(resistance * seconds_ohm / self._parallel)
        state.capacity_ah = floats(np.where(known, cells.capacity_ah, np.nan))
        state.current_bias_a = floats(estimate.current_bias_a)
        state.current_bias_std_a = floats(estimate.current_bias_std_a)
        state.innovation_v = floats(estimate.innovation_v)
        state.innovation_ratio = floats(ratio)
        state.voltage_v = floats(step.voltage_v)
        state.temperature_c = floats(step.temperature_c)
        state.valid = array("B", known.astype(np.uint8).tobytes())


def pack_estimate(
    contents: PackContents, estimate: Estimate, in_circuit: BoolArray
) -> PackEstimate:
    """Of what the pack holds, and the age of its worst cells."""
    message = PackEstimate(
        valid=contents.soc == contents.soc,  # NaN is unequal to itself
        soc=contents.soc,
        soc_std=contents.soc_std,
        soe=contents.soe,
        charge_to_empty_ah=contents.charge_to_empty_ah,
        charge_to_full_ah=contents.charge_to_full_ah,
        capacity_ah=contents.capacity_ah,
        energy_to_empty_wh=contents.energy_to_empty_wh,
        energy_to_full_wh=contents.energy_to_full_wh,
        empties_first=contents.empties_first,
        empties_first_by=int(contents.empties_first_by),
        fills_first=contents.fills_first,
        fills_first_by=int(contents.fills_first_by),
    )
    capacity, capacity_std = _worst(
        np.where(in_circuit, estimate.capacity_factor, np.nan), estimate.capacity_factor_std
    )
    health, factor = 1.0 / estimate.resistance_factor, estimate.resistance_factor
    resistance, resistance_std = _worst(
        np.where(in_circuit, health, np.nan), estimate.resistance_factor_std / factor**2
    )
    message.soh_capacity, message.soh_capacity_std = capacity, capacity_std
    message.soh_resistance, message.soh_resistance_std = resistance, resistance_std
    return message


def pack_power(power: PackPower) -> PackPowerMessage:
    """Of what was predicted."""
    message = PackPowerMessage(horizon_s=array("f", HORIZONS_S))
    for direction, name in enumerate(("charge", "discharge")):
        setattr(message, f"{name}_current_a", floats(power.current_a[direction]))
        setattr(message, f"{name}_power_w", floats(power.power_w[direction]))
        setattr(message, f"{name}_cell", array("i", power.cell[direction].tolist()))
        limits = array("B", power.limited_by[direction].tolist())
        setattr(message, f"{name}_limited_by", limits)
    return message


def _worst(health: FloatArray, std: FloatArray) -> tuple[float, float]:
    """Lowest health and its sigma; NaN where none is known."""
    if not np.isfinite(health).any():
        return float("nan"), float("nan")
    worst = int(np.nanargmin(health))
    return float(health[worst]), float(std[worst])


def floats(values: FloatArray) -> "array[float]":
    """As messages take them."""
    return array("f", values.astype(np.float32).tobytes())
