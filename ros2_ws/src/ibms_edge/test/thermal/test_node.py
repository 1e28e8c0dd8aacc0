# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the controller: fresh inputs, frames out, feedback in."""

from array import array
from collections.abc import Callable
from math import isnan, nan
from pathlib import Path
from typing import Any

import can
import pytest

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import load_pack
from ibms_edge.protection.table import Reaction, load_table
from ibms_edge.thermal.node import ThermalControl
from ibms_edge.thermal.runaway import DIAGNOSIS
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.mapping import load_map
from ibms_msgs.msg import Event, PackState, ProtectionStatus, SwitchState, ThermalState
from ibms_msgs.srv import RequestPreconditioning

Start = Callable[..., Any]
CONFIG = Path(__file__).resolve().parents[5] / "config"
PACKS = sorted((CONFIG / "packs").glob("*.yaml"))
RUNAWAY = 999  # identifier of the diagnosis, whatever the shipped table says


@pytest.fixture
def alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> Any:
    alone = start(ThermalControl)
    alone.frames = []
    monkeypatch.setattr(alone.node._receiver, "send", alone.frames.append)
    monkeypatch.setattr(alone.node, "_runaway_id", RUNAWAY)
    return alone


def verdict(alone: Any, iteration: int, *active: int, value: float = 1.2) -> None:
    """A status of protection with these diagnoses active."""
    status = ProtectionStatus(iteration=iteration)
    status.active_diagnosis = array("H", active)
    status.active_value = array("f", [value] * len(active))
    if active:
        status.reaction = ProtectionStatus.REACTION_OPEN_NOW
    alone.hear("protection/status", status)


def ask(alone: Any, target_c: float, duration_s: float = 600.0) -> Any:
    request = RequestPreconditioning.Request(target_temperature_c=target_c, duration_s=duration_s)
    return alone.node._on_request(request, RequestPreconditioning.Response())


def texts(alone: Any) -> list[str]:
    return [message.text for topic, message in alone.sent if topic == "events"]


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


def test_silence_of_the_actuators_is_told_within_three_of_their_periods_and_100_ms(
    alone: Any, config: Any, pack: Any
) -> None:
    database = load_map(config / "can" / "maps" / pack.can_map, pack).database
    encoder = FrameEncoder(find_message(database, "ThermalFeedback"))
    alone.run(1.0)
    alone.node._on_frame(
        encoder.encode(dict.fromkeys(("Pump", "Fan", "Chiller", "Heater"), 0.0)),
        alone.clock.boot_ns(),
    )
    alone.advance(1.5)
    assert alone.newest("thermal/state").feedback_valid  # two frames may be missing
    alone.advance(0.1)
    assert not alone.newest("thermal/state").feedback_valid


def test_thresholds_the_wrong_way_round_are_refused(start: Start) -> None:
    assert not start(ThermalControl, cool_on_c=30.0, cool_off_c=31.0).node.is_active


def test_the_heater_runs_in_use_and_stops_when_anybody_is_silent(alone: Any) -> None:
    cold = array("f", [0.0] * 12)
    alone.run(1.0, temperature_c=cold)
    assert alone.newest("thermal/state").heater_ratio == 1.0
    for silent in ("pack/state", "protection/status", "cells/state"):
        alone.run(1.0, temperature_c=cold)
        assert alone.newest("thermal/state").heater_ratio == 1.0
        for _ in range(20):
            alone.advance(0.1)
            for topic, message in alone.healthy(temperature_c=cold):
                if topic != silent and topic in alone.node.inputs:
                    alone.hear(topic, message)
        assert alone.newest("thermal/state").heater_ratio == 0.0, silent


def test_the_heater_never_runs_with_a_fault_that_opens(alone: Any) -> None:
    cold = array("f", [0.0] * 12)
    alone.run(1.0, temperature_c=cold)
    verdict(alone, 7, 101)
    alone.advance(0.5)
    assert alone.newest("thermal/state").heater_ratio == 0.0


def test_a_runaway_raises_the_alarm_at_once_with_its_time(alone: Any) -> None:
    alone.run(1.0)
    assert not alone.newest("thermal/state").runaway_alarm
    detected_ns = alone.clock.boot_ns()
    verdict(alone, 7, 101, RUNAWAY)
    state = alone.newest("thermal/state")  # no time has passed
    assert state.runaway_alarm
    assert state.runaway_boot_ns == detected_ns
    stamp = state.runaway_stamp
    assert stamp.sec * NS_PER_S + stamp.nanosec == alone.clock.wall_ns()
    assert (state.pump_ratio, state.fan_ratio, state.chiller_ratio) == (1.0, 1.0, 1.0)
    assert state.heater_ratio == 0.0
    event = alone.newest("events")
    assert event.diagnosis == RUNAWAY
    assert event.severity == Event.SEVERITY_ERROR
    alone.advance(3.0)
    assert alone.newest("thermal/state").runaway_boot_ns == detected_ns
    assert len(texts(alone)) == 1


