# SPDX-License-Identifier: Apache-2.0
"""How soon the loss of a sender is told whose silence opens nothing at once.

Each counts from its last frame or message to the message with which the graph tells it or acts on
it. The bound is three of the sender's periods and 100 ms.
"""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import can
from ament_index_python.packages import get_package_share_directory
from rich.console import Console

from ibms_battery.results import Result
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameEncoder, find_message, load_databases
from ibms_end.can.identifier import message_identifier
from ibms_msgs.msg import ChargerState, PackState
from ibms_tools.bench.figures import quantiles
from ibms_tools.bench.pack_under_test import NotReachedError, PackUnderTest

_VEHICLE_PERIOD_S = 0.1
_SETTLE_S = 1.0
_TIMEOUT_S = 10.0
# Frames with the sequence before: a receiver takes up a restarted sender with its second frame, and
# what a vehicle repeats from before is no new request.
_FRAMES_BEFORE = 5
_sequences = itertools.count(0, 2)


def with_charger() -> dict[str, str]:
    """Arguments of the launch file with which all of them are there."""
    share = Path(get_package_share_directory("ibms_bringup"))
    simulation = share / "config" / "simulation" / "ev_charging.yaml"
    return {"charger": "true", "simulation": str(simulation)}


def measure_sender(
    running: PackUnderTest, name: str, trials: int, prefix: str, console: Console
) -> list[Result]:
    """Silence a sender ``trials`` times; the graph runs ``with_charger``."""
    time_once, period_s, what = SENDERS[name]
    console.print(f"[bold]{name}[/bold]: {trials} times")
    return quantiles(
        f"reaction.{prefix}{name}.told",
        [1000.0 * time_once(running) for _ in range(trials)],
        f"{trials} trials, from {what}",
        p99_target=f"<= {1000.0 * 3 * period_s + 100.0:g}",
    )


def time_supervisor(running: PackUnderTest) -> float:
    """Freeze it while driving; seconds from its last state to the status to the vehicle."""
    running.drive()
    time.sleep(_SETTLE_S)
    row = running.table.named("supervisor_lost")
    if row is None:
        raise NotReachedError("the pack's table of diagnoses has no 'supervisor_lost'")
    running.can.clear()
    running.stop_process("pack_supervisor", signal.SIGSTOP)
    try:
        told = running.can.wait_for("verdict", _TIMEOUT_S)
        while told["cause"] != row.id:
            told = running.can.wait_for("verdict", _TIMEOUT_S)
    finally:
        running.stop_process("pack_supervisor", signal.SIGCONT)
    last_s = _stamp_s(running.newest["pack/state"])
    running.wait_until(
        "it is over",
        lambda: running.status is not None and row.id not in running.status.active_diagnosis,
        _TIMEOUT_S,
    )
    return float(told["at"]) - last_s


def time_vehicle(running: PackUnderTest) -> float:
    """Fall silent as a vehicle that drives; seconds to the event that asks for standby."""
    running.drive()
    since = len(running.events)
    with _vehicle(running) as sent:
        _event_s(running, since, "vehicle (CAN) asks")
        time.sleep(_SETTLE_S)
        since = len(running.events)
    told_s = _event_s(running, since, "silence of the vehicle")
    running.go_to(PackState.STATE_STANDBY)
    return told_s - sent[-1]


def time_thermal(running: PackUnderTest) -> float:
    """Silence the actuators (and all of the pack's sensors); seconds to the state that tells it."""
    running.wait_until("feedback", lambda: bool(_thermal(running).feedback_valid), _TIMEOUT_S)
    with _frames(running, "ibms.dbc", "ThermalFeedback") as bus:
        time.sleep(_SETTLE_S)
        _inject(running, "bus_loss")
        try:
            running.wait_until("told", lambda: not _thermal(running).feedback_valid, _TIMEOUT_S)
            told_s = _stamp_s(_thermal(running))
        finally:
            running.injection.inject("bus_loss", remove=True)
        return told_s - _last_s(bus, told_s)


