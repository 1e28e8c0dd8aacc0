# SPDX-License-Identifier: Apache-2.0
import math

from ibms_ros_common.diagnostics import ERROR, OK, STALE, WARN, Status, to_message


def test_the_worst_report_stands_and_the_first_of_equals() -> None:
    status = Status()
    assert (status.level, status.message) == (OK, "ok")
    status.report(WARN, "first")
    status.report(WARN, "second")
    assert (status.level, status.message) == (WARN, "first")
    status.report(ERROR, "worse")
    status.report(OK, "fine")
    assert (status.level, status.message) == (ERROR, "worse")


def test_a_message_carries_everything_as_text() -> None:
    def report(status: Status) -> None:
        status.add(number=3, ratio=1 / 3, unknown=math.nan, flag=True)
        status.add_counts({"b": 2, "a": 1})
        status.report(STALE, "no news")

    message = to_message("afe_driver", "bus", "pack_7", report)
    assert message.level == bytes([STALE])
    assert message.name == "afe_driver: bus"
    assert message.hardware_id == "pack_7"
    assert message.message == "no news"
    assert {pair.key: pair.value for pair in message.values} == {
        "number": "3",
        "ratio": "0.3333",
        "unknown": "nan",
        "flag": "True",
        "a": "1",
        "b": "2",
    }
