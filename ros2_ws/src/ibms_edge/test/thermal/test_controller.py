# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_edge.thermal.controller import Actuators, Mode, ThermalController
from ibms_edge.thermal.preconditioning import Wish
from ibms_edge.thermal.temperatures import CellTemperatures
from ibms_msgs.msg import ThermalState

FULL_COOLING = Actuators(pump=1.0, fan=1.0, chiller=1.0)
HEATING = Actuators(pump=1.0, heater=1.0)
BLIND = Actuators(pump=1.0, fan=1.0)


def cells(coldest_c: float, hottest_c: float, known: float = 1.0) -> CellTemperatures:
    return CellTemperatures(coldest_c, hottest_c, known)


def test_modes_are_those_of_the_interface() -> None:
    for mode in Mode:
        assert getattr(ThermalState, f"MODE_{mode.name}") == mode


def run(*steps: tuple[float, float], may_heat: bool = True) -> list[Mode]:
    controller = ThermalController()
    modes = []
    for coldest_c, hottest_c in steps:
        controller.update(cells(coldest_c, hottest_c), may_heat)
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
    controller.update(cells(0, 20), may_heat=True)
    assert controller.update(cells(0, 20), may_heat=False) == Actuators()


@pytest.mark.parametrize(("hottest_c", "demand"), [(35, 0.2), (40, 0.5), (45, 1.0), (70, 1.0)])
def test_cooling_grows_with_temperature(hottest_c: float, demand: float) -> None:
    actuators = ThermalController().update(cells(20, hottest_c), may_heat=True)
    assert actuators == Actuators(pump=1.0, fan=demand, chiller=demand)


@pytest.mark.parametrize("blind", [CellTemperatures(), cells(0.0, 10.0, known=0.4)])
def test_without_enough_temperatures_nothing_heats(blind: CellTemperatures) -> None:
    controller = ThermalController()
    controller.update(cells(0, 10), may_heat=True)
    assert controller.update(blind, True, Wish.HEAT) == BLIND
    assert controller.mode is Mode.SENSOR_FAILURE
    assert controller.update(cells(20, 20), may_heat=True) == Actuators()


def test_one_failed_sensor_is_not_all() -> None:
    controller = ThermalController()
    assert controller.update(cells(0, 10, known=0.75), may_heat=True) == HEATING
    assert controller.update(cells(20, 40, known=0.75), may_heat=True).chiller == 0.5


def test_cooling_does_not_end_because_the_hottest_sensor_failed() -> None:
    controller = ThermalController()
    controller.update(cells(20, 50), may_heat=False)
    assert controller.update(cells(20, 22, known=0.9), may_heat=False).chiller > 0.0
    assert controller.update(cells(20, 22), may_heat=False) == Actuators()


def test_a_runaway_is_cooled_in_full_whatever_is_measured() -> None:
    for measured in (CellTemperatures(), cells(-20, -10), cells(20, 300, known=0.5)):
        controller = ThermalController()
        assert controller.update(measured, True, Wish.HEAT, runaway=True) == FULL_COOLING
        assert controller.mode is Mode.COOLING


def test_a_wish_heats_and_cools_where_ordinary_control_rests() -> None:
    controller = ThermalController()
    steps = [(cells(12, 15), Wish.HEAT), (cells(20, 25), Wish.COOL), (cells(20, 25), Wish.NONE)]
    done = [(controller.update(known, False, wish), controller.mode) for known, wish in steps]
    assert done == [
        (HEATING, Mode.PRECONDITIONING),
        (FULL_COOLING, Mode.PRECONDITIONING),
        (Actuators(), Mode.OFF),
    ]


def test_hot_cells_are_cooled_whatever_is_wished() -> None:
    controller = ThermalController()
    assert controller.update(cells(12, 36), True, Wish.HEAT).heater == 0.0
    assert controller.mode is Mode.COOLING


temperatures = st.one_of(st.floats(-40.0, 120.0), st.just(math.nan))
measured = st.builds(
    lambda a, b, known: (
        CellTemperatures()
        if math.isnan(a) or math.isnan(b)
        else CellTemperatures(min(a, b), max(a, b), known)
    ),
    temperatures,
    temperatures,
    st.floats(0.01, 1.0),
)


@given(st.lists(st.tuples(measured, st.booleans(), st.sampled_from(Wish), st.booleans())))
def test_the_heater_runs_only_where_it_is_safe(
    steps: list[tuple[CellTemperatures, bool, Wish, bool]],
) -> None:
    controller = ThermalController()
    limits = controller.thresholds
    for known, may_heat, wish, runaway in steps:
        actuators = controller.update(known, may_heat, wish, runaway)
        assert all(0.0 <= getattr(actuators, name) <= 1.0 for name in actuators.__slots__)
        if actuators.heater:
            assert not runaway
            assert may_heat or wish is Wish.HEAT
            assert known.known >= limits.fewest_known
            assert known.hottest_c < limits.cool_off_c
            assert actuators.chiller == 0.0
            assert actuators.pump == 1.0  # heat that is not carried off burns the heater
        elif known.known == 1.0 and known.hottest_c >= limits.cool_on_c:
            assert actuators.chiller > 0.0
