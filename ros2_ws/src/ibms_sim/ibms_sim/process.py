# SPDX-License-Identifier: Apache-2.0
"""What the processes of the simulated hardware have in common: arguments, signals, databases."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import can
from cantools.database.can import Database

from ibms_battery.configuration import ConfigurationError
from ibms_battery.recordings import RecordingError
from ibms_end.can.bus import BusConfiguration, BusRoleTakenError
from ibms_end.can.codec import DatabaseError, load_databases
from ibms_sim.cells.stack import CellModelError

DEVICE_PRIORITY = 50  # real-time priority: above the graph, as hardware is


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments without what ``ros2 run`` and launch files append (``--ros-args ... [--]``)."""
    kept: list[str] = []
    inside = False
    for argument in arguments:
        if argument == "--ros-args":
            inside = True
        elif inside and argument == "--":
            inside = False
        elif not inside:
            kept.append(argument)
    return kept


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every simulated device: the pack and the bus."""
    bus = BusConfiguration()
    parser.add_argument("--pack", type=Path, required=True, help="file of config/packs")
    parser.add_argument("--bus-interface", default=bus.interface, help="python-can interface")
    parser.add_argument("--bus-channel", default=bus.channel, help="its channel")


def bus_configuration(arguments: argparse.Namespace) -> BusConfiguration:
    """The bus that the arguments name; the pack's frames need CAN FD."""
    return BusConfiguration(arguments.bus_interface, arguments.bus_channel, "fd")


def simulation_database(pack_file: Path) -> Database:
    """The contract and the frames of the simulation, from ``config/can`` beside ``config/packs``.

    Raises:
        DatabaseError: if a file is missing or malformed.
    """
    folder = pack_file.resolve().parent.parent / "can"
    return load_databases([folder / "ibms.dbc", folder / "ibms_sim.dbc"])


def frames(bus: can.BusABC) -> Iterator[can.Message]:
    """The data frames that wait on ``bus``; does not wait itself."""
    while (message := bus.recv(0)) is not None:
        if not message.is_error_frame and not message.is_remote_frame:
            yield message


_WRONG_START = (
    ConfigurationError,
    RecordingError,
    BusRoleTakenError,
    DatabaseError,
    CellModelError,
    can.CanError,
)


class Stop:
    """Set by SIGINT and SIGTERM."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, *_: object) -> None:
        self.requested = True


def run(name: str, body: Callable[[list[str]], None], arguments: Sequence[str] | None) -> int:
    """Run a device; a wrong start ends with one sentence and exit code 1."""
    try:
        body(without_ros_arguments(sys.argv[1:] if arguments is None else arguments))
    except _WRONG_START as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
