# SPDX-License-Identifier: Apache-2.0
"""From feedback of the switches to verdicts: welds, isolated cells, wiring, the pack's state."""

import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_edge.protection.table import Reaction
from ibms_msgs.msg import PackMeasurement, SwitchState

from .world import S, World


def test_welded_contacts_show_as_a_link_that_stays_live(world: World) -> None:
    def opened(message: SwitchState) -> None:
        message.configuration = "open"
        message.closed = array("B", bytes(len(message.closed)))

    world.change["switch"] = opened
    assert world.run(6.9).reaction is Reaction.NONE
    assert world.run(0.2).reaction is Reaction.OPEN_NOW
    assert world.first("weld")

    def unseen(message: SwitchState) -> None:
        opened(message)
        message.configuration = "transition"

    world.change["switch"] = unseen
    world.run(0.2)
    world.change["switch"] = opened
    world.run(2.0)
    assert world.judge.engine.acknowledge([]) == ([], [176])  # not to be talked away by a gap

    def discharged(message: SwitchState) -> None:
        opened(message)
        message.link_voltage_v = 3.0

    world.change["switch"] = discharged
    world.run(8.0)
    assert world.judge.engine.acknowledge([]) == ([176], [])


@pytest.mark.parametrize("fallen", [0.97, 0.95, 0.9])
def test_a_link_that_empties_slowly_is_no_weld_where_the_pack_s_voltage_fell(
    world: World, fallen: float
) -> None:
    """As after a fast charge: the link keeps the voltage under load for a while."""
    start_s = world.now_ns / S

    def opened(message: SwitchState) -> None:
        message.configuration = "open"
        message.closed = array("B", bytes(len(message.closed)))
        message.link_voltage_v = 44.4 * math.exp((start_s - world.now_ns / S) / 40.0)
        message.pack_voltage_v = 44.4 * fallen

    world.change["switch"] = opened
    world.run(30.0)
    assert "weld" not in [f.diagnosis.name for verdict in world.history for f in verdict.active]


def test_a_welded_negative_contactor_shows_before_it_is_used(world: World) -> None:
    link_v = 18.0  # left from the drive before

    def switched(configuration: str) -> Callable[[Any], None]:
        def change(message: SwitchState) -> None:
            message.configuration = configuration
            message.closed = array("B", bytes(len(message.closed)))
            message.link_voltage_v = link_v

        return change

    world.change["switch"] = switched("open")
    world.run(0.1)
    world.change["switch"] = switched("precharge_only")
    assert world.run(0.1).active == []
    link_v = 29.0
    world.run(0.1)
    assert world.first("weld_negative")


def test_the_state_is_known_only_while_it_is_fresh(world: World) -> None:
    world.silent.add("pack_state")
    world.run(0.9)
    assert world.judge.engine._context[0] == "drive"
    world.run(0.3)
    assert world.judge.engine._context[0] is None


def test_isolated_cells_count_only_while_feedback_is_fresh(pack: Pack, config: Path) -> None:
    world = World(pack, config / "diagnoses" / "nmc_3p.yaml")

    def bypassed(message: SwitchState) -> None:
        message.isolated = array("B", [1, 1, 1, 1, *[0] * 8])

    def without(message: PackMeasurement) -> None:
        message.voltage_v = message.link_voltage_v = 29.6

    world.change = {"switch": bypassed, "pack": without}
    world.run(3.0)
    assert world.judge.engine._isolated is not None
    assert world.judge.engine._isolated.sum() == 4
    assert "sum_of_cells" not in [fault.diagnosis.name for fault in world.run(0.1).active]
    world.silent.add("switch")
    world.run(0.6)
    assert world.judge.engine._isolated.sum() == 0


def test_modules_that_hang_loose_have_no_sum(config: Path) -> None:
    pack = load_pack(config / "packs" / "robot_12s_modular.yaml")
    world = World(pack, config / "diagnoses" / "nmc_3p_modular.yaml")
    names = [switch.name for switch in pack.switching.switches]

    def switched(*closed: str) -> Callable[[Any], None]:
        def change(message: SwitchState) -> None:
            message.closed = array("B", [int(name in closed) for name in names])
            message.isolated = array("B", bytes(pack.series))

        return change

    def dead(message: PackMeasurement) -> None:
        message.voltage_v = message.link_voltage_v = 0.0

    world.change = {"switch": switched(), "pack": dead}
    assert world.run(3.0).active == []  # all open: nothing is at the terminals
    world.change["switch"] = switched("series_1", "series_2", "series_3")
    world.run(0.5)
    assert world.first("fuse_open")
