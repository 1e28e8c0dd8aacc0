# SPDX-License-Identifier: Apache-2.0
"""What is known, and what is not taken for known."""

import math

import pytest

from ibms_edge.supervisor.inputs import Fault, Inputs, Wish
from ibms_edge.switching.exchange import Reason

NOW_NS = 5_000_000_000
FIRST, SECOND = Fault(101, 7, "too high", latched=False), Fault(171, latched=True)


def test_who_is_silent_is_named() -> None:
    inputs = Inputs()
    assert inputs.silent(NOW_NS, 0.5) == "protection and switch control or its board"
    inputs.status_boot_ns = NOW_NS
    assert inputs.silent(NOW_NS, 0.5) == "switch control or its board"
    inputs.switch_boot_ns = NOW_NS - 500_000_000
    assert inputs.silent(NOW_NS, 0.5) == ""
    assert inputs.silent(NOW_NS + 1, 0.5) == "switch control or its board"


@pytest.mark.parametrize("age_ns", [-600_000_000, 600_000_000])
def test_a_stamp_of_the_future_is_as_doubtful_as_an_old_one(age_ns: int) -> None:
    inputs = Inputs(current_boot_ns=NOW_NS - age_ns, current_a=0.0)
    assert not inputs.current_within(1.0, NOW_NS)


@pytest.mark.parametrize(
    ("current_a", "within"), [(1.0, True), (-1.0, True), (1.1, False), (math.nan, False)]
)
def test_little_current_is_measured_current(current_a: float, within: bool) -> None:
    inputs = Inputs(current_boot_ns=NOW_NS, current_a=current_a)
    assert inputs.current_within(1.0, NOW_NS) is within


def test_a_fault_that_is_not_known_better_needs_a_person() -> None:
    assert Inputs(reaction=3).latched_fault is None
    unnamed = Inputs(reaction=5, cause=300).latched_fault
    assert unnamed is not None
    assert str(unnamed) == "diagnosis 300"
    assert Inputs(reaction=5, faults=[FIRST]).latched_fault is None
    assert Inputs(reaction=5, faults=[FIRST, SECOND]).latched_fault is SECOND


def test_who_is_blamed() -> None:
    assert Inputs(reaction=5, cause=101, cause_element=3, faults=[SECOND]).blamed == (101, 3)
    assert Inputs(reaction=5, faults=[FIRST, SECOND]).blamed == (101, 7)
    assert Inputs(reaction=5).blamed == (0, -1)


@pytest.mark.parametrize(
    ("reason", "commanded", "holds", "overtaken"),
    [
        (Reason.REQUEST, "open", False, False),
        (Reason.NOT_ARMED, "open", False, False),
        (Reason.STATUS_STALE, "open", False, True),
        (Reason.ISOLATE, "open", False, True),
        (Reason.ISOLATE, "precharge", False, False),  # a bypass, and no opening
        (Reason.BREAK_CURRENT_HOLD, "closed", True, True),
    ],
)
def test_a_wish_is_overtaken_by_an_opening_that_followed_it(
    reason: Reason, commanded: str, holds: bool, overtaken: bool
) -> None:
    wish = Wish("precharge", 7, True)
    inputs = Inputs(
        request_sequence=7, open_reason=reason, commanded=commanded, break_current_hold=holds
    )
    assert inputs.is_overtaken(wish) is overtaken
    inputs.request_sequence = 6  # it has not been heard yet
    assert not inputs.is_overtaken(wish)
