# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.afe.pack_sensor import PackSensorDecoder
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.mapping import LoadedMap

VALUES = {
    "SampleCounter": 9,
    "Current": -12.345,
    "PackVoltage": 350.0,
    "LinkVoltage": 349.0,
    "Charge": -1e6,
    "ShuntTemperature": 31.5,
}


def encoder(loaded: LoadedMap) -> FrameEncoder:
    return FrameEncoder(find_message(loaded.database, "PackSensor"))


def test_sample(robot_map: LoadedMap) -> None:
    decoder = PackSensorDecoder(robot_map)
    sample = decoder.decode(encoder(robot_map).encode(VALUES).data, 5)
    assert sample is not None
    assert (sample.boot_ns, sample.sample_counter, sample.status) == (5, 9, 0)
    assert sample.current_a == pytest.approx(-12.345)  # discharge is negative
    assert sample.voltage_v == pytest.approx(350.0)
    assert sample.link_voltage_v == pytest.approx(349.0)
    assert sample.charge_c == pytest.approx(-1e6)
    assert sample.shunt_temperature_c == pytest.approx(31.5)
    assert not sample.reduced_integrity


@pytest.mark.parametrize(
    ("signal", "value", "quantity"),
    [
        ("Current", 3000.001, "current_a"),
        ("Current", -2e6, "current_a"),
        ("PackVoltage", 1500.001, "voltage_v"),
        ("LinkVoltage", 4e6, "link_voltage_v"),
        ("ShuntTemperature", 200.1, "shunt_temperature_c"),
    ],
)
def test_absurd_value_is_unmeasured(
    robot_map: LoadedMap, signal: str, value: float, quantity: str
) -> None:
    frame = encoder(robot_map).encode({**VALUES, signal: value})
    sample = PackSensorDecoder(robot_map).decode(frame.data, 0)
    assert sample is not None
    unmeasured = [
        name
        for name in ("current_a", "voltage_v", "link_voltage_v", "charge_c", "shunt_temperature_c")
        if math.isnan(getattr(sample, name))
    ]
    assert unmeasured == [quantity]


@pytest.mark.parametrize(("signal", "bit"), [("OverRange", 1), ("SelfTestFailed", 2)])
def test_flags(robot_map: LoadedMap, signal: str, bit: int) -> None:
    sample = PackSensorDecoder(robot_map).decode(
        encoder(robot_map).encode({**VALUES, signal: 1}).data, 0
    )
    assert sample is not None
    assert sample.status == bit


def test_rejected_frames_are_told_with_the_next_sample(robot_map: LoadedMap) -> None:
    decoder, sender = PackSensorDecoder(robot_map), encoder(robot_map)
    assert decoder.decode(bytes(32), 0) is None
    assert decoder.decode(bytes(31), 0) is None
    sample = decoder.decode(sender.encode(VALUES).data, 0)
    assert sample is not None
    assert sample.frames_rejected == 2
    sample = decoder.decode(sender.encode(VALUES).data, 0)
    assert sample is not None
    assert sample.frames_rejected == 0


def test_foreign_sensor_with_the_opposite_sign(foreign_map: LoadedMap) -> None:
    decoder = PackSensorDecoder(foreign_map)
    samples = [decoder.decode(bytes.fromhex("007b0a8c00000000"), 0) for _ in range(2)]
    sample = samples[1]
    assert sample is not None
    assert sample.current_a == pytest.approx(-12.3)
    assert sample.voltage_v == pytest.approx(27.0)
    assert math.isnan(sample.link_voltage_v)
    assert sample.sample_counter == 2  # counted here
    assert sample.reduced_integrity


@given(data=st.binary(max_size=64))
def test_random_frames_never_crash(foreign_map: LoadedMap, data: bytes) -> None:
    sample = PackSensorDecoder(foreign_map).decode(data, 0)
    if sample is not None:
        assert len(data) == 8
        assert math.isnan(sample.voltage_v) or 0 <= sample.voltage_v <= 60
        assert math.isnan(sample.current_a) or abs(sample.current_a) <= 3000
