# SPDX-License-Identifier: Apache-2.0
"""What the tests of this package share."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import can
import pytest
from hypothesis import settings

from ibms_battery.clock import VirtualClock
from ibms_battery.pack import Pack, load_pack
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.mapping import LoadedMap, load_map

# An example is not wrong because the machine was busy with something else.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def config() -> Path:
    """The project's configuration."""
    return ROOT / "config"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Data files of these tests."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data of others, which is not part of the project."""
    folder = Path(os.environ.get("IBMS_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no reference data: set IBMS_DATA")
    return folder


@pytest.fixture(scope="session")
def robot(config: Path) -> Pack:
    """12 cells, 4 temperature sensors, 1 module."""
    return load_pack(config / "packs" / "robot_12s.yaml")


@pytest.fixture(scope="session")
def car(config: Path) -> Pack:
    """96 cells, 24 temperature sensors, 6 modules."""
    return load_pack(config / "packs" / "ev_96s.yaml")


@pytest.fixture(scope="session")
def robot_map(config: Path, robot: Pack) -> LoadedMap:
    """The project's own map, for the robot."""
    return load_map(config / "can" / "maps" / "ibms.yaml", robot)


@pytest.fixture(scope="session")
def car_map(config: Path, car: Pack) -> LoadedMap:
    """The project's own map, for the car."""
    return load_map(config / "can" / "maps" / "ibms.yaml", car)


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that only the test moves."""
    return VirtualClock(boot_ns=1_000_000_000_000, wall_ns=1_700_000_000_000_000_000)


@pytest.fixture
def free_channel() -> str:
    """Channel of a local bus that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def bus_configuration(free_channel: str) -> BusConfiguration:
    """A local bus of this test alone."""
    return BusConfiguration(channel=free_channel)


@pytest.fixture
def open_peer(bus_configuration: BusConfiguration) -> Iterator[Callable[[], can.BusABC]]:
    """Opens further participants on the bus."""
    opened: list[can.BusABC] = []

    def open_one() -> can.BusABC:
        opened.append(open_bus(bus_configuration))
        return opened[-1]

    yield open_one
    for bus in opened:
        bus.shutdown()


@pytest.fixture(scope="session")
def foreign_pack(test_data: Path) -> Pack:
    """8 cells, 2 temperature sensors, behind electronics of somebody else."""
    return load_pack(test_data / "foreign_pack.yaml")


@pytest.fixture(scope="session")
def foreign_map(test_data: Path, foreign_pack: Pack) -> LoadedMap:
    """Map of a database without protection and scan counter."""
    return load_map(test_data / "can" / "maps" / "foreign.yaml", foreign_pack)
