# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the controller: fresh inputs, frames out, feedback in."""

from array import array
from collections.abc import Callable
from math import nan
from typing import Any

import can
import pytest

from ibms_edge.thermal.node import ThermalControl
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.mapping import load_map
from ibms_msgs.msg import ThermalState

Start = Callable[..., Any]


@pytest.fixture
def alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> Any:
    alone = start(ThermalControl)
    alone.frames = []
    monkeypatch.setattr(alone.node._receiver, "send", alone.frames.append)
    return alone


def test_hot_cells_are_cooled_by_frames(alone: Any, config: Any, pack: Any) -> None:
    alone.run(2.0, temperature_c=array("f", [25.0] * 11 + [40.0]))
    state = alone.newest("thermal/state")
    assert state.mode == ThermalState.MODE_COOLING
    assert state.pump_ratio > 0.0
    assert state.maximum_temperature_c == 40.0
    database = load_map(config / "can" / "maps" / pack.can_map, pack).database
    decoder = FrameDecoder(find_message(database, "ThermalCommand"), protected=True)
    values = decoder.decode(alone.frames[-1].data)
    assert values is not None
    assert values["Pump"] == pytest.approx(state.pump_ratio * 100.0, abs=0.5)


@pytest.mark.parametrize("temperature_c", [array("f", [nan] * 12), None])
def test_without_a_temperature_pump_and_fan_run(alone: Any, temperature_c: Any) -> None:
    if temperature_c is None:
        alone.run(1.0)
        alone.advance(2.5)
    else:
        alone.run(2.0, temperature_c=temperature_c)
    state = alone.newest("thermal/state")
    assert state.mode == ThermalState.MODE_SENSOR_FAILURE
    assert state.heater_ratio == 0.0
    assert state.pump_ratio > 0.0
    assert state.fan_ratio > 0.0


def test_feedback_is_held_against_the_command(alone: Any, config: Any, pack: Any) -> None:
    database = load_map(config / "can" / "maps" / pack.can_map, pack).database
    encoder = FrameEncoder(find_message(database, "ThermalFeedback"))

    def feed_back(**values: float) -> Any:
        complete = {"Pump": 0.0, "Fan": 0.0, "Chiller": 0.0, "Heater": 0.0, **values}
        message = encoder.encode(complete)
        alone.node._on_frame(
            can.Message(arbitration_id=message.arbitration_id, data=message.data),
            alone.clock.boot_ns(),
        )
        alone.run(0.5)
        return alone.newest("thermal/state")

    alone.run(1.0)
    assert not alone.newest("thermal/state").feedback_valid
    state = feed_back()
    assert state.feedback_valid
    assert state.feedback_matches
    assert not feed_back(Heater=50.0).feedback_matches


def test_thresholds_the_wrong_way_round_are_refused(start: Start) -> None:
    assert not start(ThermalControl, cool_on_c=30.0, cool_off_c=31.0).node.is_active
