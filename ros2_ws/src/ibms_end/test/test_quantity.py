# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from ibms_end.can.codec import find_message
from ibms_end.map_schema import Values
from ibms_end.mapping import LoadedMap
from ibms_end.quantity import Quantity


def read(loaded: LoadedMap, source: Values, **values: float) -> float:
    return Quantity(find_message(loaded.database, "PackSensorRedundant"), source).read(values)


def test_scale_and_offset(robot_map: LoadedMap) -> None:
    source = Values("Current", scale=-2.0, offset=1.0)
    assert read(robot_map, source, Current=10.0) == -19.0


@pytest.mark.parametrize("raw", [3000.001, -3000.001, math.inf, math.nan])
def test_out_of_range_is_unmeasured(robot_map: LoadedMap, raw: float) -> None:
    assert math.isnan(read(robot_map, Values("Current"), Current=raw))


def test_absent_is_unmeasured(robot_map: LoadedMap) -> None:
    assert math.isnan(read(robot_map, Values("Current"), OverRange=0))


@pytest.mark.parametrize("flag", [0, 1])
def test_checks(robot_map: LoadedMap, flag: int) -> None:
    valid = Values("Current", valid="OverRange")
    invalid = Values("Current", invalid="OverRange")
    assert math.isnan(read(robot_map, valid, Current=1.0, OverRange=flag)) == (flag == 0)
    assert math.isnan(read(robot_map, invalid, Current=1.0, OverRange=flag)) == (flag == 1)
