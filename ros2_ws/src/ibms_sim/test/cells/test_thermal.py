# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_sim.cells.thermal import Actuation, ThermalNetwork
from ibms_sim.configuration import Thermal

CAPACITY_J_K = 61.0
CLOSED = Thermal(plate_w_k=0.0, air_w_k=0.0, radiator_w_k=0.0)


@pytest.fixture
def pack(config: Path) -> Pack:
    return load_pack(config / "packs" / "ev_96s.yaml")


def run(network: ThermalNetwork, heat_w: np.ndarray, actuation: Actuation, seconds: float) -> None:
    for _ in range(round(seconds)):
        network.step(heat_w, actuation, 1.0)


def test_heat_that_cannot_leave_stays_in_the_cells(pack: Pack) -> None:
    network = ThermalNetwork(pack, CLOSED, CAPACITY_J_K, 20.0)
    heat_w = np.zeros(96)
    heat_w[3] = 50.0
    run(network, heat_w, Actuation(), 600.0)
    stored_j = (network.cell_c - 20.0).sum() * CAPACITY_J_K * pack.parallel
    assert stored_j == pytest.approx(50.0 * 600.0, rel=1e-9)


def test_neighbours_warm_up_but_not_across_modules(pack: Pack) -> None:
    network = ThermalNetwork(pack, CLOSED, CAPACITY_J_K, 20.0)
    heat_w = np.zeros(96)
    heat_w[14] = 100.0
    run(network, heat_w, Actuation(), 1200.0)
    assert network.cell_c[14] > network.cell_c[13] > network.cell_c[12] > 20.0
    assert network.cell_c[15] > 20.05
    assert network.cell_c[16] == 20.0


def test_rise_of_one_cell_is_heat_over_capacity(pack: Pack) -> None:
    network = ThermalNetwork(pack, CLOSED, CAPACITY_J_K, 20.0)
    run(network, np.full(96, 28.0), Actuation(), 100.0)
    np.testing.assert_allclose(network.cell_c, 20.0 + 100.0 / CAPACITY_J_K)


def test_settles_at_the_ambient_temperature(pack: Pack) -> None:
    network = ThermalNetwork(pack, Thermal(), CAPACITY_J_K, 35.0)
    run(network, np.zeros(96), Actuation(pump=1.0, fan=1.0), 8000.0)
    np.testing.assert_allclose(network.cell_c, 20.0, atol=0.3)


@pytest.mark.parametrize(("name", "sign"), [("chiller", -1), ("heater", 1)])
def test_chiller_and_heater_act_through_the_pump(pack: Pack, name: str, sign: int) -> None:
    still = ThermalNetwork(pack, Thermal(), CAPACITY_J_K, 20.0)
    moving = ThermalNetwork(pack, Thermal(), CAPACITY_J_K, 20.0)
    run(still, np.zeros(96), Actuation(**{name: 1.0}), 600.0)
    run(moving, np.zeros(96), Actuation(pump=1.0, **{name: 1.0}), 600.0)
    np.testing.assert_allclose(still.cell_c, 20.0)
    assert sign * (moving.cell_c.mean() - 20.0) > 1.0


def test_the_fan_helps_the_radiator(pack: Pack) -> None:
    ends = []
    for fan in (0.0, 1.0):
        network = ThermalNetwork(pack, Thermal(), CAPACITY_J_K, 40.0)
        run(network, np.zeros(96), Actuation(pump=1.0, fan=fan), 900.0)
        ends.append(network.cell_c.mean())
    assert ends[1] < ends[0] - 1.0
