# SPDX-License-Identifier: Apache-2.0
"""What holds up a process above everything else is seen, and nothing of the watch is left over."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ibms_tools.bench.host_watch import HostWatch, Stall


def test_a_core_that_stands_still_is_told() -> None:
    """Stopping its process is to the watch as if the host had stopped the core."""
    before = set(psutil.Process().children())
    with HostWatch() as host:
        started = set(psutil.Process().children()) - before
        assert len(started) == len(os.sched_getaffinity(0))
        time.sleep(0.1)
        since_s = time.monotonic()
        stopped = min(started, key=lambda process: process.pid)
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        stopped.send_signal(signal.SIGCONT)
        end_s = time.monotonic() + 3.0
        while host.withheld(since_s, 1.0) < 0.25 and time.monotonic() < end_s:
            time.sleep(0.01)
        assert host.withheld(since_s, 1.0) >= 0.25
        assert host.withheld(time.monotonic() + 60.0, 1.0) == 0.0
        assert host.stolen_s >= 0.0
    assert not any(process.is_running() for process in started)


def test_many_short_stalls_of_one_core_add_up() -> None:
    host = HostWatch()
    assert (host.longest(), host.withheld(0.0, 0.3)) == (0.0, 0.0)
    host.stalls += [Stall(0, 10.0, 0.05), Stall(0, 10.1, 0.06), Stall(1, 10.1, 0.04)]
    assert host.longest() == 0.06
    assert host.withheld(0.0, 0.3) == pytest.approx(0.11)
    assert host.withheld(0.0, 0.12) == pytest.approx(0.08)  # of the first only its last 20 ms
    assert host.withheld(10.1, 0.3) == 0.0
    host.stalls.append(Stall(1, 20.0, 5.0))
    assert host.withheld(11.0, 0.3) == pytest.approx(0.3)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_whoever_watches(kind: signal.Signals) -> None:
    code = (
        "import psutil, time\n"
        "from ibms_tools.bench.host_watch import HostWatch\n"
        "with HostWatch():\n"
        "    print(*[child.pid for child in psutil.Process().children()], flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        watching = [psutil.Process(int(pid)) for pid in bench.stdout.readline().split()]
        assert watching
        bench.send_signal(kind)
        bench.wait(5.0)
    assert not psutil.wait_procs(watching, timeout=3.0)[1]
