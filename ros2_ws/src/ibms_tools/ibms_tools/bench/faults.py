# SPDX-License-Identifier: Apache-2.0
"""Faults of the pack while it drives: each with what shows it on the bus and what must react."""

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from ibms_battery.results import Result
from ibms_edge.protection.table import Diagnosis
from ibms_edge.switching.exchange import Reason
from ibms_msgs.msg import PackState
from ibms_tools.bench.figures import prefix, quantiles
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest

_TIMEOUT_S = 5.0
# The board opens by itself, and switch control may see that before protection has its two samples.
_BOARD_OPENS = (Reason.PROTECTION, Reason.NOT_ARMED)


@dataclass(frozen=True)
class Fault:
    """One fault and how its reaction is seen.

    Attributes:
        name: of the row.
        injected: fault of the simulation.
        sign: event of the observer that shows it first; empty: the silence of ``sender``.
        sender: whose last frame it counts from; of AFE modules the one that is silenced.
        causes: diagnoses that may react, of which one must be the first cause.
        beyond: by how much the injected value passes the safety limit of the first of them.
        reasons: that the open command may have; none: it opens nothing, the vehicle is told.
        target_ms: p99 from the first bad frame to the open command.
        foxbms_ms: computed for foxBMS 2.
        element_of: cells, sensors or modules: which the trials go round.
    """

    name: str
    injected: str
    target_ms: float
    foxbms_ms: tuple[int, int] | None
    sign: str = ""
    sender: str = ""
    causes: tuple[str, ...] = ()
    beyond: float = 0.0
    reasons: tuple[Reason, ...] = (Reason.PROTECTION,)
    element_of: str = ""


FAULTS = (
    Fault(
        "overcurrent_charge",
        "current_value",
        50.0,
        (730, 750),
        "current_above",
        causes=("charge_overcurrent",),
        beyond=30.0,
    ),
    Fault(
        "overcurrent_discharge",
        "current_value",
        50.0,
        (730, 750),
        "current_below",
        causes=("discharge_overcurrent",),
        beyond=-50.0,
    ),
    Fault(
        "interlock",
        "interlock_open",
        50.0,
        (730, 750),
        "interlock",
        causes=("interlock_open",),
        reasons=_BOARD_OPENS,
    ),
    # The board says that it is open and does not open by itself: protection has to.
    Fault(
        "interlock_by_protection",
        "interlock_glitch",
        50.0,
        None,
        "interlock",
        causes=("interlock_open",),
    ),
    Fault(
        "emergency_stop",
        "emergency_stop",
        50.0,
        None,
        "emergency_stop",
        causes=("emergency_stop",),
        reasons=_BOARD_OPENS,
    ),
    Fault(
        "crash",
        "crash",
        50.0,
        None,
        "crash",
        causes=("crash",),
        reasons=_BOARD_OPENS,
    ),
    Fault(
        "cell_overvoltage",
        "cell_voltage",
        200.0,
        (1220, 1240),
        "cell_above",
        causes=("cell_overvoltage",),
        beyond=0.1,
        element_of="cells",
    ),
    Fault(
        "cell_undervoltage",
        "cell_voltage",
        200.0,
        (1220, 1240),
        "cell_below",
        causes=("cell_undervoltage",),
        beyond=-0.1,
        element_of="cells",
    ),
    Fault(
        "overtemperature",
        "cell_temperature",
        2000.0,
        (6530, 6550),
        "hot",
        causes=("cell_overtemperature",),
        beyond=5.0,
        element_of="sensors",
    ),
    Fault(
        "afe_lost",
        "afe_silent",
        300.0,
        (680, 700),
        sender="afe",
        causes=("cell_voltage_missing", "afe_lost", "cells_lost"),
        element_of="modules",
    ),
    Fault(
        "current_sensor_lost",
        "pack_sensor_silent",
        300.0,
        (1720, 1740),
        sender="PackSensor",
        causes=("pack_sensor_lost",),
    ),
    Fault(
        "switch_board_lost",
        "switch_board_silent",
        300.0,
        (830, 850),
        sender="SwitchFeedback",
        reasons=(Reason.FEEDBACK,),
    ),
    Fault(
        "insulation_monitor_lost",
        "insulation_silent",
        400.0,
        (1720, 1740),
        sender="InsulationMonitor",
        causes=("insulation_monitor_lost",),
        reasons=(),
    ),
    Fault(
        "environment_lost",
        "environment_silent",
        400.0,
        None,
        sender="Environment",
        causes=("environment_lost",),
        reasons=(),
    ),
    Fault(
        "redundant_current_lost",
        "redundant_sensor_silent",
        130.0,
        None,
        sender="PackSensorRedundant",
        causes=("redundant_current_lost",),
        reasons=(),
    ),
)


@dataclass
class Times:
    """What the trials of one fault took [ms]."""

    reaction: list[float]
    opened: list[float]
    decided: list[float]  # from the last frame of the scan that completes the debounce


def measure_fault(
    running: PackUnderTest, fault: Fault, trials: int, composed: bool, console: Console
) -> list[Result]:
    """Inject a fault ``trials`` times while driving."""
    console.print(f"[bold]{fault.name}[/bold]: {trials} times")
    times = Times([], [], [])
    for trial in range(trials):
        if running.state != PackState.STATE_DRIVE:
            running.drive()
        # Not in step with the scans.
        time.sleep(0.2 + (trial * 0.0137) % 0.1)
        time_fault(running, fault, trial, times)
    return fault_results(fault, times, composed)


