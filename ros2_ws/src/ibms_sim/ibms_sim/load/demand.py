# SPDX-License-Identifier: Apache-2.0
"""What draws current from the pack: demand over time, charge positive."""

from pathlib import Path
from typing import Protocol

from ibms_sim.configuration import Constant, Profile, Vehicle
from ibms_sim.load.schedules import Series, load_profile, load_schedule

_GRAVITY_M_S2 = 9.80665
_AIR_KG_M3 = 1.2
_MINIMUM_LINK_V = 10.0


class Demand(Protocol):
    """Current that a load wants at a time since it was first connected."""

    follows_limits: bool  # whether the BMS's limits bound it

    def current_a(self, time_s: float, link_v: float) -> float:
        """Wanted current [A], charge positive."""


class ConstantDemand:
    """The same current always."""

    follows_limits = True

    def __init__(self, load: Constant) -> None:
        self._current_a = load.current_a

    def current_a(self, time_s: float, link_v: float) -> float:
        """Wanted current [A]."""
        return self._current_a


class ProfileDemand:
    """A current profile in a loop."""

    def __init__(self, profile: Series, follows_limits: bool = True) -> None:
        self.follows_limits = follows_limits
        self._profile = profile

    def current_a(self, time_s: float, link_v: float) -> float:
        """Wanted current [A]."""
        return self._profile.at(time_s)


class VehicleDemand:
    """A car on a speed schedule: inertia, rolling and air resistance, losses, auxiliaries."""

    follows_limits = True

    def __init__(self, vehicle: Vehicle, schedule: Series) -> None:
        self._vehicle = vehicle
        self._schedule = schedule

    def power_w(self, time_s: float) -> float:
        """Power at the battery's terminals [W], positive when it drives the car."""
        car = self._vehicle
        speed = self._schedule.at(time_s)
        # Over one second, as the schedules are given: no steps in power between their points.
        before = self._schedule.at(max(time_s - 0.5, 0.0))
        acceleration = self._schedule.at(time_s + 0.5) - before
        force_n = (
            car.mass_kg * acceleration
            + (car.mass_kg * _GRAVITY_M_S2 * car.rolling_resistance if speed > 0 else 0.0)
            + 0.5 * _AIR_KG_M3 * car.drag_area_m2 * speed**2
        )
        wheel_w = force_n * speed
        if wheel_w >= 0:
            return wheel_w / car.drive_efficiency + car.auxiliary_w
        return wheel_w * car.drive_efficiency * car.regeneration + car.auxiliary_w

    def current_a(self, time_s: float, link_v: float) -> float:
        """Wanted current [A]."""
        if link_v < _MINIMUM_LINK_V:
            return 0.0
        return -self.power_w(time_s) / link_v


def make_demand(load: Vehicle | Profile | Constant, folder: Path) -> Demand:
    """The demand that a simulation file in ``folder`` describes; raises ``ConfigurationError``."""
    if isinstance(load, Vehicle):
        return VehicleDemand(load, load_schedule(folder / load.schedule))
    if isinstance(load, Profile):
        return ProfileDemand(load_profile(folder / load.file), load.follows_limits)
    return ConstantDemand(load)
