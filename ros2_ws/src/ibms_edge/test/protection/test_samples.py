# SPDX-License-Identifier: Apache-2.0
import math
from array import array
from typing import Any

import numpy as np
import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection.samples import cells_sample, is_well_formed, pack_sample
from ibms_msgs.msg import CellMeasurement, PackMeasurement

NAN = math.nan


def scan(pack: Pack) -> CellMeasurement:
    message = CellMeasurement(boot_ns=1_000_000_000, scan_counter=7, current_a=-3.0)
    message.voltage_v = array("f", [3.7] * pack.series)
    message.voltage_valid = array("B", [1] * pack.series)
    message.open_wire = array("B", bytes(pack.series))
    message.temperature_c = array("f", [25.0] * pack.temperature_sensors)
    message.temperature_valid = array("B", [1] * pack.temperature_sensors)
    message.afe_status = array("B", bytes(pack.modules))
    message.module_voltage_v = array("f", [44.4] * pack.modules)
    return message


def sample(**fields: Any) -> PackMeasurement:
    healthy = {"boot_ns": 1_000_000_000, "current_a": -5.0, "voltage_v": 44.4, "valid": 63}
    return PackMeasurement(**(healthy | fields))


def test_a_scan_becomes_arrays(pack: Pack) -> None:
    message = scan(pack)
    assert is_well_formed(message, pack)
    read = cells_sample(message)
    assert (read.boot_ns, read.scan_counter, read.current_a) == (1_000_000_000, 7, -3.0)
    assert read.voltage_v == pytest.approx([3.7] * 12)
    assert read.temperature_c == pytest.approx([25.0] * 4)


@pytest.mark.parametrize(
    "name",
    [
        "voltage_v",
        "voltage_valid",
        "open_wire",
        "temperature_c",
        "temperature_valid",
        "afe_status",
        "module_voltage_v",
    ],
)
def test_a_scan_with_an_array_of_another_size_is_malformed(pack: Pack, name: str) -> None:
    message = scan(pack)
    values = getattr(message, name)
    setattr(message, name, values[:-1])
    assert not is_well_formed(message, pack)


def test_a_scan_fetched_afterwards_is_for_history_only(pack: Pack) -> None:
    message = scan(pack)
    message.late = True
    assert not is_well_formed(message, pack)


@pytest.mark.parametrize("poison", [NAN, math.inf, -math.inf])
def test_a_value_marked_valid_that_is_no_number_counts_as_missing(
    pack: Pack, poison: float
) -> None:
    message = scan(pack)
    message.voltage_v[4] = message.temperature_c[1] = poison
    read = cells_sample(message)
    assert np.flatnonzero(np.isnan(read.voltage_v)).tolist() == [4]
    assert np.flatnonzero(np.isnan(read.temperature_c)).tolist() == [1]


def test_a_value_marked_invalid_counts_as_missing(pack: Pack) -> None:
    message = scan(pack)
    message.voltage_valid[2] = message.temperature_valid[3] = 0
    read = cells_sample(message)
    assert np.flatnonzero(np.isnan(read.voltage_v)).tolist() == [2]
    assert np.flatnonzero(np.isnan(read.temperature_c)).tolist() == [3]


def test_a_pack_sample_becomes_numbers() -> None:
    read = pack_sample(sample(redundant_current_a=-5.5, redundant_boot_ns=9))
    assert (read.current_a, read.voltage_v, read.redundant_current_a) == (-5.0, 44.4, -5.5)
    assert read.redundant_boot_ns == 9


@pytest.mark.parametrize(
    "fields",
    [{"valid": 62}, {"status": PackMeasurement.SENSOR_SELF_TEST_FAILED}, {"current_a": math.inf}],
)
def test_a_current_that_the_sensor_does_not_vouch_for_is_none(fields: dict[str, Any]) -> None:
    assert math.isnan(pack_sample(sample(**fields)).current_a)


def test_a_current_over_the_range_is_known_to_be_at_least_so_much() -> None:
    read = pack_sample(sample(current_a=-3000.0, status=PackMeasurement.SENSOR_OVERRANGE))
    assert read.current_a == -3000.0
