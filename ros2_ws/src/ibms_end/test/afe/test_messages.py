# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from ibms_end.afe.messages import cell_message, pack_message
from ibms_end.afe.samples import PackSample, Scan
from ibms_msgs.msg import PackMeasurement


def scan() -> Scan:
    made = Scan.empty(cells=3, sensors=2, modules=2)
    made.voltage_v[:2] = 3.5, 3.6
    made.voltage_valid[:2] = 1
    made.temperature_c[1], made.temperature_valid[1] = 25.0, 1
    made.bleed_active[0] = made.open_wire[2] = 1
    made.receive_status(0, 4)
    made.module_voltage_v[0], made.afe_temperature_c[0] = 7.1, 30.0
    made.boot_ns, made.scan_counter, made.device_time_ms = 1234, 2**32 - 1, 77
    made.hardware_series, made.hardware_modules, made.hardware_temperature_sensors = 3, 2, 5
    made.frames_missing, made.frames_rejected, made.reduced_integrity = 1, 2, True
    return made


def test_cells() -> None:
    message = cell_message(scan(), PackSample(1200, current_a=-5.0, charge_c=10.0))
    assert (message.boot_ns, message.scan_counter, message.device_time_ms) == (1234, 2**32 - 1, 77)
    np.testing.assert_array_equal(message.voltage_v, np.array([3.5, 3.6, np.nan], np.float32))
    assert message.voltage_valid.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(message.temperature_c, np.array([np.nan, 25.0], np.float32))
    assert message.temperature_valid.tolist() == [0, 1]
    assert message.bleed_active.tolist() == [1, 0, 0]
    assert message.open_wire.tolist() == [0, 0, 1]
    assert message.afe_status.tolist() == [4, 128]
    modules_v = np.array([7.1, np.nan], np.float32)
    np.testing.assert_array_equal(message.module_voltage_v, modules_v)
    np.testing.assert_array_equal(message.afe_temperature_c, np.array([30.0, np.nan], np.float32))
    assert (message.frames_missing, message.frames_rejected) == (1, 2)
    assert message.reduced_integrity
    assert not message.late
    said = (message.hardware_series, message.hardware_modules)
    assert (*said, message.hardware_temperature_sensors) == (3, 2, 5)
    assert (message.current_a, message.charge_c) == (-5.0, 10.0)


def test_cells_without_a_sample() -> None:
    message = cell_message(scan(), None)
    assert math.isnan(message.current_a)
    assert math.isnan(message.charge_c)


@pytest.mark.parametrize(
    ("quantity", "bit"),
    [
        ("current_a", PackMeasurement.VALID_CURRENT),
        ("voltage_v", PackMeasurement.VALID_VOLTAGE),
        ("link_voltage_v", PackMeasurement.VALID_LINK_VOLTAGE),
        ("shunt_temperature_c", PackMeasurement.VALID_SHUNT_TEMPERATURE),
        ("charge_c", PackMeasurement.VALID_CHARGE),
        ("redundant_current_a", PackMeasurement.VALID_REDUNDANT_CURRENT),
    ],
)
def test_pack_sample_with_one_quantity(quantity: str, bit: int) -> None:
    sample = PackSample(9, 8, redundant_boot_ns=7, status=2, frames_rejected=3)
    setattr(sample, quantity, 1.5)
    message = pack_message(sample)
    assert message.valid == bit
    assert getattr(message, quantity) == 1.5
    assert (message.boot_ns, message.sample_counter) == (9, 8)
    assert message.redundant_boot_ns == 7
    assert (message.status, message.frames_rejected) == (2, 3)
    assert not message.reduced_integrity


def test_pack_sample_without_anything() -> None:
    assert pack_message(PackSample(9)).valid == 0
