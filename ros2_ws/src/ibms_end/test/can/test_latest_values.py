# SPDX-License-Identifier: Apache-2.0
from ibms_end.can.latest_values import LatestValues

MS = 1_000_000


def test_each_signal_ages_by_itself() -> None:
    latest = LatestValues(freshness_s=0.1)
    latest.take({"group": 0, "a": 1.0}, 0)
    latest.take({"group": 1, "b": 2.0}, 60 * MS)
    assert latest.fresh(100 * MS) == {"group": 1, "a": 1.0, "b": 2.0}
    assert latest.fresh(101 * MS) == {"group": 1, "b": 2.0}
    assert latest.fresh(161 * MS) == {}


def test_new_value_replaces_the_old_one() -> None:
    latest = LatestValues(freshness_s=0.1)
    assert latest.boot_ns is None
    latest.take({"a": 1.0}, 0)
    latest.take({"a": 2.0}, MS)
    assert latest.fresh(MS) == {"a": 2.0}
    assert latest.boot_ns == MS
