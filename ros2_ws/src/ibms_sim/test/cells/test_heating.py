# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ibms_battery.pack import Pack
from ibms_sim.cells.heating import InnerHeating
from ibms_sim.faults import BY_NAME, NO_ELEMENT, FaultSet


def inject(faults: FaultSet, name: str, element: int, value: float) -> None:
    faults.inject(BY_NAME[name].number, element, value, 0.0, False, 0)


def test_nothing_happens_without_a_fault(robot: Pack) -> None:
    heating = InnerHeating(robot, FaultSet(robot, "plant"))
    heating.step(1.0)
    assert not heating.rise_k.any()
    assert (heating.voltage_ratio == 1.0).all()


def test_runaway_heats_the_cells_of_its_sensor_and_takes_its_own_voltage(robot: Pack) -> None:
    faults = FaultSet(robot, "plant")
    heating = InnerHeating(robot, faults)
    inject(faults, "runaway", 4, 3.0)
    for _ in range(100):
        heating.step(0.01)
    heated = np.array(robot.temperature_sensor_of_cell()) == 1
    np.testing.assert_allclose(heating.rise_k, np.where(heated, 3.0, 0.0))
    assert heating.voltage_ratio[4] == pytest.approx(np.exp(-2.0))
    assert (np.delete(heating.voltage_ratio, 4) == 1.0).all()


def test_rates_add_up_and_end_with_their_faults(robot: Pack) -> None:
    faults = FaultSet(robot, "plant")
    heating = InnerHeating(robot, faults)
    inject(faults, "temperature_rate", 1, 1.0)
    inject(faults, "runaway", 3, 2.0)
    heating.step(1.0)
    assert heating.rise_k[5] == pytest.approx(3.0)
    faults.inject(BY_NAME["runaway"].number, 3, 0.0, 0.0, True, 0)
    heating.step(1.0)
    assert heating.rise_k[5] == pytest.approx(4.0)
    assert heating.voltage_ratio[3] == 1.0
    faults.inject(BY_NAME["temperature_rate"].number, NO_ELEMENT, 0.0, 0.0, True, 0)
    heating.step(1.0)
    assert not heating.rise_k.any()
