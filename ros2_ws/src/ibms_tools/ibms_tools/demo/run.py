# SPDX-License-Identifier: Apache-2.0
"""Runs the demo: bus, processes, screen and summary, each ended in the reverse order."""

import contextlib
import os
import shlex
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import can
from rich.console import Console

from ibms_battery import results
from ibms_battery.cell import load_cell
from ibms_battery.clock import NS_PER_S, SystemClock
from ibms_battery.configuration import ConfigurationError
from ibms_battery.recording_index import find_columns
from ibms_battery.recordings import RecordingError, load_recording
from ibms_bringup.launcher import Launch, LaunchError
from ibms_bringup.launcher.packages import find_share
from ibms_edge.protection.table import table_of
from ibms_end.can.bus import BusConfiguration, BusRoleTakenError
from ibms_tools.bus_roles import EDGE_ROLES, SIMULATION_ROLES, claim_graph
from ibms_tools.demo import summary
from ibms_tools.demo.arguments import Options, parse
from ibms_tools.demo.playback import Playback
from ibms_tools.demo.session import DemoError, Session
from ibms_tools.stop import Stop
from ibms_tools.view.picture import Picture
from ibms_tools.view.show import Show

_NAMESPACE = "battery"
_LOOK_PERIOD_NS = NS_PER_S // 4
_SPIN_S = 0.02
_TAIL_LINES = 25
_DOMAINS = 101
_INTERRUPTED = 130


def run(arguments: Sequence[str], stop: Stop) -> int:
    """Run the demo from its command line; returns the exit code."""
    start_ns = SystemClock().boot_ns()
    try:
        options = parse(arguments)
        playback = _playback(options)
        with claim_graph(options.bus, (*EDGE_ROLES, *SIMULATION_ROLES)):
            if stop.requested:
                return _INTERRUPTED
            return _Demo(options, playback, stop, start_ns).run()
    except (
        BusRoleTakenError,
        ConfigurationError,
        DemoError,
        LaunchError,
        RecordingError,
        can.CanError,
    ) as error:
        print(f"ibms demo: {error}", file=sys.stderr)
        return 1


def domain_of(bus: BusConfiguration, environment: Mapping[str, str]) -> int:
    """DDS domain of the demo: the one that was chosen, else one that follows from the channel.

    So two demos on two buses do not mix, and neither does a graph on the default domain.
    """
    chosen = environment.get("ROS_DOMAIN_ID", "0")
    if chosen not in ("", "0"):
        return int(chosen)
    return 1 + int(bus.channel) % _DOMAINS


def _playback(options: Options) -> Playback | None:
    file = options.cells
    if file is None:
        return None
    pack = options.pack
    cell = load_cell(options.pack_file.parent.parent / "cells" / f"{pack.cell}.yaml")
    recording = load_recording(file, find_columns(file))
    return Playback(recording, file, options.from_s, cell.capacity_ah, pack.pack_sample_period_s)


