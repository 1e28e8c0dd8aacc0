# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the cell filter: what it takes as a scan, and how often it tells."""

from array import array
from collections.abc import Callable
from math import isnan
from typing import Any

import pytest

from ibms_battery.pack import Pack
from ibms_edge.estimation.node import StateEstimator
from ibms_msgs.msg import CellMeasurement

Start = Callable[..., Any]


def scan(pack: Pack, voltage_v: float = 3.7, **fields: Any) -> CellMeasurement:
    message = CellMeasurement(current_a=0.0, charge_c=float("nan"), **fields)
    message.voltage_v = array("f", [voltage_v] * pack.series)
    message.temperature_c = array("f", [25.0] * pack.temperature_sensors)
    message.bleed_active = array("B", bytes(pack.series))
    return message


def feed(alone: Any, pack: Pack, scans: int, **fields: Any) -> None:
    for number in range(scans):
        alone.advance(0.02)
        alone.hear("cells/measurement", scan(pack, scan_counter=number, **fields))


def test_every_scan_counts_and_ten_per_second_are_told(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 101)
    states = [message for _, message in alone.sent]
    assert len(states) in (20, 21)
    last = states[-1]
    assert len(last.soc) == pack.series
    assert all(0.0 < soc < 1.0 for soc in last.soc)
    assert list(last.valid) == [1] * pack.series
    assert all(isnan(value) for value in last.soh)
    assert last.voltage_v[0] == pytest.approx(3.7)


@pytest.mark.parametrize(
    "wrong",
    [{"late": True}, {"voltage_v": array("f", [3.7] * 3)}, {"temperature_c": array("f")}],
)
def test_what_is_no_fresh_whole_scan_changes_nothing(
    start: Start, pack: Pack, wrong: dict[str, Any]
) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 10)
    before = alone.node._filter.soc.copy()
    message = scan(pack, voltage_v=4.1)
    for name, value in wrong.items():
        setattr(message, name, value)
    alone.advance(0.02)
    alone.hear("cells/measurement", message)
    assert (alone.node._filter.soc == before).all()
    assert alone.node._rejected == 1


def test_a_repeated_scan_is_not_counted_twice(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator)
    feed(alone, pack, 10)
    alone.hear("cells/measurement", scan(pack))
    assert alone.node._rejected == 1


def test_the_charge_counter_bridges_slow_scans(start: Start, pack: Pack) -> None:
    alone = start(StateEstimator, period_s=0.1)
    for number in range(60):
        alone.advance(1.0)
        message = scan(pack)
        message.charge_c = -36.0 * number  # 36 A that no single current shows
        alone.hear("cells/measurement", message)
    counted = alone.node._filter.soc.mean()
    still = start(StateEstimator)
    for _ in range(60):
        still.advance(1.0)
        still.hear("cells/measurement", scan(pack))
    # At the same terminal voltage a discharging pack holds more than a resting one.
    assert counted > still.node._filter.soc.mean()
