# SPDX-License-Identifier: Apache-2.0
from array import array

import pytest

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.circuit import in_circuit
from ibms_msgs.msg import SwitchState

NOW_NS = 100 * NS_PER_S
BYPASSED = array("B", [1] * 4 + [0] * 8)


def switches(age_s: float = 0.0, isolated: "array[int]" = BYPASSED) -> SwitchState:
    message = SwitchState(boot_ns=NOW_NS - round(age_s * NS_PER_S))
    message.isolated = isolated
    return message


def test_a_cell_that_feedback_shows_bypassed_is_not_in_circuit(pack: Pack) -> None:
    assert in_circuit(pack, switches(0.4), NOW_NS).tolist() == [False] * 4 + [True] * 8


@pytest.mark.parametrize(
    "known",
    [None, switches(0.6), switches(isolated=array("B")), switches(isolated=array("B", [1] * 4))],
    ids=["none", "old", "without bypasses", "of another pack"],
)
def test_what_is_not_shown_counts(pack: Pack, known: SwitchState | None) -> None:
    assert in_circuit(pack, known, NOW_NS).tolist() == [True] * 12
