# SPDX-License-Identifier: Apache-2.0
"""The commands of ./ibms: what each is called, does and needs."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frontdoor import doctor, installer, lint, testing, tools, world
from frontdoor.environment import export_lines
from frontdoor.errors import FrontDoorError

_USAGE = """\
usage: ./ibms COMMAND [ARGUMENTS]

The intelligent battery management system. Every command first sets up what it needs,
once and inside this folder: ROS 2 (the sourced one, else wheels), dependencies, messages.

{commands}

examples:
  ./ibms demo --duration 60 --json out.json   drive a simulated 96-cell pack for a minute
  ./ibms test                                 lint, types and all tests
  ./ibms test -k stamp tests/frontdoor        some tests
  ./ibms bench graph --json out.json          measure rates, CPU, memory and latency
  eval "$(./ibms setup --print-env)"          use Python, colcon and the nodes in this shell

`./ibms COMMAND --help` tells more about a command.
"""


@dataclass(frozen=True)
class Command:
    """One command: its line in --help, its own help, and what runs it."""

    summary: str
    detail: str
    run: Callable[[Sequence[str]], int]


def _setup(arguments: Sequence[str]) -> int:
    unknown = [argument for argument in arguments if argument != "--print-env"]
    if unknown:
        raise FrontDoorError(f"setup: unknown argument {unknown[0]}; it knows only --print-env.")
    if "--print-env" not in arguments:
        installer.ensure(world.detect(os.environ), os.environ)
        print("ibms: everything is set up")
        return 0
    # Standard output is for the shell's eval, so the progress goes to standard error.
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    environment = installer.ensure(world.detect(os.environ), os.environ)
    sys.stdout.flush()
    os.dup2(output, sys.stdout.fileno())
    print(export_lines(environment, os.environ))
    return 0


def _tool(name: str) -> Callable[[Sequence[str]], int]:
    return lambda arguments: tools.run(name, arguments)


COMMANDS = {
    "setup": Command(
        "virtual environment, dependencies, messages; the others do it by themselves",
        "--print-env  print the environment as export lines for eval",
        _setup,
    ),
    "demo": Command(
        "a simulated pack on a drive cycle, measured, protected and estimated, live on screen",
        "--duration SECONDS  --json FILE  --cells FILE  --inject FAULT@SECONDS",
        _tool("demo"),
    ),
    "up": Command(
        "start the node graph from launch/ on the configured bus",
        "Arguments are those of the launch file: name:=value.",
        _tool("up"),
    ),
    "test": Command(
        "lint, types and all tests, with the time of each part", testing.HELP, testing.run
    ),
    "lint": Command("ruff and mypy over all Python of the project", lint.HELP, lint.run),
    "bench": Command(
        "measure the running system; without a name: list what can be measured",
        "bench NAME [--json FILE]",
        lambda arguments: tools.run_named("bench", arguments),
    ),
    "eval": Command(
        "judge the algorithms on measured data; without a name: list what can be judged",
        "eval NAME [--json FILE]",
        lambda arguments: tools.run_named("eval", arguments),
    ),
    "identify": Command(
        "make a cell file from slow tests, pulses and drive data of a cell",
        "identify PLAN --data DIR --out CELL.yaml [--html REPORT.html] [--json FILE]",
        _tool("identify"),
    ),
    "tune": Command(
        "search the uncertainty of a cell file that makes the default estimator best",
        "tune PLAN --data DIR --cell CELL.yaml [--seconds S]",
        _tool("tune"),
    ),
    "record": Command(
        "write the graph's topics to an MCAP bag",
        "record [TOPIC ...] -o DIRECTORY",
        _tool("record"),
    ),
    "replay": Command("play a bag into one node or into the graph", "replay BAG", _tool("replay")),
    "why": Command(
        "why did the pack open? Told from the event memory, with the graph running or not",
        "why [--index N] [--json] [--state-directory DIR] [--bag DIR]",
        _tool("why"),
    ),
    "cells-to-bag": Command(
        "make a bag out of the recording of a real cell",
        "cells-to-bag FILE BAG --pack PACK",
        _tool("cells_to_bag"),
    ),
    "results": Command(
        "write docs/results.md from results/*.json, or compare two runs",
        "results            write docs/results.md\nresults --compare A.json B.json",
        tools.results,
    ),
    "doctor": Command(
        "check the machine, the installation, CAN, DDS and configuration, and say how to mend",
        "Works before any set-up; checks the rest once the set-up is done.",
        doctor.run,
    ),
}


def usage() -> str:
    """Return the text of ./ibms --help."""
    lines = [f"  {name:<13} {command.summary}" for name, command in COMMANDS.items()]
    return _USAGE.format(commands="\n".join(lines))


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code, 2 for a wrong call and 1 for what can be mended."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    # To be ended means the same as Ctrl-C: commands that were started are ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    name, *rest = arguments
    command = COMMANDS.get(name)
    if command is None:
        known = ", ".join(COMMANDS)
        print(f"ibms: unknown command {name!r}; there are {known}.", file=sys.stderr)
        return 2
    try:
        if rest in (["-h"], ["--help"]) and not tools.has_own_help(name):
            print(f"./ibms {name}: {command.summary}\n\n{command.detail}")
            return 0
        return command.run(rest)
    except FrontDoorError as error:
        print(f"ibms: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ibms: interrupted", file=sys.stderr)
        return 130
