# SPDX-License-Identifier: Apache-2.0
import numpy as np

from ibms_end.afe.samples import AFE_FLAGS, AFE_NOT_RECEIVED, SENSOR_FLAGS, Scan
from ibms_msgs.msg import CellMeasurement, PackMeasurement


def test_bits_are_those_of_the_messages() -> None:
    for flag, bit in AFE_FLAGS.items():
        assert bit == getattr(CellMeasurement, f"AFE_{flag.upper()}")
    assert AFE_NOT_RECEIVED == CellMeasurement.AFE_NOT_RECEIVED
    for flag, bit in SENSOR_FLAGS.items():
        assert bit == getattr(PackMeasurement, f"SENSOR_{flag.upper()}")


def test_an_empty_scan_has_measured_nothing() -> None:
    scan = Scan.empty(cells=3, sensors=2, modules=1)
    for values in (
        scan.voltage_v,
        scan.temperature_c,
        scan.module_voltage_v,
        scan.afe_temperature_c,
    ):
        assert np.isnan(values).all()
    assert not scan.voltage_valid.any()
    assert not scan.temperature_valid.any()
    assert scan.afe_status.tolist() == [AFE_NOT_RECEIVED]


def test_status_of_several_messages_adds_up() -> None:
    scan = Scan.empty(1, 1, 2)
    scan.receive_status(1, 0)
    assert scan.afe_status.tolist() == [AFE_NOT_RECEIVED, 0]
    scan.receive_status(1, 2)
    scan.receive_status(1, 8)
    assert scan.afe_status.tolist() == [AFE_NOT_RECEIVED, 10]
