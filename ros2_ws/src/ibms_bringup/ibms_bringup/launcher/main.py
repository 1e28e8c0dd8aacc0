# SPDX-License-Identifier: Apache-2.0
"""Command line of the launcher."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from .errors import LaunchError
from .evaluate import ListedArgument, evaluate, list_arguments
from .launch import Launch
from .model import ProcessSpec

_EXIT_FAILED = 1
_EXIT_REFUSED = 2


def main(argv: Sequence[str]) -> int:
    """Run a launch file until all processes have ended, or a signal ends them.

    Returns 0, or 1 if a process died unexpectedly, had to be killed or output was lost, or 2 if
    the launch file or the arguments were refused.
    """
    options = _parse_options(argv)
    file = Path(options.file)
    try:
        arguments = _parse_arguments(options.arguments)
        if options.show_args:
            print(_format_arguments(list_arguments(file, os.environ)))
            return 0
        if options.print:
            _print_plan(file, arguments)
            return 0
        launch = Launch(file, arguments)
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_REFUSED
    return _run(launch)


def _run(launch: Launch) -> int:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        launch.interrupt()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored: it was started with nohup
        signal.signal(signal.SIGHUP, on_signal)
    with launch:
        launch.wait()
    if launch.output_failure is not None:
        print(f"error: {launch.output_failure}", file=sys.stderr)
    return _EXIT_FAILED if launch.failures or launch.output_failure else 0


def _parse_options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ibms_bringup.launcher",
        description="Runs a ROS 2 launch file (XML) where `ros2 launch` does not exist.",
    )
    parser.add_argument("file", help="launch file")
    parser.add_argument(
        "arguments", nargs="*", metavar="name:=value", help="arguments; of duplicates the last wins"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "-p", "--print", action="store_true", help="show the commands that would be started"
    )
    choice.add_argument(
        "-s", "--show-args", action="store_true", help="show the arguments of the launch file"
    )
    return parser.parse_intermixed_args(argv)


def _parse_arguments(texts: Sequence[str]) -> dict[str, str]:
    arguments = {}
    for text in texts:
        name, separator, value = text.partition(":=")
        if not (name and separator and value):
            raise LaunchError(f"malformed argument '{text}'; expected name:=value")
        arguments[name] = value
    return arguments


def _format_arguments(listed: Sequence[ListedArgument]) -> str:
    lines = ["Arguments (pass arguments as '<name>:=<value>'):"]
    for entry in listed:
        argument = entry.argument
        lines += ["", f"    '{argument.name}':{'*' if entry.conditional else ''}"]
        description = argument.description or "no description given"
        if argument.choices:
            description = f"{description.rstrip('.')}. One of: {', '.join(argument.choices)}"
        lines.append(f"        {description}")
        if argument.default_source is not None:
            lines.append(f"        (default: '{argument.default_source}')")
    if not listed:
        lines += ["", "  No arguments."]
    if any(entry.conditional for entry in listed):
        lines += ["", "* argument(s) which are only used if specific conditions occur"]
    return "\n".join(lines)


def _print_plan(file: Path, arguments: Mapping[str, str]) -> None:
    """One command per line, fit for a shell; comments tell what generated files contain."""
    plan = evaluate(file, arguments, os.environ, Path("generated"))
    for spec in plan.processes:
        for generated in spec.files:
            for line in generated.text.splitlines():
                print(f"# {generated.path}: {line}")
        print(_format_command(spec))


def _format_command(spec: ProcessSpec) -> str:
    prefix: list[str] = []
    if spec.working_directory is not None:
        prefix += ["-C", str(spec.working_directory)]
    for name in sorted(set(os.environ) - set(spec.environment)):
        prefix += ["-u", name]
    for name, value in sorted(spec.environment.items()):
        if os.environ.get(name) != value:
            prefix.append(f"{name}={value}")
    return shlex.join([*(["env", *prefix] if prefix else []), *spec.command])
