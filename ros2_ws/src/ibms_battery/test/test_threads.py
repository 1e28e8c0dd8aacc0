# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ibms_battery.threads import request_real_time, start_thread

CHILD_OF_A_CHILD = """
import os, sys, time
from ibms_battery.threads import die_with_parent
parent = os.getpid()
if os.fork() == 0:
    if sys.argv[1] == "late":
        while os.getppid() == parent:
            time.sleep(0.01)
    die_with_parent(parent)
    print("ready", flush=True)
    time.sleep(60)
if sys.argv[1] == "in time":
    time.sleep(60)
"""


@pytest.mark.parametrize(("when", "first"), [("in time", "ready\n"), ("late", "")])
def test_a_process_ends_with_the_one_that_started_it(when: str, first: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD_OF_A_CHILD, when], stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == first
        started.kill()
        assert started.stdout.read() == ""  # ends when no process holds the pipe any more


def test_the_kernel_knows_the_threads_name() -> None:
    seen: list[str] = []
    thread = start_thread(
        "a_name_longer_than_fifteen",
        lambda: seen.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()),
    )
    thread.join(5.0)
    assert seen == ["a_name_longer_t\n"]
    assert thread.daemon


REAL_TIME = """
import os, time
from pathlib import Path
from ibms_battery.threads import request_real_time, start_thread
start_thread("before", lambda: time.sleep(60))
refusal = request_real_time(5)
start_thread("after", lambda: time.sleep(60))
policies = {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}
print(refusal or "granted", policies == {os.SCHED_FIFO}, sep="|")
"""


def test_real_time_is_granted_to_all_threads_or_refused_with_the_remedy() -> None:
    """In a process of its own, as it holds for a whole process."""
    ended = subprocess.run(
        [sys.executable, "-c", REAL_TIME], capture_output=True, text=True, check=True
    )
    answer, is_real_time = ended.stdout.strip().split("|")
    if is_real_time == "True":
        assert answer == "granted"
    else:
        assert "rtprio 5" in answer


def test_a_refusal_is_a_text_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert "limits.conf" in request_real_time(40)


def test_a_thread_that_ends_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(*_: object) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "sched_setscheduler", vanish)
    assert request_real_time(40) == ""
