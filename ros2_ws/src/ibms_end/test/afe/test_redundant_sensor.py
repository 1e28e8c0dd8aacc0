# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_end.afe.redundant_sensor import RedundantSensor
from ibms_end.afe.samples import PackSample
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.mapping import LoadedMap

MS = 1_000_000


def make(loaded: LoadedMap) -> tuple[RedundantSensor, FrameEncoder]:
    section = loaded.map.redundant_pack_sensor
    assert section is not None
    sender = FrameEncoder(find_message(loaded.database, "PackSensorRedundant"))
    return RedundantSensor(loaded, section), sender


def sample(sensor: RedundantSensor, boot_ns: int) -> PackSample:
    made = PackSample(boot_ns, current_a=1.0)
    sensor.add_to(made)
    return made


def test_newest_current_with_its_own_stamp(robot_map: LoadedMap) -> None:
    sensor, sender = make(robot_map)
    sensor.take(sender.encode({"Current": 5.0}).data, 90 * MS)
    sensor.take(sender.encode({"Current": -12.345}).data, 100 * MS)
    got = sample(sensor, 103 * MS)
    assert got.redundant_current_a == pytest.approx(-12.345)  # discharge is negative
    assert got.redundant_boot_ns == 100 * MS
    assert (got.boot_ns, got.current_a) == (103 * MS, 1.0)
    assert not got.reduced_integrity


def test_nothing_came_yet(robot_map: LoadedMap) -> None:
    got = sample(make(robot_map)[0], 10 * MS)
    assert math.isnan(got.redundant_current_a)
    assert got.redundant_boot_ns == 0


def test_silence_leaves_the_stamp_but_no_value(robot_map: LoadedMap) -> None:
    sensor, sender = make(robot_map)
    sensor.take(sender.encode({"Current": 5.0}).data, 100 * MS)
    assert sample(sensor, 150 * MS).redundant_current_a == 5.0
    got = sample(sensor, 150 * MS + 1)
    assert math.isnan(got.redundant_current_a)
    assert got.redundant_boot_ns == 100 * MS


@pytest.mark.parametrize(
    "values", [{"OverRange": 1}, {"SelfTestFailed": 1}, {"Current": 3000.001}, {"Current": -2e6}]
)
def test_what_does_not_hold_is_unmeasured(robot_map: LoadedMap, values: dict[str, float]) -> None:
    sensor, sender = make(robot_map)
    sensor.take(sender.encode({"Current": 5.0}).data, 100 * MS)
    sensor.take(sender.encode({"Current": 5.0, **values}).data, 110 * MS)
    got = sample(sensor, 111 * MS)
    assert math.isnan(got.redundant_current_a)
    assert got.redundant_boot_ns == 110 * MS


@given(data=st.binary(min_size=8, max_size=8))
def test_random_frames_change_nothing(robot_map: LoadedMap, data: bytes) -> None:
    sensor, sender = make(robot_map)
    sensor.take(sender.encode({"Current": 5.0}).data, 100 * MS)
    sensor.take(data, 110 * MS)
    if sensor.frame.accepted == 1:  # else the CRC was met by chance
        assert sample(sensor, 111 * MS).redundant_boot_ns == 100 * MS
        assert sensor.frame.rejected.total() == 1
