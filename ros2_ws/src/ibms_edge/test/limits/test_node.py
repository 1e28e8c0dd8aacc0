# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the limits: stale inputs, faults and states of the pack."""

from array import array
from collections.abc import Callable
from math import inf, isnan, nan
from typing import Any

import msgspec
import pytest

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack, StringOfCells
from ibms_edge.limits.node import PowerLimitsNode
from ibms_msgs.msg import (
    CellStates,
    PackLimits,
    PackPower,
    PackState,
    ProtectionStatus,
    SwitchState,
)
from ibms_ros_common.diagnostics import Status

Start = Callable[..., Any]


def test_limits_are_published_ten_times_per_second_in_amperes_and_watts(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    count = sum(topic == "pack/limits" for topic, _ in alone.sent)
    assert count in (120, 121)
    limits = alone.newest("pack/limits")
    assert limits.limited_by == PackLimits.LIMIT_RATING
    assert limits.discharge_current_a > 0.0
    assert limits.discharge_power_w == pytest.approx(
        limits.discharge_current_a * 12 * 3.7, rel=1e-6
    )
    assert limits.boot_ns == alone.clock.boot_ns()


def test_before_the_first_input_and_after_the_last_nothing_is_allowed(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.advance(0.2)
    assert alone.newest("pack/limits").limited_by == PackLimits.LIMIT_INPUT_STALE
    alone.run(12.0)
    alone.advance(0.7)
    limits = alone.newest("pack/limits")
    assert limits.limited_by == PackLimits.LIMIT_INPUT_STALE
    assert (limits.charge_current_a, limits.discharge_current_a) == (0.0, 0.0)
    assert not isnan(limits.discharge_power_w)


@pytest.mark.parametrize("silent", ["cells/state", "pack/state", "protection/status"])
def test_each_input_counts(start: Start, silent: str) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    alone.node.inputs.pop(silent)
    alone.run(0.7)
    assert alone.newest("pack/limits").limited_by == PackLimits.LIMIT_INPUT_STALE


@pytest.mark.parametrize(
    ("topic", "message", "cause"),
    [
        ("pack/state", PackState(state=PackState.STATE_STANDBY), PackLimits.LIMIT_PACK_STATE),
        (
            "protection/status",
            ProtectionStatus(reaction=ProtectionStatus.REACTION_OPEN_AFTER_ZERO_CURRENT),
            PackLimits.LIMIT_FAULT,
        ),
    ],
)
def test_zero_where_the_contactors_are_to_be_open(
    start: Start, topic: str, message: Any, cause: int
) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    alone.hear(topic, message)
    alone.advance(0.1)
    limits = alone.newest("pack/limits")
    assert (limits.limited_by, limits.discharge_current_a) == (cause, 0.0)


def test_one_missing_value_stops_no_vehicle_a_lasting_one_does(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    incomplete = array("f", [nan] + [3.7] * 11)
    alone.run(0.3, voltage_v=3.7, temperature_c=incomplete)
    assert alone.newest("pack/limits").discharge_current_a > 0.0
    alone.run(0.6, temperature_c=incomplete)
    assert alone.newest("pack/limits").limited_by == PackLimits.LIMIT_INPUT_STALE
    assert isinstance(alone.node._cells, CellStates)


def test_a_fault_that_opens_is_published_at_once(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    fault = ProtectionStatus(reaction=ProtectionStatus.REACTION_OPEN_NOW)
    alone.hear("protection/status", fault)
    assert alone.newest("pack/limits").limited_by == PackLimits.LIMIT_FAULT
    count = len(alone.sent)
    alone.hear("protection/status", fault)
    assert len(alone.sent) == count


def test_a_request_for_zero_current_withdraws_the_limits_without_a_jump(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    alone.node.inputs["pack/state"].handler = lambda message: alone.node._on_state(
        PackState(state=message.state, boot_ns=message.boot_ns, zero_current_requested=True)
    )
    before = alone.newest("pack/limits").discharge_current_a
    alone.run(0.3)
    limits = alone.newest("pack/limits")
    assert 0.5 * before < limits.discharge_current_a < before
    alone.run(1.0)
    limits = alone.newest("pack/limits")
    assert (limits.discharge_current_a, limits.charge_current_a) == (0.0, 0.0)
    assert limits.limited_by == PackLimits.LIMIT_PACK_STATE


def test_a_bypassed_cell_limits_nothing_and_adds_no_voltage(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)

    def with_an_empty_module(message: CellStates) -> None:
        message.voltage_v = array("f", [2.4, 2.4, 2.4, nan] + [3.7] * 8)
        alone.node._on_cells(message)

    alone.node.inputs["cells/state"].handler = with_an_empty_module
    bypassed = array("B", [1] * 4 + [0] * 8)
    for _ in range(15):
        alone.hear("switch/state", SwitchState(isolated=bypassed))
        alone.run(0.1)
    limits = alone.newest("pack/limits")
    assert limits.limited_by == PackLimits.LIMIT_RATING
    assert limits.charge_voltage_v == pytest.approx(8 * 4.2)
    assert limits.discharge_power_w == pytest.approx(limits.discharge_current_a * 8 * 3.7, rel=1e-5)
    # What is not shown as bypassed counts.
    alone.run(1.0)
    assert alone.newest("pack/limits").limited_by == PackLimits.LIMIT_INPUT_STALE


def test_parallel_strings_have_the_voltage_of_one(
    start: Start, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = start(PowerLimitsNode)
    halves = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    monkeypatch.setattr(alone.node, "_pack", msgspec.structs.replace(pack, strings=halves))
    alone.run(12.0)
    limits = alone.newest("pack/limits")
    assert limits.charge_voltage_v == pytest.approx(6 * 4.2)
    assert limits.discharge_power_w == pytest.approx(limits.discharge_current_a * 6 * 3.7, rel=1e-5)


def test_a_fault_that_derates_is_named(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    before = alone.newest("pack/limits").discharge_current_a
    fault = ProtectionStatus(
        reaction=ProtectionStatus.REACTION_DERATE,
        active_diagnosis=[104, 152],
        active_element=[3, -1],
        active_reaction=[ProtectionStatus.REACTION_DERATE, ProtectionStatus.REACTION_INFORM],
    )
    alone.node.inputs["protection/status"].handler = lambda message: alone.node._on_status(fault)
    for _ in range(10):
        fault.boot_ns = alone.clock.boot_ns()
        alone.run(0.1)
    limits = alone.newest("pack/limits")
    assert limits.discharge_current_a == pytest.approx(before / 2)
    assert limits.limited_by == PackLimits.LIMIT_FAULT
    status = Status()
    alone.node._report(status)
    assert status.message == "reduced by diagnosis 104 (element 3)"


def predicted(discharge_a: float, limited_by: int = PackPower.LIMIT_CELL_VOLTAGE) -> PackPower:
    message = PackPower(horizon_s=array("f", [2.0, 10.0, 30.0, inf]))
    message.charge_current_a = array("f", [1e3] * 4)
    message.charge_limited_by = array("B", [PackPower.LIMIT_RATING] * 4)
    message.discharge_current_a = array("f", [1e3, discharge_a, 0.0, 0.0])
    message.discharge_limited_by = array("B", [PackPower.LIMIT_RATING, limited_by, 1, 1])
    return message


def run_with(alone: Any, message: PackPower, seconds: float) -> PackLimits:
    for _ in range(round(seconds / 0.1)):
        alone.hear("pack/power", message)
        alone.run(0.1)
    return alone.newest("pack/limits")


def test_what_ten_seconds_allow_lowers_the_limit_while_it_is_fresh(start: Start) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    own = alone.newest("pack/limits")
    limits = run_with(alone, predicted(12.5), 2.0)
    assert limits.discharge_current_a == pytest.approx(12.5)
    assert limits.charge_current_a == own.charge_current_a
    assert limits.limited_by == PackLimits.LIMIT_CELL_VOLTAGE
    alone.run(12.0)
    limits = alone.newest("pack/limits")
    assert limits.discharge_current_a == own.discharge_current_a
    assert limits.limited_by == PackLimits.LIMIT_RATING


def test_a_prediction_never_raises_a_limit_nor_stops_a_pack_that_it_does_not_know(
    start: Start,
) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    own = alone.newest("pack/limits").discharge_current_a
    assert run_with(alone, predicted(1e6), 12.0).discharge_current_a == own
    unknown = predicted(0.0, PackPower.LIMIT_UNKNOWN)
    assert run_with(alone, unknown, 2.0).discharge_current_a == own


def spoilt(what: str) -> PackPower:
    message = predicted(5.0)
    if what == "horizon":
        message.horizon_s = array("f", [2.0, 11.0, 30.0, inf])
    elif what == "length":
        message.charge_limited_by = array("B", [1])
    else:
        message.discharge_current_a = array("f", [1e3, nan, 0.0, 0.0])
    return message


@pytest.mark.parametrize("what", ["horizon", "length", "nan"])
def test_a_prediction_that_cannot_be_used_is_counted_and_the_curves_decide(
    start: Start, what: str
) -> None:
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    own = alone.newest("pack/limits").discharge_current_a
    assert run_with(alone, spoilt(what), 2.0).discharge_current_a == own
    status = Status()
    alone.node._report(status)
    assert status.values["unusable_predictions"] == "20"


@pytest.mark.parametrize("topic", ["cells/state", "pack/state", "protection/status"])
def test_what_comes_from_the_future_is_no_input(start: Start, topic: str) -> None:
    """Else one wrong stamp would look fresh for as long as it lies ahead."""
    alone = start(PowerLimitsNode)
    alone.run(12.0)
    ahead = dict(alone.healthy())[topic]
    ahead.boot_ns = alone.clock.boot_ns() + 3600 * NS_PER_S
    alone.node.receive(alone.node.inputs.pop(topic), ahead)
    alone.run(1.0)
    limits = alone.newest("pack/limits")
    assert (limits.discharge_current_a, limits.limited_by) == (0.0, PackLimits.LIMIT_INPUT_STALE)


def test_the_causes_of_a_prediction_are_those_of_a_limit() -> None:
    for name in ("RATING", "CELL_VOLTAGE", "TEMPERATURE", "STATE_OF_CHARGE"):
        assert getattr(PackPower, f"LIMIT_{name}") == getattr(PackLimits, f"LIMIT_{name}")
