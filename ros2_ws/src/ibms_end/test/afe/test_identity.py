# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from ibms_end.afe.identity import PackIdentity
from ibms_end.afe.samples import Scan
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.map_schema import Identity
from ibms_end.mapping import LoadedMap

S = 1_000_000_000
SAID = {"SeriesCells": 12, "AfeModules": 1, "TemperatureSensors": 4}


def make(loaded: LoadedMap, **other: str | None) -> tuple[PackIdentity, FrameEncoder]:
    section = loaded.map.identity
    assert isinstance(section, Identity)
    identity = PackIdentity(loaded, msgspec.structs.replace(section, **other))
    return identity, FrameEncoder(find_message(loaded.database, "PackIdentity"))


def told(identity: PackIdentity, boot_ns: int) -> tuple[int, int, int]:
    scan = Scan.empty(12, 4, 1)
    scan.boot_ns = boot_ns
    identity.add_to(scan)
    return scan.hardware_series, scan.hardware_modules, scan.hardware_temperature_sensors


def test_what_was_said_holds_for_three_seconds(robot_map: LoadedMap) -> None:
    identity, sender = make(robot_map)
    assert told(identity, 10 * S) == (0, 0, 0)
    identity.take(sender.encode(SAID).data, 10 * S)
    assert told(identity, 10 * S) == (12, 1, 4)
    assert told(identity, 13 * S) == (12, 1, 4)
    assert told(identity, 13 * S + 1) == (0, 0, 0)


def test_signal_that_the_map_leaves_out_is_not_said(robot_map: LoadedMap) -> None:
    identity, sender = make(robot_map, modules=None)
    identity.take(sender.encode(SAID).data, 10 * S)
    assert told(identity, 10 * S) == (12, 0, 4)


@pytest.mark.parametrize("series", [257, 65535])
def test_number_out_of_range_is_not_said(robot_map: LoadedMap, series: int) -> None:
    identity, sender = make(robot_map)
    identity.take(sender.encode({**SAID, "SeriesCells": series}).data, 10 * S)
    assert told(identity, 10 * S) == (0, 1, 4)


def test_corrupt_frame_says_nothing(robot_map: LoadedMap) -> None:
    identity, sender = make(robot_map)
    data = bytearray(sender.encode(SAID).data)
    data[4] ^= 1
    identity.take(data, 10 * S)
    assert told(identity, 10 * S) == (0, 0, 0)
    assert identity.frame.rejected["crc"] == 1
