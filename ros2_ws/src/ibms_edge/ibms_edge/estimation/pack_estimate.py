# SPDX-License-Identifier: Apache-2.0
"""What a pack holds, by its weakest cells and its topology. No ROS.

In a string the cell with the least charge ends the discharge and the one with the least room ends
the charge (Plett, Battery Management Systems vol. 2, ch. 1.14), so a mean over the cells promises
what cannot be had. Strings in parallel add up.
"""

from dataclasses import dataclass
from enum import IntEnum
from math import nan

import numpy as np
import numpy.typing as npt

from ibms_battery.circuit import Circuit
from ibms_battery.pack import Pack
from ibms_edge.estimation.circuit_place import CircuitPlace

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_NOTHING_AH = 1e-6


class By(IntEnum):
    """Why a cell is the first; equal to PackEstimate.BY_*."""

    NOTHING = 0
    CHARGE = 1
    CAPACITY = 2


@dataclass(frozen=True, slots=True)
class CellContents:
    """What is known of each cell group, all arrays (cells,); NaN where there is no estimate."""

    soc: FloatArray
    soc_std: FloatArray
    capacity_ah: FloatArray
    temperature_c: FloatArray


@dataclass(frozen=True, slots=True)
class PackContents:
    """What the pack holds; NaN while a cell in the circuit has no estimate."""

    soc: float = nan
    soc_std: float = nan
    charge_to_empty_ah: float = nan
    charge_to_full_ah: float = nan
    energy_to_empty_wh: float = nan
    energy_to_full_wh: float = nan
    empties_first: int = -1
    empties_first_by: By = By.NOTHING
    fills_first: int = -1
    fills_first_by: By = By.NOTHING

    @property
    def capacity_ah(self) -> float:
        """Charge between empty and full."""
        return self.charge_to_empty_ah + self.charge_to_full_ah

    @property
    def soe(self) -> float:
        """Energy to empty over the energy between empty and full."""
        total_wh = self.energy_to_empty_wh + self.energy_to_full_wh
        return self.energy_to_empty_wh / total_wh if total_wh != 0.0 else 0.0


UNKNOWN = PackContents()


class CellEnergy:
    """Energy that a cell gives at rest, by its open-circuit voltage."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        ocv_v = circuit.ocv_v
        step = 1.0 / (ocv_v.shape[1] - 1)
        self._below = np.zeros_like(ocv_v)
        np.cumsum(0.5 * step * (ocv_v[:, 1:] + ocv_v[:, :-1]), axis=1, out=self._below[:, 1:])

    def below(self, soc: FloatArray, temperature_c: FloatArray) -> FloatArray:
        """Energy down to empty per capacity [W h/(A h)] (..., cells), temperatures (cells,)."""
        return CircuitPlace(self._circuit, temperature_c).table(self._below, soc)


def strings_of(pack: Pack) -> list[slice]:
    """The cells of each string."""
    if not pack.strings:
        return [slice(0, pack.series)]
    return [slice(one.first_cell, one.first_cell + one.cells) for one in pack.strings]


def contents(
    strings: list[slice], energy: CellEnergy, cells: CellContents, in_circuit: BoolArray
) -> PackContents:
    """What the pack holds.

    The errors of all cells are taken as common, as a current sensor's bias is: sigma is never below
    that of the weakest cell, and above it where one cell empties and another fills first.

    Args:
        strings: cells of each string.
        energy: of the cell type.
        cells: all cells; a temperature that is NaN counts as 25 degC, which changes little here.
        in_circuit: True for cells that are not bypassed (cells,).

    Returns:
        ``UNKNOWN`` unless all cells in the circuit have an estimate and there is one.
    """
    known = np.isfinite(cells.soc) & np.isfinite(cells.soc_std) & np.isfinite(cells.capacity_ah)
    if not in_circuit.any() or not known[in_circuit].all():
        return UNKNOWN
    charge_ah = np.where(in_circuit, cells.soc * cells.capacity_ah, np.inf)
    room_ah = np.where(in_circuit, (1.0 - cells.soc) * cells.capacity_ah, np.inf)
    to_empty_ah = to_full_ah = empty_std_ah = full_std_ah = weakest_std = 0.0
    give_ah, take_ah = np.zeros(len(charge_ah)), np.zeros(len(charge_ah))
    emptiest: list[int] = []
    fullest: list[int] = []
    for string in strings:
        if not in_circuit[string].any():
            continue
        low = string.start + int(charge_ah[string].argmin())
        high = string.start + int(room_ah[string].argmin())
        emptiest.append(low)
        fullest.append(high)
        to_empty_ah += charge_ah[low]
        to_full_ah += room_ah[high]
        empty_std_ah += cells.capacity_ah[low] * cells.soc_std[low]
        full_std_ah += cells.capacity_ah[high] * cells.soc_std[high]
        weakest_std = max(weakest_std, cells.soc_std[low], cells.soc_std[high])
        give_ah[string], take_ah[string] = charge_ah[low], room_ah[high]
    usable_ah = to_empty_ah + to_full_ah
    soc, soc_std = 0.0, weakest_std
    if usable_ah > _NOTHING_AH:
        soc = to_empty_ah / usable_ah
        common = (to_full_ah * empty_std_ah + to_empty_ah * full_std_ah) / usable_ah**2
        soc_std = min(max(common, weakest_std), 1.0)

    present = np.flatnonzero(in_circuit)
    capacity_ah = cells.capacity_ah[present]
    temperature_c = cells.temperature_c[present]
    now = cells.soc[present]
    levels = np.stack(
        (now, now - give_ah[present] / capacity_ah, now + take_ah[present] / capacity_ah)
    )
    held, left, filled = energy.below(
        levels, np.where(np.isfinite(temperature_c), temperature_c, 25.0)
    )
    first_empty = min(emptiest, key=lambda cell: float(charge_ah[cell]))
    first_full = min(fullest, key=lambda cell: float(room_ah[cell]))
    return PackContents(
        soc=float(soc),
        soc_std=float(soc_std),
        charge_to_empty_ah=float(to_empty_ah),
        charge_to_full_ah=float(to_full_ah),
        energy_to_empty_wh=float((capacity_ah * (held - left)).sum()),
        energy_to_full_wh=float((capacity_ah * (filled - held)).sum()),
        empties_first=first_empty,
        empties_first_by=_why(cells.soc, cells, present, first_empty),
        fills_first=first_full,
        fills_first_by=_why(1.0 - cells.soc, cells, present, first_full),
    )


def _why(share: FloatArray, cells: CellContents, present: npt.NDArray[np.intp], cell: int) -> By:
    """What keeps a cell's charge or room, a share of its capacity, behind the median cell."""
    usual, usual_ah = np.median(share[present]), np.median(cells.capacity_ah[present])
    by_charge_ah = (usual - share[cell]) * usual_ah
    by_capacity_ah = (usual_ah - cells.capacity_ah[cell]) * usual
    if by_charge_ah + by_capacity_ah <= cells.soc_std[cell] * cells.capacity_ah[cell]:
        return By.NOTHING
    return By.CHARGE if by_charge_ah >= by_capacity_ah else By.CAPACITY
