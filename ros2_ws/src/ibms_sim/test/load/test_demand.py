# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from ibms_sim.configuration import Constant, Profile, Vehicle
from ibms_sim.load.demand import VehicleDemand, make_demand
from ibms_sim.load.schedules import Series

CAR = Vehicle(schedule="", auxiliary_w=0.0)


def constant_speed(speed_m_s: float) -> VehicleDemand:
    return VehicleDemand(CAR, Series(np.array([0.0, 1000.0]), np.full(2, speed_m_s)))


def test_power_at_constant_speed_is_that_of_the_resistances() -> None:
    speed = 30.0
    force = 1600 * 9.80665 * 0.009 + 0.5 * 1.2 * 0.62 * speed**2
    assert constant_speed(speed).power_w(100.0) == pytest.approx(force * speed / 0.88)
    assert constant_speed(0.0).power_w(100.0) == 0.0


def test_discharge_is_negative_and_braking_gives_back_less_than_it_took() -> None:
    ramp = Series(np.array([0.0, 10.0, 20.0]), np.array([0.0, 20.0, 0.0]))
    car = VehicleDemand(CAR, ramp)
    assert car.current_a(5.0, 350.0) < -50
    assert car.current_a(15.0, 350.0) > 20
    taken = sum(car.power_w(t) for t in np.arange(0.5, 9.5, 0.1))
    given = -sum(car.power_w(t) for t in np.arange(10.5, 19.5, 0.1))
    assert 0.2 < given / taken < 0.8


def test_udds_needs_what_such_a_car_needs(config: Path) -> None:
    load = Vehicle(schedule="schedules/udds.csv")
    demand = make_demand(load, config / "simulation")
    power_w = [-demand.current_a(t, 350.0) * 350.0 for t in np.arange(0, 1369, 0.5)]
    kwh_100km = np.sum(power_w) * 0.5 / 3.6e6 / 11.99 * 100
    assert 9 < kwh_100km < 18


def test_no_current_without_voltage() -> None:
    assert constant_speed(30.0).current_a(10.0, 0.0) == 0.0


def test_the_other_loads(config: Path) -> None:
    assert make_demand(Constant(-5.0), config).current_a(99.0, 40.0) == -5.0
    robot = make_demand(Profile("schedules/robot.csv"), config / "simulation")
    assert robot.current_a(6.0, 40.0) == -12.0


def test_a_profile_may_ignore_the_limits(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time_s,current_a\n0,1\n1,1\n")
    assert make_demand(Profile("p.csv"), tmp_path).follows_limits
    assert not make_demand(Profile("p.csv", follows_limits=False), tmp_path).follows_limits
