# SPDX-License-Identifier: Apache-2.0
"""The pack supervisor among the real chain: its loss, and precharge that has to be tried again."""

from collections.abc import Iterator
from typing import Any

import can
import msgspec
import pytest
from rclpy.context import Context

from ibms_end.can.codec import FrameDecoder, find_message
from ibms_msgs.msg import PackState
from ibms_sim.configuration import Constant, load_simulation
from ibms_sim.process import simulation_database
from ibms_tools.campaign.closed_loop import ClosedLoop
from ibms_tools.campaign.memory_bus import INTERFACE

from .conftest import CONFIG

PACK = CONFIG / "packs" / "robot_12s.yaml"
MAIN = 0b011


class Vehicle:
    """Newest values of the frames that a vehicle hears."""

    def __init__(self, channel: str) -> None:
        database = simulation_database(PACK)
        messages = [find_message(database, name) for name in ("VehicleBattery", "VehicleLimits")]
        self.decoders = {m.frame_id: FrameDecoder(m, protected=True) for m in messages}
        self.bus = can.Bus(interface=INTERFACE, channel=channel)
        self.newest: dict[str, Any] = {}

    def listen(self) -> dict[str, Any]:
        while (frame := self.bus.recv(0)) is not None:
            decoder = self.decoders.get(frame.arbitration_id)
            values = decoder.decode(frame.data) if decoder else None
            if decoder and values is not None:
                self.newest[decoder.message.name] = values
        return self.newest

    def close(self) -> None:
        self.bus.shutdown()


@pytest.fixture
def loop(context: Context) -> Iterator[ClosedLoop]:
    simulation = msgspec.structs.replace(
        load_simulation(CONFIG / "simulation" / "robot.yaml"), load=Constant(-6.0)
    )
    loop = ClosedLoop(PACK, simulation, CONFIG / "simulation", context)
    yield loop
    loop.close()


def state_is(loop: ClosedLoop, state: int) -> bool:
    return bool(loop.newest["pack/state"].state == state)


def test_loss_of_the_supervisor_is_told_first_and_opens_within_five_seconds(
    loop: ClosedLoop,
) -> None:
    vehicle = Vehicle(loop._channel)
    loop.run(3.0)
    assert loop.request(PackState.STATE_DRIVE).success
    assert loop.run(3.0, until=lambda: state_is(loop, PackState.STATE_DRIVE))
    loop.run(3.0)  # limits rise slowly
    heard = vehicle.listen()
    assert heard["VehicleBattery"]["ZeroCurrentRequest"] == 0
    assert heard["VehicleLimits"]["DischargeCurrent"] > 0
    loop.freeze("pack_supervisor")
    lost_s = loop.now_s
    assert loop.run(
        5.0, until=lambda: bool(vehicle.listen()["VehicleBattery"]["ZeroCurrentRequest"])
    )
    asked_s = loop.now_s - lost_s
    assert vehicle.listen()["VehicleLimits"]["DischargeCurrent"] == 0
    assert loop.conducting == MAIN
    assert loop.run(5.0, until=lambda: loop.conducting == 0)
    opened_s = loop.now_s - lost_s
    assert asked_s <= 1.2
    # Consumers have had their time between the request and the opening.
    assert asked_s + 1.0 < opened_s < 5.0
    vehicle.close()
    loop.thaw("pack_supervisor")
    assert not loop.run(5.0, until=lambda: loop.conducting != 0)


def ask_for_drive(loop: ClosedLoop) -> list[Any]:
    """States of the pack from the request until drive or error."""
    seen: list[Any] = []

    def hear(topic: str, message: Any) -> None:
        if topic == "pack/state":
            place = (message.state, message.substate, message.precharge_attempt)
            if not seen or seen[-1] != place:
                seen.append(place)

    loop.heard = hear
    assert loop.request(PackState.STATE_DRIVE).success
    ends = (PackState.STATE_DRIVE, PackState.STATE_ERROR)
    assert loop.run(40.0, until=lambda: bool(seen) and seen[-1][0] in ends)
    return seen


def test_precharge_that_fails_is_tried_three_times_and_then_the_cause_is_told(
    loop: ClosedLoop,
) -> None:
    loop.run(3.0)
    loop.inject("precharge_slow", value=5.0)
    seen = ask_for_drive(loop)
    precharge = PackState.STATE_PRECHARGE
    for attempt in (1, 2, 3):
        assert (precharge, "precharging", attempt) in seen
    assert seen[-1][0] == PackState.STATE_ERROR
    state = loop.newest["pack/state"]
    assert "attempt 3 of 3" in state.text
    assert "precharge_slow" in state.text
    assert loop.run(2.0, until=lambda: loop.conducting == 0)


def test_precharge_that_is_slow_once_succeeds_with_the_second_attempt(loop: ClosedLoop) -> None:
    loop.run(3.0)
    loop.inject("precharge_slow", value=5.0)
    seen: list[Any] = []

    def heal(topic: str, message: Any) -> None:
        if topic == "pack/state" and message.substate == "pause before retry" and not seen:
            seen.append(message)
            loop.inject("precharge_slow", remove=True)

    loop.heard = heal
    assert loop.request(PackState.STATE_DRIVE).success
    assert loop.run(15.0, until=lambda: state_is(loop, PackState.STATE_DRIVE))
    assert seen[0].precharge_attempt == 1
    assert loop.conducting == MAIN
    assert loop.newest["pack/state"].cause == 0


def test_a_short_circuit_of_the_load_is_not_tried_twice(loop: ClosedLoop) -> None:
    loop.run(3.0)
    loop.inject("link_short", value=0.01)
    seen = ask_for_drive(loop)
    assert {attempt for _, _, attempt in seen} <= {0, 1}
    assert seen[-1][0] == PackState.STATE_ERROR
    assert "precharge_short" in loop.newest["pack/state"].text
