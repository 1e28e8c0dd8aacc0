# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from ibms_edge.thermal.controller import Actuators, Mode, ThermalController
from ibms_msgs.msg import ThermalState


def test_modes_are_those_of_the_interface() -> None:
    for mode in Mode:
        assert getattr(ThermalState, f"MODE_{mode.name}") == mode


def run(*steps: tuple[float, float], may_heat: bool = True) -> list[Mode]:
    controller = ThermalController()
    modes = []
    for coldest_c, hottest_c in steps:
        controller.update(coldest_c, hottest_c, may_heat)
        modes.append(controller.mode)
    return modes


def test_cooling_has_hysteresis() -> None:
    steps = [(20, 34), (20, 35), (20, 33), (20, 31), (20, 33)]
    assert run(*steps) == [Mode.OFF, Mode.COOLING, Mode.COOLING, Mode.OFF, Mode.OFF]


def test_heating_has_hysteresis() -> None:
    steps = [(6, 20), (5, 20), (9, 20), (10, 20), (6, 20)]
    assert run(*steps) == [Mode.OFF, Mode.HEATING, Mode.HEATING, Mode.OFF, Mode.OFF]


def test_heating_only_where_it_may_and_cooling_goes_first() -> None:
    assert run((-10, 20), may_heat=False) == [Mode.OFF]
    assert run((0, 40)) == [Mode.COOLING]
    controller = ThermalController()
    controller.update(0, 20, may_heat=True)
    assert controller.update(0, 20, may_heat=False) == Actuators()


@pytest.mark.parametrize(("hottest_c", "demand"), [(35, 0.2), (40, 0.5), (45, 1.0), (70, 1.0)])
def test_cooling_grows_with_temperature(hottest_c: float, demand: float) -> None:
    actuators = ThermalController().update(20, hottest_c, may_heat=True)
    assert actuators == Actuators(pump=1.0, fan=demand, chiller=demand)


@pytest.mark.parametrize("coldest_c", [math.nan, 20.0])
def test_without_a_temperature_nothing_heats(coldest_c: float) -> None:
    controller = ThermalController()
    controller.update(0, 10, may_heat=True)
    assert controller.update(coldest_c, math.nan, may_heat=True) == Actuators(pump=1.0, fan=1.0)
    assert controller.mode is Mode.SENSOR_FAILURE
    assert controller.update(20, 20, may_heat=True) == Actuators()
    assert run((math.nan, math.nan), (20, 20)) == [Mode.SENSOR_FAILURE, Mode.OFF]
