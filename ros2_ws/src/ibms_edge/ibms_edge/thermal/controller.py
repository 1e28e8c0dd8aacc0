# SPDX-License-Identifier: Apache-2.0
"""Thermal control with hysteresis. No ROS."""

from dataclasses import dataclass
from enum import IntEnum

from ibms_edge.thermal.preconditioning import Wish
from ibms_edge.thermal.temperatures import CellTemperatures


class Mode(IntEnum):
    """Thermal modes; equal to ThermalState.MODE_*."""

    OFF = 0
    COOLING = 1
    HEATING = 2
    SENSOR_FAILURE = 3
    PRECONDITIONING = 4


@dataclass(frozen=True, slots=True)
class Actuators:
    """Commands, 0 to 1."""

    pump: float = 0.0
    fan: float = 0.0
    chiller: float = 0.0
    heater: float = 0.0


OFF = Actuators()
HEAT = Actuators(pump=1.0, heater=1.0)
COOL_IN_FULL = Actuators(pump=1.0, fan=1.0, chiller=1.0)
BLIND = Actuators(pump=1.0, fan=1.0)  # evens out and carries off what heat there is


@dataclass(frozen=True)
class Thresholds:
    """Cell temperatures at which cooling and heating begin and end [degC]."""

    cool_on_c: float = 35.0
    cool_off_c: float = 31.0
    cool_full_c: float = 45.0
    heat_on_c: float = 5.0
    heat_off_c: float = 10.0
    fewest_known: float = 0.5  # share of cells; with fewer the rest says nothing about the pack


class ThermalController:
    """Chooses mode and actuators from the cells' temperatures."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self.mode = Mode.OFF

    def knows_enough(self, cells: CellTemperatures) -> bool:
        """Whether the known temperatures speak for the pack."""
        return cells.known > 0.0 and cells.known >= self.thresholds.fewest_known

    def update(
        self,
        cells: CellTemperatures,
        may_heat: bool,
        wish: Wish = Wish.NONE,
        runaway: bool = False,
    ) -> Actuators:
        """Actuators now.

        Args:
            cells: the cells' temperatures.
            may_heat: ordinary heating may run (pack in use and no fault).
            wish: of a preconditioning that is permitted.
            runaway: the thermal-runaway alarm stands.
        """
        limits = self.thresholds
        if runaway:
            self.mode = Mode.COOLING
            return COOL_IN_FULL
        if not self.knows_enough(cells):
            self.mode = Mode.SENSOR_FAILURE
            return BLIND
        self.mode = self._next_mode(cells, may_heat, wish)
        if self.mode is Mode.COOLING:
            span_c = limits.cool_full_c - limits.cool_on_c
            demand = min(1.0, max(0.2, (cells.hottest_c - limits.cool_on_c) / span_c))
            return Actuators(pump=1.0, fan=demand, chiller=demand)
        if self.mode is Mode.PRECONDITIONING:
            return HEAT if wish is Wish.HEAT else COOL_IN_FULL
        return HEAT if self.mode is Mode.HEATING else OFF

    def _next_mode(self, cells: CellTemperatures, may_heat: bool, wish: Wish) -> Mode:
        limits = self.thresholds
        if cells.hottest_c >= limits.cool_on_c:
            return Mode.COOLING
        # A sensor that failed may be that of the hottest cell: cooling does not end on its silence.
        if self.mode is Mode.COOLING and (cells.hottest_c > limits.cool_off_c or cells.known < 1.0):
            return Mode.COOLING
        if wish is Wish.COOL:
            return Mode.PRECONDITIONING
        if cells.hottest_c >= limits.cool_off_c:
            return Mode.OFF  # nothing heats while a cell is warm
        if wish is Wish.HEAT:
            return Mode.PRECONDITIONING
        if self.mode is Mode.HEATING:
            is_cold = cells.coldest_c < limits.heat_off_c
        else:
            is_cold = cells.coldest_c <= limits.heat_on_c
        return Mode.HEATING if may_heat and is_cold else Mode.OFF
