# SPDX-License-Identifier: Apache-2.0
"""Starting, forwarding, starting again and ending of processes."""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from ibms_bringup.launcher import Launch

MakeLaunch = Callable[..., Launch]
WaitFor = Callable[..., str]


@pytest.fixture
def python(data: Path) -> Callable[..., str]:
    """Make an <executable> of a program in data/programs."""

    def make(program: str, label: str = "", attributes: str = "") -> str:
        file, _, arguments = program.partition(" ")
        command = f"{sys.executable} -S '{data}/programs/{file}' {arguments}"
        return f'<executable cmd="{command}" name="{label or Path(file).stem}" {attributes}/>'

    return make


def shell(script: str, label: str = "sh", attributes: str = "") -> str:
    return f'<executable cmd="/bin/sh -c \'{escape(script)}\'" name="{label}" {attributes}/>'


def test_ends_all_in_reverse_order(
    launch_of: MakeLaunch, lines: list[str], wait_for: WaitFor, python: Callable[..., str]
) -> None:
    names = ("first", "second", "third")
    with launch_of("".join(python("obedient.py", name) for name in names)) as launch:
        wait_for("] ready", 3)
        assert [s.spec.label for s in launch.processes] == ["first-1", "second-2", "third-3"]
        assert all(s.pid is not None and s.starts == 1 for s in launch.processes)
    sent = [line for line in lines if "sending signal" in line]
    assert sent == [
        "[INFO] [third-3]: sending signal 'SIGINT'",
        "[INFO] [second-2]: sending signal 'SIGINT'",
        "[INFO] [first-1]: sending signal 'SIGINT'",
    ]
    for label in ("first-1", "second-2", "third-3"):
        assert f"[{label}] got SIGINT" in lines
    assert [(s.pid, s.exit_code) for s in launch.processes] == [(None, 0)] * 3
    assert launch.failures == ()
    assert launch.output_failure is None


def test_stubborn_process_gets_sigterm_then_sigkill(
    launch_of: MakeLaunch,
    wait_for: WaitFor,
    python: Callable[..., str],
    wait_dead: Callable[..., None],
) -> None:
    body = python("obedient.py") + python("stubborn.py") + python("stubborn.py fully", "fully")
    with launch_of(body, sigterm_timeout_s=0.3, sigkill_timeout_s=0.3) as launch:
        wait_for("] ready", 3)
        pids = [launch.pid_of(name) for name in ("obedient", "stubborn", "fully")]
        begin_s = time.monotonic()
    duration_s = time.monotonic() - begin_s
    assert 0.6 <= duration_s < 3.0
    assert [s.exit_code for s in launch.processes] == [0, -signal.SIGTERM, -signal.SIGKILL]
    assert launch.failures == ("[ERROR] [fully-3]: did not end on SIGINT and SIGTERM, killing it",)
    wait_dead(*pids)


def test_further_interrupts_do_not_wait(
    launch_of: MakeLaunch, lines: list[str], wait_for: WaitFor, python: Callable[..., str]
) -> None:
    launch = launch_of(python("stubborn.py fully"), sigterm_timeout_s=60, sigkill_timeout_s=60)
    with launch:
        wait_for("] ready")
        launch.interrupt()
        wait_for("sending signal 'SIGINT'")
        launch.interrupt()  # too soon: still the same Ctrl-C
        assert not launch.wait(0.2)
        assert not any("SIGTERM" in line for line in lines)
        launch.interrupt()
        wait_for("sending signal 'SIGTERM'")
        assert not launch.wait(0.2)
        launch.interrupt()
        assert launch.wait(5.0)
    assert launch.processes[0].exit_code == -signal.SIGKILL


def test_respawn(launch_of: MakeLaunch, lines: list[str], wait_for: WaitFor) -> None:
    body = shell("echo run; exit 3", attributes='respawn="true" respawn_delay="0.1"')
    begin_s = time.monotonic()
    with launch_of(body) as launch:
        wait_for("[sh-1] run", 3)
        assert time.monotonic() - begin_s >= 0.2
        starts = launch.processes[0].starts
        assert starts >= 3
        assert launch.failures == ()
    ended = launch.processes[0].starts
    assert ended - starts <= 1
    assert launch.processes[0].pid is None
    assert len([line for line in lines if "process started" in line]) == ended


def test_killed_process_is_started_again_with_a_new_id(
    launch_of: MakeLaunch, wait_for: WaitFor, python: Callable[..., str]
) -> None:
    with launch_of(python("obedient.py", attributes='respawn="true"')) as launch:
        wait_for("] ready")
        first = launch.pid_of("obedient")
        os.kill(first, signal.SIGKILL)
        wait_for("] ready", 2)
        assert launch.pid_of("obedient-1") != first
        assert launch.processes[0].exit_code == -signal.SIGKILL


