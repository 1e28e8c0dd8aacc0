# SPDX-License-Identifier: Apache-2.0
"""In processes of their own where it is granted, as it holds for a whole process."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ibms_ros_common import real_time
from ibms_ros_common.real_time import RealTime, may_lock_memory, parse_cpus

NOTHING = RealTime(scheduling="ordinary", lock_memory=False)


def ask(wanted: str, show: str) -> tuple[str, str]:
    """Refusals, and what ``show`` prints afterwards, of a process with a second thread."""
    script = f"""
import os, resource, threading, time
from pathlib import Path
from ibms_battery.threads import start_thread
from ibms_ros_common.real_time import RealTime, apply
start_thread("other", lambda: time.sleep(60))
print("; ".join(apply({wanted})))
start_thread("later", lambda: time.sleep(60))
tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
print({show})
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    refusals, shown = ended.stdout.splitlines()
    return refusals, shown


def test_nothing_wanted_is_nothing_refused() -> None:
    assert real_time.apply(NOTHING) == []


@pytest.mark.parametrize(
    ("name", "policy"), [("fifo", os.SCHED_FIFO), ("round_robin", os.SCHED_RR)]
)
def test_scheduling_reaches_all_threads_or_is_refused_with_the_remedy(
    name: str, policy: int
) -> None:
    refusals, shown = ask(
        f"RealTime(scheduling={name!r}, priority=7, lock_memory=False)",
        "{(os.sched_getscheduler(t), os.sched_getparam(t).sched_priority) for t in tasks}",
    )
    if refusals:
        assert "rtprio 7" in refusals
    else:
        assert shown == str({(policy, 7)})


def test_a_process_is_pinned_with_all_its_threads() -> None:
    cpu = min(os.sched_getaffinity(0))
    refusals, shown = ask(
        f"RealTime(scheduling='ordinary', lock_memory=False, cpus='{cpu}')",
        "[os.sched_getaffinity(t) for t in tasks]",
    )
    assert refusals == ""
    assert shown == str([{cpu}] * 3)


def test_cpus_that_are_not_there_are_refused_with_those_that_are() -> None:
    (refusal,) = real_time.apply(RealTime(scheduling="ordinary", lock_memory=False, cpus="4000"))
    assert "4000" in refusal
    assert str(min(os.sched_getaffinity(0))) in refusal.rpartition("some of")[2]


def test_locked_memory_is_granted_or_refused_with_the_remedy() -> None:
    refusals, shown = ask(
        "RealTime(scheduling='ordinary')",
        "[l.split()[1] for l in Path('/proc/self/status').read_text().splitlines() "
        "if l.startswith('VmLck')][0]",
    )
    if refusals:
        assert "memlock unlimited" in refusals
        assert shown == "0"
    else:
        assert int(shown) > 1_000


def test_locked_memory_costs_only_what_is_used() -> None:
    """A stack of 8 MB per thread must not become 8 MB of memory."""
    refusals, shown = ask(
        "RealTime(scheduling='ordinary')", "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
    )
    if refusals:
        pytest.skip("not granted here")
    _, without = ask(
        "RealTime(scheduling='ordinary', lock_memory=False)",
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss",
    )
    assert int(shown) - int(without) < 4_000


def test_a_finite_limit_of_locked_memory_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would make later allocations fail."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512 << 20, 512 << 20))
    status = tmp_path / "status"
    monkeypatch.setattr(real_time, "Path", lambda _: status)
    status.write_text("Name:\tx\nCapEff:\t0000000000000000\n")
    assert not may_lock_memory()
    (refusal,) = real_time.apply(RealTime(scheduling="ordinary"))
    assert "memlock unlimited" in refusal
    status.write_text("Name:\tx\nCapEff:\t0000000000004000\n")
    assert may_lock_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    status.write_text("")
    assert may_lock_memory()


def test_lists_of_cpus() -> None:
    assert parse_cpus("3") == {3}
    assert parse_cpus("0,2-4,9") == {0, 2, 3, 4, 9}


@pytest.mark.parametrize("wrong", ["a", "1,", "-1", "1-", "1;2", " 1"])
def test_what_is_no_list_of_cpus_is_refused(wrong: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"cpus": wrong}, RealTime)


@pytest.mark.parametrize("wrong", [{"priority": 0}, {"priority": 99}, {"scheduling": "batch"}])
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, RealTime)