def time_fault(running: PackUnderTest, fault: Fault, trial: int, times: Times) -> None:
    """Inject it once and take the times."""
    element, value = _element(running, fault, trial), _value(running, fault)
    running.can.clear()
    injected = running.injection.inject(fault.injected, element, value)
    if not injected.success:
        raise NotReachedError(injected.message)
    try:
        if not fault.reasons:
            _time_telling(running, fault, times)
        else:
            _time_opening(running, fault, element, times)
    finally:
        running.injection.inject(fault.injected, element, remove=True)
    if not fault.reasons:
        identifier = _row(running, fault.causes[0]).id
        running.wait_until("it is over", partial(_is_over, running, identifier), _TIMEOUT_S)


def _time_telling(running: PackUnderTest, fault: Fault, times: Times) -> None:
    identifier = _row(running, fault.causes[0]).id
    told = running.can.wait_for("verdict", _TIMEOUT_S)
    while told["cause"] != identifier:
        told = running.can.wait_for("verdict", _TIMEOUT_S)
    times.reaction.append(1000.0 * (told["at"] - told["last"][fault.sender]))


def _time_opening(running: PackUnderTest, fault: Fault, element: int, times: Times) -> None:
    events = running.can.collect("open_command", "contacts_open", _TIMEOUT_S)
    command = events["open_command"]
    check_reason(running, fault, command)
    begin = begin_of(fault, element, events, command)
    times.reaction.append(1000.0 * (command["at"] - begin))
    times.opened.append(1000.0 * (events["contacts_open"]["at"] - begin))
    if fault.sign == "cell_above":
        times.decided.append(1000.0 * (command["at"] - events["faulty_scan"]["at"]))
    running.wait_until_noticed()


def check_reason(running: PackUnderTest, fault: Fault, command: dict[str, Any]) -> None:
    """Whether it opened because of this fault.

    Raises:
        NotReachedError: with what it opened for and what it should have opened for.
    """
    reason = Reason(command["reason"])
    if reason not in fault.reasons:
        wanted = " or ".join(reason.name for reason in fault.reasons)
        raise NotReachedError(f"{fault.name}: opened with reason {reason.name}, not {wanted}")
    if not fault.causes:
        return
    allowed = [_row(running, name).id for name in fault.causes]
    running.wait_until("a first cause", lambda: _first_cause(running) != 0, 1.0)
    cause = _first_cause(running)
    if cause not in allowed:
        name = next((row.name for row in running.table.diagnoses if row.id == cause), "unknown")
        raise NotReachedError(
            f"{fault.name}: opened by {cause} {name}, not by {' or '.join(fault.causes)}"
        )


def _first_cause(running: PackUnderTest) -> int:
    return running.status.first_cause if running.status is not None else 0


def begin_of(fault: Fault, element: int, events: dict[str, Any], command: dict[str, Any]) -> float:
    """When the bus first showed the fault.

    Raises:
        NotReachedError: if it was opened before.
    """
    if fault.sign:
        sign = events.get(f"sign {fault.sign}")
        if sign is None or sign["at"] > command["at"]:
            raise NotReachedError(f"{fault.name}: opened before the bus showed {fault.sign!r}")
        return float(sign["at"])
    sender = f"AfeMeasurement_{element:02d}" if fault.sender == "afe" else fault.sender
    return float(command["last"][sender])


def _element(running: PackUnderTest, fault: Fault, trial: int) -> int:
    pack = running.pack
    counts = {
        "cells": pack.series,
        "sensors": pack.temperature_sensors,
        "modules": pack.modules,
    }
    count = counts.get(fault.element_of)
    return -1 if count is None else (trial * 37) % count


def _value(running: PackUnderTest, fault: Fault) -> float:
    if not fault.beyond:
        return math.nan
    return _row(running, fault.causes[0]).limits.safety + fault.beyond


def _row(running: PackUnderTest, name: str) -> Diagnosis:
    row = running.table.named(name)
    if row is None:
        raise NotReachedError(f"the pack's table of diagnoses has no {name!r}")
    return row


def _is_over(running: PackUnderTest, identifier: int) -> bool:
    status = running.status
    return status is not None and identifier not in status.active_diagnosis


def fault_results(fault: Fault, times: Times, composed: bool) -> list[Result]:
    """Figures of one fault."""
    name = f"reaction.{prefix(composed)}{fault.name}"
    begin = "last frame of the sender" if fault.sender else "first frame that shows it"
    end = "open command" if fault.reasons else "status to the vehicle"
    context = f"{len(times.reaction)} trials, from {begin} to {end} on the bus"
    if fault.reasons == _BOARD_OPENS:
        context += "; the board opens by itself"
    what = "open_command" if fault.reasons else "told"
    results = quantiles(
        f"{name}.{what}", times.reaction, context, p99_target=f"<= {fault.target_ms:g}"
    )
    if times.opened:
        results += quantiles(f"{name}.opened", times.opened, f"{context}, to open contacts")
    if times.decided:
        decided = f"{len(times.decided)} trials, from the last frame of the deciding scan"
        results += quantiles(f"{name}.decided", times.decided, decided, "<= 5", "<= 15")
    if fault.foxbms_ms is not None:
        low, high = fault.foxbms_ms
        results.append(
            Result(
                f"{name}.foxbms_2",
                low,
                "ms",
                None,
                f"foxBMS 2 v1.11.0, computed from its code: {low} to {high} ms",
            )
        )
    return results