def time_charger(running: PackUnderTest) -> float:
    """Silence it while it charges; seconds to the event that tells it."""
    running.wait_until(
        "plugged", partial(_charger_is, running, ChargerState.STATE_PLUGGED), _TIMEOUT_S
    )
    running.go_to(PackState.STATE_CHARGE)
    running.wait_until(
        "charging", partial(_charger_is, running, ChargerState.STATE_CHARGING), _TIMEOUT_S
    )
    with _frames(running, "elcon.dbc", "ElconStatus") as bus:
        time.sleep(2 * _SETTLE_S)
        since = len(running.events)
        _inject(running, "charger_silent")
        try:
            told_s = _event_s(running, since, "the charger fell silent")
        finally:
            running.injection.inject("charger_silent", remove=True)
            running.go_to(PackState.STATE_STANDBY)
        return told_s - _last_s(bus, told_s)


# Name -> how one trial is timed, period of the sender [s], from what to what.
SENDERS: dict[str, tuple[Callable[[PackUnderTest], float], float, str]] = {
    "supervisor_lost": (time_supervisor, 0.1, "the last pack/state to the status to the vehicle"),
    "vehicle_lost": (time_vehicle, _VEHICLE_PERIOD_S, "its last frame to the request for standby"),
    "thermal_lost": (time_thermal, 0.5, "the last frame of the actuators to thermal/state"),
    "charger_lost": (time_charger, 1.0, "its last frame to the event, while it charges"),
}


@contextmanager
def _vehicle(running: PackUnderTest) -> Iterator[list[float]]:
    """A vehicle on the bus that asks for drive; gives the wall times of its frames [s]."""
    message = find_message(load_databases([_can_folder(running) / "ibms.dbc"]), "VehicleRequest")
    encoder = FrameEncoder(message)
    bus = open_bus(BusConfiguration("ibms_local", running.channel), [])
    sequence = next(_sequences)
    sent: list[float] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            values = {
                "RequestedState": PackState.STATE_DRIVE,
                "Sequence": (sequence + (len(sent) >= _FRAMES_BEFORE)) & 0xFF,
            }
            at = time.time()
            bus.send(encoder.encode(values))
            sent.append(at)
            stop.wait(_VEHICLE_PERIOD_S)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()
        bus.shutdown()


@contextmanager
def _frames(running: PackUnderTest, dbc: str, name: str) -> Iterator[can.BusABC]:
    """A bus that receives one message."""
    message = find_message(load_databases([_can_folder(running) / dbc]), name)
    bus = open_bus(BusConfiguration("ibms_local", running.channel), [message_identifier(message)])
    try:
        yield bus
    finally:
        bus.shutdown()


def _last_s(bus: can.BusABC, before_s: float) -> float:
    """Stamp of the last frame received before wall time ``before_s`` [s]."""
    stamps = []
    while (frame := bus.recv(0)) is not None:
        stamps.append(frame.timestamp)
    seen = [stamp for stamp in stamps if stamp < before_s]
    if not seen:
        raise NotReachedError("the sender was not heard before it was silenced")
    return max(seen)


def _event_s(running: PackUnderTest, since: int, text: str) -> float:
    """Stamp of the first event after number ``since`` with ``text`` in it [s]."""

    def found() -> list[Any]:
        return [event for event in running.events[since:] if text in event.text]

    running.wait_until(text, lambda: bool(found()), _TIMEOUT_S)
    return _stamp_s(found()[0])


def _stamp_s(message: Any) -> float:
    stamp = message.header.stamp
    return float(stamp.sec + 1e-9 * stamp.nanosec)


def _inject(running: PackUnderTest, fault: str) -> None:
    answer = running.injection.inject(fault)
    if not answer.success:
        raise NotReachedError(answer.message)


def _thermal(running: PackUnderTest) -> Any:
    running.wait_until("thermal state", lambda: "thermal/state" in running.newest, _TIMEOUT_S)
    return running.newest["thermal/state"]


def _charger_is(running: PackUnderTest, state: int) -> bool:
    newest: ChargerState | None = running.newest.get("charger/state")
    return newest is not None and newest.state == state


def _can_folder(running: PackUnderTest) -> Path:
    return running.pack_file.parent.parent / "can"
