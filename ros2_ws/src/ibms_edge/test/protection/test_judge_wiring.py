# SPDX-License-Identifier: Apache-2.0
"""The sum of cells while modules hang loose or their contacts chatter."""

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ibms_battery.pack import load_pack
from ibms_msgs.msg import PackMeasurement, SwitchState

from .world import MS, World

FUSE = 133
WHOLE = ("series_1", "series_2", "series_3", "main_negative", "main_positive")


@pytest.fixture
def modular(config: Path) -> World:
    pack = load_pack(config / "packs" / "robot_12s_modular.yaml")
    world = World(pack, config / "diagnoses" / "nmc_3p_modular.yaml")
    world.change["switch"] = switched(world, *WHOLE)
    assert world.run(0.5).active == []
    return world


def switched(world: World, *closed: str) -> Callable[[Any], None]:
    names = [switch.name for switch in world.pack.switching.switches]

    def change(message: SwitchState) -> None:
        message.configuration = "closed" if closed else "open"
        message.closed = array("B", [int(name in closed) for name in names])
        message.isolated = array("B", bytes(world.pack.series))
        message.link_voltage_v = 0.0 if not closed else message.link_voltage_v

    return change


def dead(message: PackMeasurement) -> None:
    message.voltage_v = message.link_voltage_v = 0.0


def test_a_blown_fuse_cannot_be_acknowledged_away_while_modules_hang_loose(modular: World) -> None:
    modular.change["pack"] = dead
    modular.run(0.3)
    assert modular.first("fuse_open")
    modular.change["switch"] = switched(modular)
    modular.run(5.0)
    cleared, standing = modular.judge.engine.acknowledge([])
    assert (cleared, FUSE in standing) == ([], True)
    assert not modular.run(0.1).close_allowed


def test_a_chattering_contact_hides_no_blown_fuse(modular: World) -> None:
    def chatters(message: SwitchState) -> None:
        is_open = modular.now_ns // (50 * MS) % 2
        switched(modular, *(WHOLE[1:] if is_open else WHOLE))(message)
        message.wiring_boot_ns = modular.now_ns // (50 * MS) * 50 * MS

    modular.change = {"switch": chatters, "pack": dead}
    modular.mark()
    modular.run(0.8)
    assert modular.first("fuse_open")[1] > 0.3  # not while it may be a change of the wiring


def test_what_was_bad_for_a_moment_does_not_hold_closing_back(modular: World) -> None:
    modular.change["pack"] = dead
    modular.run(0.06)
    assert not modular.history[-1].close_allowed
    modular.change["switch"] = switched(modular)
    assert modular.run(0.1).close_allowed
