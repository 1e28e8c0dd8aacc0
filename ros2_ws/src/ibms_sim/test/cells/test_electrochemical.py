# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

pytest.importorskip("pybamm")

from ibms_sim.cells.electrochemical import ElectrochemicalCells
from ibms_sim.cells.stack import CellModelError
from ibms_sim.configuration import Pybamm

COUNT, STEP_S = 3, 0.02
SETTINGS = Pybamm(step_s=0.2)


@pytest.fixture(scope="module")
def bank() -> ElectrochemicalCells:
    soc = np.array([0.4, 0.6, 0.8])
    factors = np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.2, 1.0])
    return ElectrochemicalCells(SETTINGS, soc, *factors, 25.0, STEP_S)


def test_starts_at_rest_at_its_state_of_charge(bank: ElectrochemicalCells) -> None:
    bank.step(np.zeros(COUNT), np.full(COUNT, 25.0))
    np.testing.assert_allclose(bank.voltage_v, bank.open_circuit_v, atol=1e-3)
    # Open-circuit voltages of the parameter set at 40, 60 and 80 %, as in config/cells/lg_m50.yaml.
    np.testing.assert_allclose(bank.open_circuit_v, [3.6676, 3.8406, 4.0394], atol=5e-3)


def test_a_pulse_shows_at_once_then_slowly_and_charge_is_counted(
    bank: ElectrochemicalCells,
) -> None:
    degrees = np.full(COUNT, 25.0)
    start_soc, rest_v = bank.soc.copy(), bank.voltage_v.copy()
    bank.step(np.full(COUNT, -5.0), degrees)
    at_once = rest_v - bank.voltage_v
    assert (at_once > 0.05).all()
    assert at_once[1] > 1.1 * at_once[0]  # by its resistance
    # Every group shows it at once, and the model says the same when it has had its turn.
    for _ in range(10):
        bank.step(np.full(COUNT, -5.0), degrees)
    np.testing.assert_allclose(rest_v - bank.voltage_v, at_once, atol=6e-3)
    for _ in range(489):
        bank.step(np.full(COUNT, -5.0), degrees)
    after_10_s = rest_v - bank.voltage_v
    assert (after_10_s > at_once + 0.005).all()
    moved = -5.0 * 500 * STEP_S / 3600 / 5.10995
    np.testing.assert_allclose(bank.soc - start_soc, moved, rtol=1e-3)


def test_more_groups_than_turns_are_refused() -> None:
    with pytest.raises(CellModelError, match=r"raise plant\.step_s to at least 0\.22"):
        ElectrochemicalCells(SETTINGS, np.full(11, 0.5), np.ones(11), np.ones(11), 25.0, STEP_S)
