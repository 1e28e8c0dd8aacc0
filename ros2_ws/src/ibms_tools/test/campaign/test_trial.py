# SPDX-License-Identifier: Apache-2.0
"""Failures that a pack with a sound BMS does not show, judged on a loop that is told what to do."""

from types import SimpleNamespace
from typing import Any

import pytest

from ibms_msgs.msg import PackState, ProtectionStatus, SwitchState
from ibms_tools.campaign.case import Case, Expected
from ibms_tools.campaign.trial import Trial

from .test_report import CASE

MAIN = 0b11


class Loop:
    """Shows a fault of cell 0 at once, after which ``contacts`` conduct."""

    def __init__(self, state: int, contacts: int = 0, zero_current: bool = False) -> None:
        self.now_s = 0.0
        self.conducting = MAIN
        self.heard: Any = None
        self.answer = False
        self._contacts = contacts
        self.newest: dict[str, Any] = {
            "protection/status": ProtectionStatus(),
            "pack/state": PackState(state=state, zero_current_requested=zero_current),
            "switch/state": SwitchState(),
        }

    def run(self, duration_s: float, until: Any = None) -> bool:
        if until is not None and until():
            return True
        self.now_s += duration_s
        return until is not None and until()

    def inject(self, *_: Any) -> None:
        fault = {
            "active_diagnosis": [101],
            "active_level": [3],
            "active_element": [0],
            "reaction": 5,
            "first_cause": 101,
            "first_cause_element": 0,
        }
        self.newest["protection/status"] = status = ProtectionStatus(**fault)
        self.heard("protection/status", status)
        self.heard("events", SimpleNamespace(kind=1, diagnosis=101, element=0))
        self.conducting = self._contacts

    def request(self, _: int) -> Any:
        return SimpleNamespace(success=self.answer)


def failures(loop: Any, case: Case = CASE) -> list[str]:
    return list(Trial(loop, case).run().failures)


def test_a_pack_that_opens_passes() -> None:
    assert failures(Loop(PackState.STATE_ERROR)) == []


@pytest.mark.parametrize("state", [PackState.STATE_DRIVE, PackState.STATE_CHARGE])
def test_contacts_open_but_the_supervisor_says_connected(state: int) -> None:
    assert failures(Loop(state)) == [
        f"a fault stands that opens the pack, which says state {state}"
    ]


def test_contacts_that_stay_closed() -> None:
    found = failures(Loop(PackState.STATE_ERROR, contacts=MAIN))
    assert found == ["not open in the end: contacts 11 conduct"]


def test_a_request_that_is_accepted_while_the_fault_stands() -> None:
    loop = Loop(PackState.STATE_ERROR)
    loop.answer = True
    assert failures(loop) == [
        "a request for drive was accepted while a fault stands that opens the pack"
    ]


@pytest.mark.parametrize(
    "loop",
    [Loop(PackState.STATE_PRECHARGE), Loop(PackState.STATE_ERROR, zero_current=True)],
)
def test_a_supervisor_that_does_not_come_to_rest(loop: Loop) -> None:
    assert any(failure.startswith("hang") for failure in failures(loop))


def test_a_fault_of_which_no_event_tells() -> None:
    loop = Loop(PackState.STATE_ERROR)
    loop.heard = None

    def inject(*_: Any) -> None:
        heard, loop.heard = loop.heard, lambda *message: message[0] == "events" or heard(*message)
        Loop.inject(loop)

    loop.inject = inject  # type: ignore[method-assign]
    assert failures(loop) == ["not told: no event of cell_overvoltage"]


def test_an_element_that_is_wrong() -> None:
    expected = Expected(101, "cell_overvoltage", 3, 5, 2.0, 3.0, element=4)
    case = Case(**{**CASE.__dict__, "expected": (expected,)})
    assert failures(Loop(PackState.STATE_ERROR), case) == [
        "wrong element: cell_overvoltage of [0], not 4"
    ]
