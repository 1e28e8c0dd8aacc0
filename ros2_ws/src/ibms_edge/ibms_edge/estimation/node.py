# SPDX-License-Identifier: Apache-2.0
"""Node ``state_estimator``: state of charge and resistance of every cell."""

from array import array
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from ibms_battery.cell import load_cell
from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import load_pack
from ibms_edge.estimation.cell_filter import CellFilter
from ibms_msgs.msg import CellMeasurement, CellStates
from ibms_ros_common.diagnostics import WARN, Status
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import run

_LONGEST_STEP_S = 60.0  # a longer gap says nothing about the current in between


class StateEstimatorParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``state_estimator``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    period_s: Annotated[
        float, Meta(ge=0.02, le=10, description="shortest time between two publications [s]")
    ] = 0.1


class StateEstimator(BmsNode[StateEstimatorParameters]):
    """Runs the cell filter on every scan and publishes at a lower rate."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("state_estimator", StateEstimatorParameters, clock, **options)

    def configure(self, parameters: StateEstimatorParameters) -> None:
        """Load pack and cell, create the filter."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        cell = load_cell(Path(parameters.pack).parent.parent / "cells" / f"{pack.cell}.yaml")
        self._pack = pack
        self._filter = CellFilter(cell, pack.series, pack.parallel)
        self._sensor_of_cell = np.array(pack.temperature_sensor_of_cell())
        self._period_ns = round(parameters.period_s * NS_PER_S)
        self._last_ns: int | None = None
        self._last_charge_c = float("nan")
        self._next_publish_ns = 0
        self._rejected = 0
        self._gaps = 0
        self.advertise("cells/state")
        self.listen("cells/measurement", self._on_cells)
        self.diagnose("estimate", self._report)

    def _on_cells(self, message: CellMeasurement) -> None:
        if (
            len(message.voltage_v) != self._pack.series
            or len(message.temperature_c) != self._pack.temperature_sensors
            or message.late
            or (self._last_ns is not None and message.boot_ns <= self._last_ns)
        ):
            self._rejected += 1
            return
        voltage_v = np.frombuffer(message.voltage_v, np.float32).astype(np.float64)
        sensors_c = np.frombuffer(message.temperature_c, np.float32).astype(np.float64)
        temperature_c = sensors_c[self._sensor_of_cell]
        last_ns, self._last_ns = self._last_ns, message.boot_ns
        step_s = 0.0 if last_ns is None else (message.boot_ns - last_ns) / NS_PER_S
        current_a = self._mean_current_a(message, step_s)
        if step_s > _LONGEST_STEP_S:
            self._gaps += 1
            current_a = float("nan")
        self._filter.update(voltage_v, temperature_c, current_a, step_s)
        if message.boot_ns >= self._next_publish_ns:
            # Kept in step, so that jitter of the scans does not stretch the period.
            missed = (message.boot_ns - self._next_publish_ns) // self._period_ns
            self._next_publish_ns += (missed + 1) * self._period_ns
            self._publish(message, voltage_v, temperature_c)

    def _mean_current_a(self, message: CellMeasurement, step_s: float) -> float:
        """Current over the step: from the sensor's charge counter if there is one."""
        last_c, self._last_charge_c = self._last_charge_c, message.charge_c
        counted_c = message.charge_c - last_c
        if step_s >= 0.5 and counted_c == counted_c:
            return float(counted_c / step_s)
        return float(message.current_a)

    def _publish(
        self,
        message: CellMeasurement,
        voltage_v: npt.NDArray[np.float64],
        temperature_c: npt.NDArray[np.float64],
    ) -> None:
        cells = self._filter
        state = CellStates(
            header=self.header(message.boot_ns),
            boot_ns=message.boot_ns,
            scan_counter=message.scan_counter,
            current_a=message.current_a,
        )
        state.soc = _floats(cells.soc)
        state.soc_std = _floats(cells.soc_std)
        state.soh = _floats(np.full(self._pack.series, np.nan))  # no capacity estimate yet
        state.resistance_ohm = _floats(cells.resistance_ohm)
        state.capacity_ah = _floats(cells.capacity_ah)
        state.voltage_v = _floats(voltage_v)
        state.temperature_c = _floats(temperature_c)
        state.bleed_active = message.bleed_active
        state.valid = array("B", (~np.isnan(cells.soc)).astype(np.uint8).tobytes())
        self.publish("cells/state", state)

    def _report(self, status: Status) -> None:
        soc = self._filter.soc
        known = soc[~np.isnan(soc)]
        status.add(cells_estimated=known.size, rejected=self._rejected, gaps=self._gaps)
        if known.size:
            status.add(
                lowest_soc=float(known.min()),
                highest_soc=float(known.max()),
                largest_std=float(np.nanmax(self._filter.soc_std)),
            )
        if self.is_active and known.size < self._pack.series:
            status.report(WARN, f"{self._pack.series - known.size} cells without an estimate")


def _floats(values: npt.NDArray[np.float64]) -> "array[float]":
    return array("f", values.astype(np.float32).tobytes())


def main() -> int:
    """Process with the node ``state_estimator``."""
    return run(StateEstimator)
