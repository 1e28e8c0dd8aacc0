# SPDX-License-Identifier: Apache-2.0
"""The demo's figures, from what was seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ibms_battery.results import Result
from ibms_msgs.msg import Event, PackState
from ibms_tools.demo.session import Session
from ibms_tools.view import words
from ibms_tools.view.picture import Picture

ACTIVE_TARGET = "<= 10"


@dataclass
class Gathered:
    """What adds up over the time in drive or charge, the state ``goal``."""

    first: Picture
    goal: int = PackState.STATE_DRIVE
    lateness_s: list[float] = field(default_factory=list)
    edge_cores: float = 0.0
    simulation_cores: float = 0.0
    pictures: int = 0
    goal_kept: bool = True

    def take(self, picture: Picture) -> None:
        """Add one picture."""
        state = picture.state
        self.goal_kept &= state is not None and state.state == self.goal
        self.lateness_s.append(picture.scans.lateness_s)
        edge, simulation = words.cores(picture, False), words.cores(picture, True)
        if not math.isnan(edge + simulation):
            self.pictures += 1
            self.edge_cores += edge
            self.simulation_cores += simulation


def results(
    gathered: Gathered | None,
    last: Picture,
    session: Session,
    further: Sequence[Result] = (),
) -> list[Result]:
    """All figures of a run; ``gathered`` is ``None`` where its goal was never reached."""
    goal = session.goal_name
    where = f"pack {last.pack.name}, simulated, on one machine with the view"
    found = [
        Result(
            "demo.startup.active_s",
            session.active_s,
            "s",
            ACTIVE_TARGET,
            "from the call to all nodes active, set-up not included",
        ),
        Result(
            f"demo.startup.{goal}_s", session.drive_s, "s", context=f"from the request to {goal}"
        ),
        Result(
            "demo.startup.clearings",
            session.clearings,
            "times",
            "== 0",
            f"faults cleared before {goal} was reached",
        ),
    ]
    if gathered is not None:
        # An injected fault may well end it.
        target = None if session.trips else "== 1"
        kept = f"whether the pack stayed in {goal}, 4 looks a second"
        found.append(Result(f"demo.{goal}_kept", int(gathered.goal_kept), "1", target, kept))
        found += _running(gathered, last, where)
    soc = words.values(last.cells, "soc")
    deviation = words.mean(words.values(last.cells, "soc_std"))
    known = soc[np.isfinite(soc)]
    for name, value in (
        ("mean", known.mean() if known.size else None),
        ("min", known.min() if known.size else None),
        ("max", known.max() if known.size else None),
        ("std", None if math.isnan(deviation) else deviation),
    ):
        figure = None if value is None else float(value)
        found.append(Result(f"demo.soc.{name}", figure, "1", context=f"at the end, {where}"))
    estimate = last.estimate
    for name in ("soc", "soc_std", "soh_capacity"):
        figure = None if estimate is None else float(getattr(estimate, name))
        figure = figure if figure is not None and math.isfinite(figure) else None
        context = f"of the pack, by its weakest cells, at the end, {where}"
        found.append(Result(f"demo.pack.{name}", figure, "1", context=context))
    faults = sum(event.kind == Event.KIND_FAULT_SET for event in last.events)
    restarts = sum(load.restarts for load in last.loads)
    return [
        *found,
        Result("demo.events.total", len(last.events), "events", context=where),
        Result("demo.events.faults", faults, "events", context="faults that protection found"),
        Result("demo.processes.restarts", restarts, "restarts", "== 0", where),
        *further,
    ]


def _running(gathered: Gathered, last: Picture, where: str) -> list[Result]:
    first = gathered.first
    duration_s = last.elapsed_s - first.elapsed_s
    found = [Result("demo.duration_s", duration_s, "s", context="in drive or charge and after")]
    for name, before, after in (
        ("scans", first.scans, last.scans),
        ("samples", first.samples, last.samples),
    ):
        received = after.received - before.received
        found += [
            Result(f"demo.{name}.received", received, "messages", context=where),
            Result(f"demo.{name}.lost", after.lost - before.lost, "messages", "== 0", where),
            Result(f"demo.{name}.rate_hz", _per(received, duration_s), "Hz", context=where),
        ]
    verdicts = last.verdicts.received - first.verdicts.received
    found += [
        Result("demo.verdicts.rate_hz", _per(verdicts, duration_s), "Hz", context=where),
        *(
            Result(
                f"demo.scans.lateness_ms.{name}",
                _quantile_ms(gathered.lateness_s, quantile),
                "ms",
                context=f"from sampling to receipt by the view, 4 looks a second, {where}",
            )
            for name, quantile in (("median", 0.5), ("worst", 1.0))
        ),
        Result("demo.cpu.edge", _per(gathered.edge_cores, gathered.pictures), "cores", None, where),
        Result(
            "demo.cpu.simulation",
            _per(gathered.simulation_cores, gathered.pictures),
            "cores",
            None,
            where,
        ),
    ]
    return found


def _per(amount: float, divisor: float) -> float | None:
    return amount / divisor if divisor > 0 else None


def _quantile_ms(values_s: Sequence[float], quantile: float) -> float | None:
    known = np.asarray(values_s)[np.isfinite(values_s)]
    return float(np.quantile(known, quantile)) * 1e3 if known.size else None
