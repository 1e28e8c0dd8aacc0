# SPDX-License-Identifier: Apache-2.0
"""How a process of nodes ends, seen from outside; nothing is sent between processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

SCRIPT = """
import sys
from msgspec import Struct
from ibms_ros_common.node import BmsNode
from ibms_ros_common.process import run

class Parameters(Struct, frozen=True, kw_only=True):
    pack: str = "p"

class Sample(BmsNode[Parameters]):
    def __init__(self):
        super().__init__("pack_supervisor", Parameters)
    def configure(self, parameters):
        self.loop(self.step, 0.01)
    def step(self, now_ns):
        if "fail" in sys.argv:
            raise ArithmeticError("broken")
    def deactivate(self):
        print("safe", flush=True)
        if "stubborn" in sys.argv:
            raise ArithmeticError("no")
    def cleanup(self):
        print("clean", flush=True)

def make():
    node = Sample()
    node.trigger_configure()
    node.trigger_activate()
    print("ready", flush=True)
    return node

if "time-critical" in sys.argv:
    import gc, os
    from ibms_ros_common import process
    attend = process.Conduct.attend
    def show_and_end(self):
        attend(self)
        print("settled", not gc.isenabled() and gc.get_freeze_count() > 1000, flush=True)
        if self._nodes[0].is_configured:
            print(os.sched_getaffinity(0), flush=True)
            os.kill(os.getpid(), 15)
        else:
            self._nodes[0].trigger_configure()
    process.Conduct.attend = show_and_end
    sys.exit(run(Sample, real_time_priority=5))
sys.exit(run(make))
"""

Start = Callable[..., "subprocess.Popen[str]"]


def wait_until_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_its_safe_state(start: Start, number: signal.Signals) -> None:
    process = start()
    wait_until_ready(process)
    time.sleep(0.3)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert out == "safe\nclean\n"
    assert process.returncode == 0


def test_a_loop_that_died_ends_the_process_so_that_it_can_be_restarted(start: Start) -> None:
    process = start("fail")
    out, errors = process.communicate(timeout=20)
    assert out == "ready\nsafe\nclean\n"
    assert "ArithmeticError: broken" in errors
    assert process.returncode == 1


def test_what_fails_in_the_end_does_not_keep_the_rest_from_ending(start: Start) -> None:
    process = start("stubborn")
    wait_until_ready(process)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=20)
    assert out == "safe\nclean\n"
    assert "ArithmeticError: no" in errors
    assert process.returncode == 1


def test_a_time_critical_process_is_run_by_its_parameters(start: Start) -> None:
    cpu = max(os.sched_getaffinity(0))
    given = ["real_time.scheduling:=ordinary", f"real_time.cpus:='{cpu}'"]
    process = start("time-critical", "--ros-args", *(word for p in given for word in ("-p", p)))
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    # Garbage is set aside once the node is configured, and not before.
    assert out.startswith("settled False\nsettled True\n")
    assert f"{{{cpu}}}\n" in out


def test_a_wrong_parameter_of_the_process_is_refused_by_name(start: Start) -> None:
    process = start("time-critical", "--ros-args", "-p", "real_time.priority:=99")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "real_time.priority" in errors


def test_what_the_system_refuses_is_a_warning(start: Start) -> None:
    process = start("time-critical", "--ros-args", "-p", "real_time.cpus:='4000'")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "the system does not permit the CPUs [4000]" in errors
