# SPDX-License-Identifier: Apache-2.0
"""The closed loop: it drives, opens on a fault, and two runs are equal."""

from typing import Any

import msgspec
import pytest
from rclpy.context import Context

from ibms_msgs.msg import PackState
from ibms_sim.configuration import Constant, load_simulation
from ibms_tools.campaign.closed_loop import ClosedLoop

from .conftest import CONFIG

MAIN = 0b011
CELL = 5


@pytest.fixture
def loop(context: Context) -> Any:
    loop = make(context)
    yield loop
    loop.close()


def make(context: Context) -> ClosedLoop:
    simulation = msgspec.structs.replace(
        load_simulation(CONFIG / "simulation" / "robot.yaml"), load=Constant(-6.0)
    )
    return ClosedLoop(
        CONFIG / "packs" / "robot_12s.yaml", simulation, CONFIG / "simulation", context
    )


def drive(loop: ClosedLoop) -> None:
    loop.run(3.0)
    assert loop.request(PackState.STATE_DRIVE).success
    assert loop.run(
        3.0, until=lambda: bool(loop.newest["pack/state"].state == PackState.STATE_DRIVE)
    )


def test_a_request_closes_and_an_over_voltage_opens_in_time(loop: ClosedLoop) -> None:
    drive(loop)
    loop.run(1.0)
    assert loop.conducting == MAIN
    assert -6.5 < loop.newest["pack/measurement"].current_a < -1.0  # the limits rise slowly
    injected_s = loop.now_s
    loop.inject("cell_voltage", CELL, 4.6)
    assert loop.run(2.0, until=lambda: loop.conducting == 0)
    assert loop.now_s - injected_s < 0.2
    assert loop.newest["protection/status"].first_cause_element == CELL
    loop.run(0.2)
    assert loop.newest["pack/state"].state == PackState.STATE_ERROR


def test_two_runs_are_equal(context: Context) -> None:
    def record() -> list[tuple[float, str, Any]]:
        loop = make(context)
        heard: list[tuple[float, str, Any]] = []

        def hear(topic: str, message: Any) -> None:
            if topic in ("protection/status", "switch/state"):
                heard.append((loop.now_s, topic, message))

        loop.heard = hear
        drive(loop)
        loop.inject("interlock_open")
        loop.run(0.3)
        loop.close()
        return heard

    first, second = record(), record()
    assert len(first) > 100
    assert str(first) == str(second)


def test_what_a_node_of_the_loop_sends_reaches_the_board_as_frames(loop: ClosedLoop) -> None:
    """Permits that get lost on the way let the dead-man open: nothing goes round the bus."""
    drive(loop)
    loop.board.board.permit = lambda *_: None  # type: ignore[method-assign]
    assert loop.run(0.5, until=lambda: loop.conducting == 0)
