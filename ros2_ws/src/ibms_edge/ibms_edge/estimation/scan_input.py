# SPDX-License-Identifier: Apache-2.0
"""From scans to steps of an estimator: what counts, how long it was, what flowed. No DDS."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.cell import Cell
from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.estimation.charge_counter import begun_anew
from ibms_edge.estimation.pack_estimate import strings_of
from ibms_edge.supervisor.states import Limits
from ibms_edge.supervisor.strings import Strings
from ibms_msgs.msg import CellMeasurement

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_COUNTED_FROM_S = 0.5  # shorter: the sample of the current stands for the step
_LONGEST_STEP_S = 60.0  # one current says nothing about a longer gap
_BEYOND_RATING = 2.0  # no mean current is so far above it


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an estimator; arrays (cells,), NaN where invalid or unknown."""

    voltage_v: FloatArray
    temperature_c: FloatArray
    current_a: FloatArray  # mean of the step per cell, charge positive
    step_s: float


class ScanInput:
    """Takes scans in their order and counts what it does not take.

    Args:
        pack: that is scanned.
        cell: its cell type.
    """

    def __init__(self, pack: Pack, cell: Cell) -> None:
        self.rejected: Counter[str] = Counter()
        self.gaps = 0
        self.last_ns: int | None = None
        self.last_charge_c = float("nan")
        self._pack = pack
        self._strings = strings_of(pack)
        self._string_names = [string.name for string in pack.strings]
        self._wiring = Strings(pack, Limits()) if pack.strings else None
        self._sensor_of_cell = np.array(pack.temperature_sensor_of_cell())
        cells = pack.parallel * pack.parallel_strings
        rated_a = max(cell.maximum_charge_current_a, cell.maximum_discharge_current_a)
        self._largest_a = _BEYOND_RATING * rated_a * cells
        self._capacity_c = 3600.0 * cell.capacity_ah * cells

    def accepts(self, message: CellMeasurement) -> bool:
        """Whether a scan is fresh, whole and newer than the last one; counts those that are not."""
        pack = self._pack
        why = ""
        if message.late:
            why = "late"
        elif not (
            len(message.voltage_v) == len(message.voltage_valid) == pack.series
            and len(message.temperature_c)
            == len(message.temperature_valid)
            == pack.temperature_sensors
        ):
            why = "of another size"
        elif self.last_ns is not None and message.boot_ns <= self.last_ns:
            why = "out of order"
        if why:
            self.rejected[f"rejected: {why}"] += 1
        return not why

    def carrying(self, in_circuit: BoolArray, configuration: str) -> BoolArray:
        """Cells (cells,) that are not bypassed, of the strings that carry; of all if none does."""
        if self._wiring is None or not self._wiring.carry(configuration):
            return in_circuit
        missing = self._wiring.missing(configuration)
        carrying = in_circuit.copy()
        for name, cells in zip(self._string_names, self._strings, strict=True):
            if name in missing:
                carrying[cells] = False
        return carrying

    def step(
        self, message: CellMeasurement, in_circuit: BoolArray, configuration: str = ""
    ) -> Step:
        """The step that an accepted scan ends.

        Args:
            message: the scan.
            in_circuit: True for cells that are not bypassed (cells,).
            configuration: of the switches, as verified; it tells which strings carry.
        """
        last_ns, self.last_ns = self.last_ns, message.boot_ns
        last_c, self.last_charge_c = self.last_charge_c, message.charge_c
        step_s = 0.0 if last_ns is None else (message.boot_ns - last_ns) / NS_PER_S
        counted_c = message.charge_c - last_c
        if begun_anew(last_c, message.charge_c, self._capacity_c):
            counted_c = float("nan")
        mean_a = self._mean_current_a(message, step_s, counted_c)
        temperature_c = _valid(message.temperature_c, message.temperature_valid)
        return Step(
            voltage_v=_valid(message.voltage_v, message.voltage_valid),
            temperature_c=temperature_c[self._sensor_of_cell],
            current_a=np.where(in_circuit, mean_a * self._shares(configuration), 0.0),
            step_s=step_s,
        )

    def _mean_current_a(self, message: CellMeasurement, step_s: float, counted_c: float) -> float:
        """Of the pack over the step: from the sensor's charge counter if there is one."""
        if step_s >= _COUNTED_FROM_S:
            mean_a = counted_c / step_s
            if abs(mean_a) <= self._largest_a:  # False for NaN
                return float(mean_a)
            if step_s > _LONGEST_STEP_S:
                self.gaps += 1
                return float("nan")
        return float(message.current_a)

    def _shares(self, configuration: str) -> FloatArray | float:
        """Of the pack's current in each cell; strings that carry share it equally."""
        pack, wiring = self._pack, self._wiring
        if wiring is None or not wiring.carry(configuration):
            return 1.0 / (pack.parallel * pack.parallel_strings)
        missing = wiring.missing(configuration)
        share = 1.0 / (pack.parallel * (pack.parallel_strings - len(missing)))
        shares = np.full(pack.series, share)
        for name, cells in zip(self._string_names, self._strings, strict=True):
            if name in missing:
                shares[cells] = 0.0
        return shares


def _valid(values: object, mask: object) -> FloatArray:
    measured: FloatArray = np.frombuffer(values, np.float32).astype(np.float64)  # type: ignore[call-overload]
    measured[np.frombuffer(mask, np.uint8) == 0] = np.nan  # type: ignore[call-overload]
    return measured
