# SPDX-License-Identifier: Apache-2.0
"""Thermal control with hysteresis. No ROS."""

from dataclasses import dataclass
from enum import IntEnum


class Mode(IntEnum):
    """Thermal modes; equal to ThermalState.MODE_*."""

    OFF = 0
    COOLING = 1
    HEATING = 2
    SENSOR_FAILURE = 3


@dataclass(frozen=True, slots=True)
class Actuators:
    """Commands, 0 to 1."""

    pump: float = 0.0
    fan: float = 0.0
    chiller: float = 0.0
    heater: float = 0.0


@dataclass(frozen=True)
class Thresholds:
    """Cell temperatures at which cooling and heating begin and end [degC]."""

    cool_on_c: float = 35.0
    cool_off_c: float = 31.0
    cool_full_c: float = 45.0
    heat_on_c: float = 5.0
    heat_off_c: float = 10.0


class ThermalController:
    """Chooses mode and actuators from the coldest and hottest cell sensor."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self.mode = Mode.OFF

    def update(self, coldest_c: float, hottest_c: float, may_heat: bool) -> Actuators:
        """Actuators now.

        Args:
            coldest_c: coldest valid sensor [degC]; NaN if none is valid.
            hottest_c: hottest valid sensor [degC]; NaN if none is valid.
            may_heat: a heater may run (pack in use and no fault).
        """
        limits = self.thresholds
        if coldest_c != coldest_c or hottest_c != hottest_c:
            self.mode = Mode.SENSOR_FAILURE
            return Actuators(pump=1.0, fan=1.0)
        if hottest_c >= limits.cool_on_c:
            self.mode = Mode.COOLING
        elif coldest_c <= limits.heat_on_c and may_heat:
            self.mode = Mode.HEATING
        elif (
            self.mode is Mode.SENSOR_FAILURE
            or (self.mode is Mode.COOLING and hottest_c <= limits.cool_off_c)
            or (self.mode is Mode.HEATING and (coldest_c >= limits.heat_off_c or not may_heat))
        ):
            self.mode = Mode.OFF
        if self.mode is Mode.COOLING:
            span_c = limits.cool_full_c - limits.cool_on_c
            demand = min(1.0, max(0.2, (hottest_c - limits.cool_on_c) / span_c))
            return Actuators(pump=1.0, fan=demand, chiller=demand)
        if self.mode is Mode.HEATING:
            return Actuators(pump=1.0, heater=1.0)
        return Actuators()
