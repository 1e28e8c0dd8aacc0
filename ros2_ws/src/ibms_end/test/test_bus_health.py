# SPDX-License-Identifier: Apache-2.0
from ibms_end.bus_health import BusHealth

S = 1_000_000_000


def test_a_problem_is_shown_for_a_while_and_kept() -> None:
    health = BusHealth(connected=True)
    assert health.recent_problem(5 * S) == ""
    health.note("error frames", 5 * S)
    assert health.recent_problem(15 * S) == "error frames"
    assert health.recent_problem(16 * S) == ""
    assert health.problem == "error frames"


def test_a_problem_is_shown_as_long_as_nothing_is_connected() -> None:
    health = BusHealth()
    health.note("no such device", 0)
    assert health.recent_problem(3600 * S) == "no such device"
