# SPDX-License-Identifier: Apache-2.0
"""The host's own stalls, and the load beside the pack."""

import os
import time

import psutil

from ibms_tools.bench.availability import StallWatch, busy_cores


def test_stalls_are_found_and_the_largest_is_last() -> None:
    watch = StallWatch()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    stolen_s = watch.end()
    assert 1 <= len(watch.gaps_s) <= 5
    assert watch.gaps_s == sorted(watch.gaps_s)
    assert watch.gaps_s[-1] >= 0.001  # it sleeps so long at least
    assert stolen_s >= 0.0


def test_one_busy_process_per_core_that_ends_with_the_block() -> None:
    before = set(psutil.Process().children())
    with busy_cores():
        started = set(psutil.Process().children()) - before
        assert len(started) == len(os.sched_getaffinity(0))
    assert not any(process.is_running() for process in started)