def test_the_alarm_stays_until_the_faults_are_cleared(alone: Any) -> None:
    alone.run(1.0)
    verdict(alone, 7, RUNAWAY)
    alone.advance(600.0)
    assert alone.newest("thermal/state").runaway_alarm
    verdict(alone, 1)  # protection was restarted
    assert alone.newest("thermal/state").runaway_alarm
    verdict(alone, 2, RUNAWAY)
    verdict(alone, 3)
    state = alone.newest("thermal/state")
    assert not state.runaway_alarm
    assert state.runaway_boot_ns == state.runaway_stamp.sec == 0
    assert texts(alone)[-1] == "the alarm of thermal runaway was acknowledged"


def test_a_lockout_of_a_damaged_event_memory_raises_no_alarm_and_ends_none(alone: Any) -> None:
    alone.run(1.0)
    verdict(alone, 7, 101, RUNAWAY, value=nan)
    assert not alone.newest("thermal/state").runaway_alarm
    assert texts(alone) == []
    verdict(alone, 8, RUNAWAY)
    assert alone.newest("thermal/state").runaway_alarm
    verdict(alone, 1, RUNAWAY, value=nan)  # protection was restarted
    alone.advance(1.0)
    assert alone.newest("thermal/state").runaway_alarm
    verdict(alone, 2)
    assert not alone.newest("thermal/state").runaway_alarm


def test_after_a_restart_of_this_node_the_alarm_keeps_its_time(alone: Any) -> None:
    alone.run(1.0)
    event = Event(source="protection", kind=Event.KIND_FAULT_SET, diagnosis=RUNAWAY)
    event.header.stamp.sec = 1_234
    detected_ns = alone.clock.boot_ns()
    alone.hear("events", event)  # kept for latecomers
    alone.advance(30.0)
    verdict(alone, 400, RUNAWAY)
    state = alone.newest("thermal/state")
    assert state.runaway_boot_ns == detected_ns
    assert state.runaway_stamp.sec == 1_234


def test_preconditioning_heats_in_standby_and_ends_at_its_target(alone: Any) -> None:
    cool = array("f", [12.0] * 12)
    standby = PackState(state=PackState.STATE_STANDBY)
    alone.run(1.0, temperature_c=cool)
    alone.hear("pack/state", standby)
    response = ask(alone, 20.0)
    assert response.success
    assert response.code == RequestPreconditioning.Response.CODE_OK
    assert response.message == "heats to 20 degC for 600 s at the most"
    state = alone.newest("thermal/state")
    assert state.mode == ThermalState.MODE_PRECONDITIONING
    assert state.preconditioning_target_c == 20.0
    assert state.heater_ratio == 1.0
    alone.run(1.0, temperature_c=array("f", [20.0] * 12))
    state = alone.newest("thermal/state")
    assert state.heater_ratio == 0.0
    assert isnan(state.preconditioning_target_c)
    assert texts(alone)[-1] == "preconditioning ends: the target is reached"


def test_preconditioning_is_refused_with_a_code_and_a_reason(alone: Any) -> None:
    codes = RequestPreconditioning.Response
    alone.run(1.0, temperature_c=array("f", [12.0] * 12))
    response = ask(alone, 60.0)
    assert not response.success
    assert response.code == codes.CODE_OUT_OF_RANGE
    assert "10 to 31 degC" in response.message
    alone.run(1.0, temperature_c=array("f", [12.0] * 12), soc=array("f", [0.5] * 11 + [0.1]))
    response = ask(alone, 20.0)
    assert response.code == codes.CODE_FORBIDDEN
    assert response.message == "the state of charge is 10 %, needed are 20 %"
    verdict(alone, 7, 101)
    assert "fault" in ask(alone, 20.0).message
    assert not alone.newest("thermal/state").heater_ratio
    alone.node.trigger_deactivate()
    assert ask(alone, 20.0).code == codes.CODE_NOT_ACTIVE


def test_a_bypassed_cell_is_no_reserve_that_preconditioning_could_use_up(alone: Any) -> None:
    soc = array("f", [0.5] * 11 + [0.1])
    alone.run(1.0, temperature_c=array("f", [12.0] * 12), soc=soc)
    assert not ask(alone, 20.0).success
    alone.hear("switch/state", SwitchState(isolated=array("B", [0] * 8 + [1] * 4)))
    assert ask(alone, 20.0).success


def test_a_request_without_a_target_ends_it(alone: Any) -> None:
    alone.run(1.0, temperature_c=array("f", [12.0] * 12))
    ask(alone, 20.0)
    assert alone.newest("thermal/state").heater_ratio == 1.0
    assert ask(alone, nan).success
    assert alone.newest("thermal/state").heater_ratio == 0.0


def test_a_fault_ends_preconditioning_and_is_named(alone: Any) -> None:
    alone.run(1.0, temperature_c=array("f", [12.0] * 12))
    ask(alone, 20.0)
    verdict(alone, 7, 101)
    alone.advance(0.5)
    assert alone.newest("thermal/state").heater_ratio == 0.0
    assert texts(alone)[-1] == "preconditioning ends: a fault stands that opens the pack"


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.stem)
def test_the_tables_of_the_shipped_packs_detect_a_runaway(path: Path) -> None:
    table = load_table(CONFIG / "diagnoses" / load_pack(path).diagnoses)
    (row,) = [row for row in table.diagnoses if row.name == DIAGNOSIS]
    assert row.latched  # the alarm stands until somebody clears it
    assert row.demand is Reaction.OPEN_NOW
