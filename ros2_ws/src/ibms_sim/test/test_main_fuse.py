# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import msgspec
import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_sim.faults import BY_NAME, NO_ELEMENT, FaultSet
from ibms_sim.main_fuse import MainFuse

STEP_S = 0.01


@pytest.fixture
def pack(config: Path) -> Pack:
    return load_pack(config / "packs" / "ev_96s.yaml")


@pytest.fixture
def faults(pack: Pack) -> FaultSet:
    return FaultSet(pack, "plant")


@pytest.fixture
def fuse(pack: Pack, faults: FaultSet) -> MainFuse:
    return MainFuse(pack, faults)


def carry(fuse: MainFuse, current_a: float, duration_s: float) -> float:
    """Carry a current; returns after how many seconds the fuse was open, at most duration_s."""
    steps = 0
    while not fuse.is_open and steps < round(duration_s / STEP_S):
        fuse.step(current_a, STEP_S, 0)
        steps += 1
    return steps * STEP_S


@pytest.mark.parametrize("current_a", [-900.0, 1200.0, -1500.0, 2000.0, -4000.0, -20000.0])
def test_clears_when_its_curve_says(fuse: MainFuse, pack: Pack, current_a: float) -> None:
    assert pack.fuse is not None
    expected_s = pack.fuse.melting_time_s(current_a)
    took_s = carry(fuse, current_a, 2 * expected_s + 1.0)
    assert fuse.is_open
    assert expected_s - 1e-9 <= took_s <= expected_s + STEP_S + 1e-6


def test_parts_of_its_life_add_up(fuse: MainFuse, pack: Pack) -> None:
    assert pack.fuse is not None
    carry(fuse, 1200.0, pack.fuse.melting_time_s(1200.0) / 2)
    took_s = carry(fuse, 2000.0, 10.0)
    assert took_s == pytest.approx(pack.fuse.melting_time_s(2000.0) / 2, abs=2 * STEP_S)


def test_carries_its_rated_current_for_good_and_cools_meanwhile(fuse: MainFuse) -> None:
    carry(fuse, 1200.0, 4.0)
    hot = fuse.melted
    assert hot == pytest.approx(0.5, rel=0.01)
    carry(fuse, 400.0, 100.0)
    assert not fuse.is_open
    assert fuse.melted < 0.5 * hot


def test_a_new_fuse_takes_the_place_of_a_cleared_one(fuse: MainFuse, faults: FaultSet) -> None:
    carry(fuse, 5000.0, 1.0)
    fuse.step(5000.0, STEP_S, 0)
    assert faults.has("fuse_open")
    faults.inject(BY_NAME["fuse_open"].number, NO_ELEMENT, 0.0, 0.0, True, 0)
    carry(fuse, 390.0, 10.0)
    assert not fuse.is_open


def test_a_pack_without_fuse_carries_everything(pack: Pack, faults: FaultSet) -> None:
    fuse = MainFuse(msgspec.structs.replace(pack, fuse=None), faults)
    carry(fuse, 1e5, 10.0)
    assert not fuse.is_open
