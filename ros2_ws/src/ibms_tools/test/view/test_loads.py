# SPDX-License-Identifier: Apache-2.0
"""Tests of the measurement of processor time."""

import math
import os
import time
from types import SimpleNamespace
from typing import Any

from ibms_battery.clock import NS_PER_S
from ibms_tools.view.loads import LoadMeter, cpu_time_s


def status(pid: int | None, starts: int = 1) -> Any:
    return SimpleNamespace(spec=SimpleNamespace(label="afe_driver-4"), pid=pid, starts=starts)


def test_load_of_a_busy_process() -> None:
    meter = LoadMeter()
    start_ns = time.monotonic_ns()
    (first,) = meter.update([status(os.getpid())], start_ns)
    assert math.isnan(first.cpu_cores)
    while cpu_time_s(os.getpid()) < meter._last_s[os.getpid()] + 0.2:
        pass
    (load,) = meter.update([status(os.getpid(), starts=3)], start_ns + 2 * NS_PER_S)
    assert 0.09 < load.cpu_cores < 0.2
    assert (load.name, load.restarts, load.is_simulation) == ("afe_driver", 2, False)


def test_measures_once_a_second() -> None:
    meter = LoadMeter()
    before = meter.update([status(None)], 5 * NS_PER_S)
    assert meter.update([], 5 * NS_PER_S + 1) is before
    assert not before[0].is_running


def test_a_process_that_has_ended_takes_nothing() -> None:
    assert math.isnan(cpu_time_s(2**22 + 1))
