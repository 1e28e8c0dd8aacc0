# SPDX-License-Identifier: Apache-2.0
"""A reaction counts only if it is the one to the injected fault."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ibms_edge.protection.table import load_table
from ibms_edge.switching.exchange import Reason
from ibms_tools.bench.faults import FAULTS, begin_of, check_reason
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest

TABLE = load_table(Path(__file__).resolve().parents[5] / "config" / "diagnoses" / "nmc_3p.yaml")
BY_NAME = {fault.name: fault for fault in FAULTS}


def running(first_cause: int) -> PackUnderTest:
    """A pack whose protection has said this."""
    found = SimpleNamespace(table=TABLE, status=SimpleNamespace(first_cause=first_cause))
    found.wait_until = lambda _what, condition, _timeout_s: condition()
    return cast(PackUnderTest, found)


def test_each_fault_names_diagnoses_of_the_table() -> None:
    for fault in FAULTS:
        assert all(TABLE.named(cause) for cause in fault.causes), fault
        assert fault.causes or fault.reasons == (Reason.FEEDBACK,)


@pytest.mark.parametrize(
    ("name", "reason", "cause"),
    [
        ("cell_overvoltage", Reason.PROTECTION, 101),
        ("afe_lost", Reason.PROTECTION, 103),
        ("afe_lost", Reason.PROTECTION, 181),
        ("interlock", Reason.NOT_ARMED, 171),
        ("switch_board_lost", Reason.FEEDBACK, 0),
    ],
)
def test_the_right_opening_counts(name: str, reason: Reason, cause: int) -> None:
    check_reason(running(cause), BY_NAME[name], {"reason": int(reason)})


@pytest.mark.parametrize(
    ("name", "reason", "cause", "told"),
    [
        ("cell_overvoltage", Reason.PROTECTION, 182, "182 pack_sensor_lost, not by cell_overvol"),
        ("cell_overvoltage", Reason.STATUS_STALE, 101, "reason STATUS_STALE, not PROTECTION"),
        ("interlock", Reason.NOT_ARMED, 173, "173 crash, not by interlock_open"),
        ("switch_board_lost", Reason.PROTECTION, 185, "reason PROTECTION, not FEEDBACK"),
    ],
)
def test_an_opening_for_something_else_is_an_error(
    name: str, reason: Reason, cause: int, told: str
) -> None:
    with pytest.raises(NotReachedError, match=told):
        check_reason(running(cause), BY_NAME[name], {"reason": int(reason)})


@pytest.mark.parametrize("events", [{}, {"sign interlock": {"at": 2.0}}])
def test_an_opening_before_the_fault_was_seen_is_an_error(
    events: dict[str, dict[str, float]],
) -> None:
    with pytest.raises(NotReachedError, match="before the bus showed 'interlock'"):
        begin_of(BY_NAME["interlock"], -1, events, {"at": 1.0})
    assert begin_of(BY_NAME["interlock"], -1, {"sign interlock": {"at": 0.9}}, {"at": 1.0}) == 0.9
