# SPDX-License-Identifier: Apache-2.0
"""Frames as the AFE modules send them."""

from collections.abc import Mapping

import pytest

from ibms_battery.pack import Pack
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.can.identifier import message_identifier
from ibms_end.mapping import LoadedMap


class AfeDevice:
    """Encodes scans of all modules with the database alone."""

    def __init__(self, loaded: LoadedMap, pack: Pack, message: str = "AfeMeasurement") -> None:
        self.encoders = [
            FrameEncoder(find_message(loaded.database, f"{message}_{module:02d}"))
            for module in range(pack.modules)
        ]

    def scan(self, counter: int, **values: float) -> list[tuple[int, bytes]]:
        """Identifier and data of each module's frame; cell i of module m reads 3 + m/10 + i/100."""
        return [self.frame(module, counter, values) for module in range(len(self.encoders))]

    def frame(self, module: int, counter: int, values: Mapping[str, float]) -> tuple[int, bytes]:
        """One module's frame."""
        encoder = self.encoders[module]
        cells = {f"CellVoltage_{i:02d}": 3.0 + module / 10 + i / 100 for i in range(16)}
        probes = {f"Temperature_{i:02d}": 20.0 + module + i / 10 for i in range(4)}
        own = {"ScanCounter": counter & 0xFFFFFFFF, "DeviceTime": counter * 20 & 0xFFFFFFFF}
        frame = encoder.encode({**cells, **probes, **own, **values})
        return message_identifier(encoder.message), bytes(frame.data)


@pytest.fixture
def car_device(car_map: LoadedMap, car: Pack) -> AfeDevice:
    """6 modules."""
    return AfeDevice(car_map, car)


@pytest.fixture
def robot_device(robot_map: LoadedMap, robot: Pack) -> AfeDevice:
    """1 module, of which 12 cells are used."""
    return AfeDevice(robot_map, robot)


@pytest.fixture
def robot_past(robot_map: LoadedMap, robot: Pack) -> AfeDevice:
    """The same module's ring of past scans."""
    return AfeDevice(robot_map, robot, "AfeHistory")
