# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_sim.build import model_stack
from ibms_sim.cells.reduced import ReducedCells
from ibms_sim.cells.stack import ModelStack
from ibms_sim.cells.thermal import Actuation
from ibms_sim.configuration import load_simulation

FloatArray = npt.NDArray[np.float64]
NONE: FloatArray = np.zeros(96)


@pytest.fixture
def pack(config: Path) -> Pack:
    return load_pack(config / "packs" / "ev_96s.yaml")


@pytest.fixture
def stack(config: Path, pack: Pack) -> ModelStack:
    simulation = load_simulation(config / "simulation" / "rest.yaml")
    return model_stack(pack, simulation, config / "simulation", np.random.default_rng(1))


def run(
    stack: ModelStack,
    current_a: float,
    seconds: float,
    bleed: FloatArray = NONE,
    short: FloatArray = NONE,
) -> None:
    for _ in range(round(seconds / 0.01)):
        stack.step(np.full(96, current_a), bleed, short, Actuation(), 0.0)


def test_current_warms_the_cells_by_their_loss(stack: ModelStack, pack: Pack) -> None:
    before = stack.temperature_c.copy()
    rest_v = stack.voltage_v.copy()
    run(stack, -200.0, 60.0)
    rise = stack.temperature_c - before
    # About the mean drop times the current, over the heat capacity; a little leaves to the plate.
    estimate = 200.0 / pack.parallel * (rest_v - stack.voltage_v) * 60.0 / 61.0
    assert 0.3 * estimate.mean() < rise.mean() < estimate.mean()
    assert rise.min() > 0.2


def test_a_balancing_resistor_draws_charge_from_its_group_only(
    stack: ModelStack, pack: Pack
) -> None:
    bleed = np.zeros(96)
    bleed[5] = 1 / 33.0
    before = stack.bank.soc.copy()
    run(stack, 0.0, 30.0, bleed=bleed)
    lost = before - stack.bank.soc
    expected = stack.voltage_v[5] / 33.0 * 30.0 / 3600 / (5.10995 * pack.parallel)
    assert lost[5] - np.median(lost) == pytest.approx(expected, rel=0.05)
    # The others lose what leaks away in them (1e-12: rounding of 3000 additions to about 0.8).
    assert isinstance(stack.bank, ReducedCells)
    leaked = stack._leakage_a * 30.0 / 3600 / stack.bank.capacity_ah
    np.testing.assert_allclose(np.delete(lost, 5), np.delete(leaked, 5), rtol=0, atol=1e-12)


def test_an_internal_short_heats_its_group(stack: ModelStack) -> None:
    short = np.zeros(96)
    short[40] = 1 / 0.05
    run(stack, 0.0, 20.0, short=short)
    rise = stack.temperature_c - 22.0
    assert rise[40] > 1.0
    assert np.delete(rise, [39, 40, 41]).max() < 0.05


def test_each_group_follows_its_own_current(stack: ModelStack) -> None:
    before = stack.bank.soc.copy()
    current_a = np.where(np.arange(96) < 16, 0.0, -100.0)
    for _ in range(100):
        stack.step(current_a, NONE, NONE, Actuation(), 0.0)
    lost = before - stack.bank.soc
    assert lost[:16].max() < 0.01 * lost[16:].min()


def test_the_string_has_the_resistance_of_its_groups(stack: ModelStack, pack: Pack) -> None:
    run(stack, 0.0, 0.1)
    rest_v = stack.voltage_v.sum()
    run(stack, -100.0, 0.01)
    at_once = (rest_v - stack.voltage_v.sum()) / 100.0
    # The ohmic part, and above it charge transfer, which is nearly as quick.
    ohmic = float(stack.ohmic_ohm.sum())
    assert ohmic < at_once < 6 * ohmic
    assert ohmic == pytest.approx(96 * 0.00657 / pack.parallel, rel=0.2)
