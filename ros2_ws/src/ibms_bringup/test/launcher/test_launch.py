# SPDX-License-Identifier: Apache-2.0
"""The Python interface of the launcher."""

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ibms_bringup.launcher import Launch, LaunchError


def test_refusal_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "test.launch.xml"
    file.write_text(
        f'<launch><executable cmd="touch {tmp_path}/started"/>'
        '<executable cmd="no-such-program"/></launch>'
    )
    with pytest.raises(LaunchError, match="no-such-program"):
        Launch(file)
    assert not (tmp_path / "started").exists()


def test_parameter_files_exist_while_it_runs(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    file = tmp_path / "test.launch.xml"
    file.write_text(
        '<launch><node pkg="demo_pkg" exec="talker" name="n">'
        '<param name="x" value="1"/></node></launch>'
    )
    with Launch(file, environment=environment, output=tmp_path / "output") as launch:
        (generated,) = launch.plan.processes[0].files
        assert "x: 1" in generated.path.read_text()
        assert launch.pid_of("n") == launch.pid_of("/n") == launch.pid_of("talker")
    assert not generated.path.parent.exists()
    assert "[talker-1]: process started with pid" in (tmp_path / "output").read_text()


def test_pid_of_an_unclear_name_is_refused(launch_of: Callable[..., Launch]) -> None:
    with launch_of('<executable cmd="sleep 60"/><executable cmd="sleep 60"/>') as launch:
        with pytest.raises(LookupError, match="2 processes are called 'sleep': sleep-1, sleep-2"):
            launch.pid_of("sleep")
        with pytest.raises(LookupError, match="0 processes are called 'x': sleep-1, sleep-2"):
            launch.pid_of("x")
        launch.pid_of("sleep-2")
    with pytest.raises(LookupError, match="'sleep-2' is not running"):
        launch.pid_of("sleep-2")


def test_starting_thread_may_end(launch_of: Callable[..., Launch]) -> None:
    launch = launch_of('<executable cmd="sleep 60"/>')
    thread = threading.Thread(target=launch.__enter__)
    thread.start()
    thread.join()
    assert not launch.wait(0.3)
    launch.stop()
    assert launch.wait(0)


def test_stop_before_the_start_and_twice(launch_of: Callable[..., Launch]) -> None:
    launch = launch_of('<executable cmd="sleep 60"/>')
    launch.stop()
    with launch:
        launch.stop()
        launch.stop()
        launch.interrupt()
    assert launch.processes[0].starts == 1


def test_failing_receiver_of_output_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "test.launch.xml"
    file.write_text('<launch><executable cmd="echo hello"/></launch>')

    def fail(line: str) -> None:
        raise ValueError(f"no {line}")

    with Launch(file, output=fail) as launch:
        assert launch.wait(5.0)
    assert launch.failures == ()
    assert launch.output_failure is not None
    assert re.match(r"[3-9] lines of output lost: ValueError\('no ", launch.output_failure)


def test_messages_come_first(launch_of: Callable[..., Launch], lines: list[str]) -> None:
    with launch_of('<executable cmd="echo hello"/><log message="welcome"/>') as launch:
        assert launch.wait(5.0)
    assert lines[0] == "[INFO] [launch.user]: welcome"
    assert "[echo-1] hello" in lines
