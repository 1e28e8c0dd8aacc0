# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the choice of cells: when balancing is permitted, and what is told."""

from array import array
from collections.abc import Callable
from typing import Any

import pytest

from ibms_edge.balancing.node import Balancing
from ibms_msgs.msg import BalancingStatus, PackState, ProtectionStatus

Start = Callable[..., Any]
ONE_HIGH = array("f", [3.70] * 11 + [3.75])


def rest(alone: Any, seconds: float, state: int = PackState.STATE_REST, reaction: int = 0) -> None:
    for _ in range(round(seconds / 0.1)):
        alone.hear_all()
        cells = alone.node._cells
        cells.voltage_v = ONE_HIGH
        alone.hear("cells/state", cells)
        alone.hear("pack/state", PackState(state=state))
        alone.hear("protection/status", ProtectionStatus(reaction=reaction))
        alone.advance(0.1)


def test_the_high_cell_is_bled_twice_per_second_and_told(start: Start) -> None:
    alone = start(Balancing)
    rest(alone, 2.0)
    commands = [message for topic, message in alone.sent if topic == "balancing/command"]
    assert len(commands) in (4, 5)
    assert list(commands[-1].bleed) == [0] * 11 + [1]
    status = alone.newest("balancing/status")
    assert status.active
    assert status.voltage_spread_v == pytest.approx(0.05, abs=1e-5)
    assert list(status.fed_back) == [0] * 12


@pytest.mark.parametrize(
    ("state", "reaction", "inhibit"),
    [
        (PackState.STATE_DRIVE, 0, BalancingStatus.INHIBIT_PACK_STATE),
        (
            PackState.STATE_REST,
            ProtectionStatus.REACTION_OPEN_NOW,
            BalancingStatus.INHIBIT_FAULT,
        ),
        (
            PackState.STATE_REST,
            ProtectionStatus.REACTION_ISOLATE,
            BalancingStatus.INHIBIT_FAULT,
        ),
    ],
)
def test_not_in_drive_and_not_with_a_fault(
    start: Start, state: int, reaction: int, inhibit: int
) -> None:
    alone = start(Balancing)
    rest(alone, 1.0)
    rest(alone, 1.0, state, reaction)
    assert not any(alone.newest("balancing/command").bleed)
    assert alone.newest("balancing/status").inhibited_by == inhibit


def test_stale_inputs_end_it(start: Start) -> None:
    alone = start(Balancing)
    rest(alone, 1.0)
    alone.advance(2.0)
    assert not any(alone.newest("balancing/command").bleed)
    assert alone.newest("balancing/status").inhibited_by == BalancingStatus.INHIBIT_INPUT_STALE


def test_thresholds_the_wrong_way_round_are_refused(start: Start) -> None:
    alone = start(Balancing, start_above_v=0.01, stop_above_v=0.02)
    assert not alone.node.is_active