class _Demo:
    """One run on a claimed bus."""

    def __init__(
        self, options: Options, playback: Playback | None, stop: Stop, start_ns: int
    ) -> None:
        self._options = options
        self._playback = playback
        self._stop = stop
        self._start_ns = start_ns
        self._clock = SystemClock()
        self._domain = domain_of(options.bus, os.environ)
        self._log = options.log / "nodes.log"
        self._gathered: summary.Gathered | None = None
        self._last: Picture | None = None

    def run(self) -> int:
        launch = self._launch()
        self._stop.again = launch.interrupt
        problem, tail = "", ""
        with launch:
            # While the processes start, this one loads what it needs.
            with self._observing() as (observer, executor):
                session = Session(
                    self._options, observer, launch, self._clock, self._start_ns, self._playback
                )
                try:
                    self._watch(session, observer, executor, launch)
                except DemoError as error:
                    problem, tail = str(error), self._tail()
            print("ibms demo: ending all processes", flush=True)
        if not problem:
            problem = session.verdict(self._last)
        if not problem and launch.failures:
            problem, tail = launch.failures[0], self._tail()
        if self._last is not None:
            self._report(session, self._last)
        if problem:
            if tail:
                print(f"--- {_relative(self._log)} up to then:\n{tail}---", file=sys.stderr)
            print(f"ibms demo: {problem}", file=sys.stderr)
        return 1 if problem else 0

    def _launch(self) -> Launch:
        options = self._options
        state = options.log / "state"
        # Each run drives a new pack, which must not be taken for the one before.
        shutil.rmtree(state, ignore_errors=True)
        options.log.mkdir(parents=True, exist_ok=True)
        arguments = {
            "pack": str(options.pack_file),
            "simulation": str(options.simulation_file),
            "bus_interface": options.bus.interface,
            "bus_channel": options.bus.channel,
            "namespace": _NAMESPACE,
            "state_directory": str(state),
            "chain": options.chain,
            "charger": str(options.charge).lower(),
        }
        if options.cells is not None:
            arguments |= {"cells": str(options.cells), "from": f"{options.from_s:g}"}
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self._domain)}
        share = find_share("ibms_bringup", os.environ)
        return Launch(share / "launch" / "demo.launch.xml", arguments, environment, self._log)

    @contextlib.contextmanager
    def _observing(self) -> Iterator[tuple[Any, Any]]:
        import rclpy
        from rclpy.experimental import EventsExecutor
        from rclpy.signals import SignalHandlerOptions

        from ibms_tools.view.observer import Observer

        rclpy.init(domain_id=self._domain, signal_handler_options=SignalHandlerOptions.NO)
        observer = Observer(self._options.pack, _NAMESPACE, self._clock)
        executor = EventsExecutor()
        executor.add_node(observer)
        try:
            yield observer, executor
        finally:
            observer.destroy_node()
            executor.shutdown()
            rclpy.try_shutdown()

    def _watch(self, session: Session, observer: Any, executor: Any, launch: Launch) -> None:
        """Look on until the session or a signal ends it."""
        table = table_of(self._options.pack_file, self._options.pack)
        constant = {
            "titles": self._titles(),
            "diagnoses": {row.id: row.text for row in table.diagnoses},
            "log": _relative(self._log),
        }
        next_look_ns = 0
        with Show(Console()) as show:
            while not self._stop.requested:
                executor.spin_once(timeout_sec=_SPIN_S)
                now_ns = self._clock.boot_ns()
                if now_ns < next_look_ns:
                    continue
                next_look_ns = now_ns + _LOOK_PERIOD_NS
                picture = observer.look(
                    launch.processes,
                    phase=session.words,
                    elapsed_s=session.elapsed_s(),
                    notes=session.notes(),
                    **constant,
                )
                self._gather(session, picture)
                goes_on = session.step(picture)
                show.update(picture)
                if not goes_on:
                    return

    def _gather(self, session: Session, picture: Picture) -> None:
        self._last = picture
        if session.drive_ns is None:
            return
        if self._gathered is None:
            self._gathered = summary.Gathered(picture, session.goal)
        self._gathered.take(picture)

    def _titles(self) -> list[str]:
        options = self._options
        titles = [
            "IBMS demo",
            options.pack.name,
            f"bus {options.bus.channel}",
            f"domain {self._domain}",
        ]
        if options.cells is not None:
            titles.append(f"{options.cells.name} from {options.from_s:g} s")
        return titles

    def _report(self, session: Session, last: Picture) -> None:
        further = [
            figure
            for number, trip in enumerate(session.trips, start=1)
            for figure in trip.results(number)
        ]
        if self._playback is not None:
            further += self._playback.results()
        figures = summary.results(self._gathered, last, session, further)
        report = results.measured(self._options.command, figures)
        for figure in figures if self._gathered is not None else ():
            met = {None: "", True: "  ok", False: f"  MISSED, target {figure.target}"}[figure.met]
            print(f"{figure.name:<44}{results.format_value(figure.value):>12} {figure.unit}{met}")
        for note in session.notes():
            print(f"» {note}")
        if session.has_left(last):
            state = _relative(self._options.log / "state")
            print(f"» what happened: ./ibms why --state-directory {shlex.quote(state)}")
        if self._options.json is not None:
            results.write(report, self._options.json)
            print(f"summary: {self._options.json}")

    def _tail(self) -> str:
        with self._log.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, _TAIL_LINES))


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
