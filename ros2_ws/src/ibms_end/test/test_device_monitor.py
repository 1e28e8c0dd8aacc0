# SPDX-License-Identifier: Apache-2.0
"""Device monitors with their messages, fed with frames as the receiver hands them on."""

import math
from pathlib import Path
from typing import Any

import can
import pytest

from ibms_battery.clock import VirtualClock
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.environment_sensors import environment_message
from ibms_end.insulation_monitor import insulation_message
from ibms_end.map_schema import Insulation, Values
from ibms_end.mapping import LoadedMap
from ibms_msgs.msg import EnvironmentMeasurement, InsulationMeasurement

AIR = {
    "AmbientTemperature": 21.5,
    "Humidity": 40.0,
    "Pressure": 101_300,
    "Gas": 12,
    "VibrationRms": 1.5,
    "VibrationPeak": 9.0,
    "ShockCount": 3,
    "AmbientValid": 1,
    "HumidityValid": 1,
    "PressureValid": 1,
    "GasValid": 1,
    "VibrationValid": 1,
}
BITS = {
    "ambient_temperature_c": EnvironmentMeasurement.VALID_AMBIENT_TEMPERATURE,
    "humidity_ratio": EnvironmentMeasurement.VALID_HUMIDITY,
    "pressure_pa": EnvironmentMeasurement.VALID_PRESSURE,
    "gas_ppm": EnvironmentMeasurement.VALID_GAS,
    "vibration_rms_m_s2": EnvironmentMeasurement.VALID_VIBRATION,
    "vibration_peak_m_s2": EnvironmentMeasurement.VALID_VIBRATION,
}
ALL_VALID = sum(set(BITS.values()))


class Device:
    """A monitor and the encoder of its message."""

    def __init__(self, loaded: LoadedMap, section: Any, clock: VirtualClock) -> None:
        self.section = section
        self.monitor = DeviceMonitor(loaded, section, BusConfiguration(), clock)
        self._clock = clock
        self._encoder = FrameEncoder(find_message(loaded.database, section.message))

    def receive(self, **values: float) -> None:
        """One frame arrives."""
        self.receive_data(self._encoder.encode(values).data)

    def receive_data(self, data: bytes | bytearray) -> None:
        """One frame with these bytes arrives."""
        message = can.Message(arbitration_id=1, data=data, is_fd=len(data) > 8)
        self.monitor._take(message, self._clock.boot_ns())

    def insulation(self) -> InsulationMeasurement:
        return insulation_message(self.section, self.monitor)

    def environment(self) -> EnvironmentMeasurement:
        return environment_message(self.section, self.monitor)


@pytest.fixture
def imd(robot_map: LoadedMap, clock: VirtualClock) -> Device:
    return Device(robot_map, robot_map.map.insulation, clock)


@pytest.fixture
def air(robot_map: LoadedMap, clock: VirtualClock) -> Device:
    return Device(robot_map, robot_map.map.environment, clock)


def test_insulation(imd: Device, clock: VirtualClock) -> None:
    imd.receive(Resistance=2_000_000)
    message = imd.insulation()
    assert message.valid
    assert (message.resistance_ohm, message.status) == (2_000_000, 0)
    assert message.boot_ns == clock.boot_ns()


def test_insulation_of_a_silent_monitor(imd: Device, clock: VirtualClock) -> None:
    assert not imd.insulation().valid
    imd.receive(Resistance=2_000_000)
    clock.advance(0.5)
    assert imd.insulation().valid
    clock.advance(0.01)
    message = imd.insulation()
    assert not message.valid
    assert math.isnan(message.resistance_ohm)
    assert message.boot_ns == 0


@pytest.mark.parametrize(
    ("flag", "bit"),
    [
        ("SelfTestFailed", InsulationMeasurement.MONITOR_SELF_TEST_FAILED),
        ("Starting", InsulationMeasurement.MONITOR_STARTING),
    ],
)
def test_insulation_is_not_believed_with_a_flag(imd: Device, flag: str, bit: int) -> None:
    imd.receive(Resistance=2_000_000, **{flag: 1})
    message = imd.insulation()
    assert message.status == bit
    assert not message.valid
    assert math.isnan(message.resistance_ohm)


def test_insulation_beyond_its_range(imd: Device) -> None:
    imd.receive(Resistance=100_000_001)
    assert not imd.insulation().valid


def test_corrupt_frame_leaves_the_last_value(imd: Device, clock: VirtualClock) -> None:
    imd.receive(Resistance=1_000_000)
    clock.advance(0.3)
    imd.receive_data(bytes(8))
    assert imd.monitor.frame.rejected == {"crc": 1}
    assert imd.insulation().resistance_ohm == 1_000_000
    clock.advance(0.3)
    assert not imd.insulation().valid


def test_environment(air: Device) -> None:
    air.receive(**AIR)
    message = air.environment()
    assert message.valid == ALL_VALID
    assert message.ambient_temperature_c == pytest.approx(21.5)
    assert message.humidity_ratio == pytest.approx(0.4)
    assert message.pressure_pa == pytest.approx(101_300)
    assert message.gas_ppm == 12
    assert message.vibration_rms_m_s2 == pytest.approx(1.5)
    assert message.vibration_peak_m_s2 == pytest.approx(9.0)
    assert message.shock_count == 3


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"AmbientValid": 0}, ["ambient_temperature_c"]),
        ({"AmbientTemperature": 100.01}, ["ambient_temperature_c"]),
        ({"Humidity": 100.01}, ["humidity_ratio"]),
        ({"Pressure": 500_001}, ["pressure_pa"]),
        ({"GasValid": 0}, ["gas_ppm"]),
        ({"VibrationValid": 0}, ["vibration_rms_m_s2", "vibration_peak_m_s2"]),
    ],
)
def test_what_is_not_measured_is_nan(
    air: Device, change: dict[str, float], lost: list[str]
) -> None:
    air.receive(**{**AIR, **change})
    message = air.environment()
    lost_bits = {BITS[name] for name in lost}
    assert message.valid == ALL_VALID - sum(lost_bits)
    assert [name for name in BITS if math.isnan(getattr(message, name))] == lost


def test_environment_of_silent_sensors(air: Device) -> None:
    message = air.environment()
    assert (message.valid, message.boot_ns) == (0, 0)
    assert math.isnan(message.gas_ppm)


def test_multiplexed_device_keeps_each_group(
    foreign_map: LoadedMap, clock: VirtualClock, test_data: Path
) -> None:
    """Resistance in one group of a message, its flag in another."""
    section = Insulation(
        message="CellData",
        resistance=Values("Cell1"),
        protection="none",
        freshness_s=0.5,
        flags={"FrontEndFault": "self_test_failed"},
    )
    device = Device(foreign_map, section, clock)
    device.receive_data(bytes.fromhex("000bb80bb80bb800"))
    clock.advance(0.2)
    assert device.insulation().resistance_ohm == 3000
    device.receive_data(bytes.fromhex("0300000000000000"))
    assert device.insulation().resistance_ohm == 3000
    device.receive_data(bytes.fromhex("0300000100000000"))
    assert device.insulation().status == InsulationMeasurement.MONITOR_SELF_TEST_FAILED
    device.receive_data(bytes.fromhex("0300000000000000"))
    clock.advance(0.4)
    assert not device.insulation().valid