def test_unexpected_end_is_reported(
    launch_of: MakeLaunch, wait_for: WaitFor, python: Callable[..., str]
) -> None:
    body = python("obedient.py") + shell("exit 3", "code") + shell("exit 0", "clean")
    with launch_of(body) as launch:
        wait_for("] ready")
        pid = launch.pid_of("obedient")
        os.kill(pid, signal.SIGSEGV)
        assert launch.wait(5.0)
    assert sorted(f.partition(", cmd")[0].partition("[pid")[0] for f in launch.failures) == [
        "[ERROR] [code-2]: process has died ",
        "[ERROR] [obedient-1]: process has died ",
    ]
    assert any("exit code 3, cmd" in failure for failure in launch.failures)
    assert any(f"[pid {pid}, signal SIGSEGV, cmd" in failure for failure in launch.failures)
    assert "[INFO] [clean-3]: process has finished cleanly" in wait_for("[clean-3]: process has f")


def test_shutdown_on_exit(
    launch_of: MakeLaunch, lines: list[str], python: Callable[..., str]
) -> None:
    body = python("obedient.py") + shell("sleep 0.2", attributes='on_exit="shutdown" respawn="1"')
    with launch_of(body) as launch:
        assert launch.wait(5.0)
    assert "[INFO] [launch]: shutting down, because sh-2 has ended" in lines
    assert [s.starts for s in launch.processes] == [1, 1]
    assert launch.failures == ()


def test_output_is_complete_and_in_order(
    launch_of: MakeLaunch, lines: list[str], python: Callable[..., str]
) -> None:
    with launch_of(python("talkative.py 5000")) as launch:
        assert launch.wait(10.0)
    text = [line.removeprefix("[talkative-1] ") for line in lines if line[1] == "t"]
    assert [line for line in text if line.startswith("err")] == [f"err {n}" for n in range(5000)]
    assert [line for line in text if line.startswith("out")] == [f"out {n}" for n in range(5000)]
    long = [line for line in text if line.startswith("x")]
    assert "".join(long) == "x" * 150_000
    assert max(map(len, long)) <= 65_536
    assert next(line for line in reversed(text) if not line.startswith("err")) == "end"
    assert launch.output_failure is None


def test_output_that_ends_together_with_its_process(
    launch_of: MakeLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the process and that of its pipes, announced in one turn of the loop."""
    select = selectors.DefaultSelector.select

    def select_late(
        selector: selectors.DefaultSelector, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        time.sleep(0.3)
        return select(selector, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", select_late)
    # What the shell leaves behind closes the pipes after the shell's end, so they are second.
    with launch_of(shell("(sleep 0.1) & exit 0")) as launch:
        assert launch.wait(5.0)
    assert launch.failures == ()


def test_environment_directory_and_standard_input(
    launch_of: MakeLaunch, lines: list[str], tmp_path: Path
) -> None:
    body = f"""
      <executable cmd="/bin/sh -c 'pwd; echo $MODE; cat; echo done'" name="sh" cwd="{tmp_path}">
        <env name="MODE" value="two words"/>
      </executable>"""
    with launch_of(body) as launch:
        assert launch.wait(5.0)
    assert [line for line in lines if line.startswith("[sh-1]")] == [
        f"[sh-1] {tmp_path}",
        "[sh-1] two words",
        "[sh-1] done",
    ]


def test_what_a_dead_process_leaves_behind_is_ended(
    launch_of: MakeLaunch,
    wait_for: WaitFor,
    python: Callable[..., str],
    wait_dead: Callable[..., None],
) -> None:
    with launch_of(python("family.py") + python("obedient.py")) as launch:
        leader, near, far = map(int, wait_for("] ids").split()[2:])
        assert launch.pid_of("family") == leader
        os.kill(leader, signal.SIGKILL)
        wait_dead(leader, near)  # at once: a successor could collide with it
        wait_for("[family-1]: killed 1 left-over processes")
        assert not launch.wait(0.1)
    wait_dead(far, timeout_s=0.0)


def test_launch_whose_processes_have_ended_leaves_nothing_behind(
    launch_of: MakeLaunch, wait_for: WaitFor, wait_dead: Callable[..., None]
) -> None:
    # A shell's background process ignores SIGINT.
    body = shell("setsid sleep 300 & echo id $!; sleep 0.2")
    with launch_of(body, sigterm_timeout_s=0.2) as launch:
        pid = int(wait_for("] id").split()[2])
        assert launch.wait(5.0)
        wait_dead(pid, timeout_s=0.0)


def test_program_that_vanishes_before_its_start_is_a_failure(
    launch_of: MakeLaunch, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    launch = launch_of(f'<executable cmd="{program}"/>' + shell("true"))
    program.unlink()
    with launch:
        assert launch.wait(5.0)
    assert [s.starts for s in launch.processes] == [0, 1]
    assert len(launch.failures) == 1
    assert "[ERROR] [program-1]: cannot start" in launch.failures[0]
