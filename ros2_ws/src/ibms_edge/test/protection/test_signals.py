# SPDX-License-Identifier: Apache-2.0
import math
from array import array
from typing import Any

import numpy as np
import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection import signals
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    InsulationMeasurement,
    PackMeasurement,
    SwitchState,
)

NAN = math.nan


def scan(pack: Pack) -> CellMeasurement:
    message = CellMeasurement(boot_ns=1_000_000_000)
    message.voltage_v = array("f", [3.7] * pack.series)
    message.voltage_valid = array("B", [1] * pack.series)
    message.open_wire = array("B", [0] * pack.series)
    message.temperature_c = array("f", [25.0] * pack.temperature_sensors)
    message.temperature_valid = array("B", [1] * pack.temperature_sensors)
    message.afe_status = array("B", [0] * pack.modules)
    return message


def sample(**fields: Any) -> PackMeasurement:
    healthy = {"boot_ns": 1_000_000_000, "current_a": -5.0, "voltage_v": 44.4, "valid": 31}
    return PackMeasurement(**(healthy | fields))


def test_a_healthy_scan(pack: Pack) -> None:
    message = scan(pack)
    assert signals.is_well_formed(message, pack)
    values = signals.cell_signals(message, sample())
    assert values["cell_voltage"] == pytest.approx([3.7] * 12)
    assert not values["cell_voltage_missing"].any()
    assert not values["cell_temperature_missing"].any()
    assert values["cell_voltage_spread"] == [0.0]
    assert values["sum_of_cells_difference"] == pytest.approx([0.0], abs=1e-4)


@pytest.mark.parametrize("poison", [NAN, math.inf, -math.inf])
def test_a_value_marked_valid_that_is_no_number_counts_as_missing(
    pack: Pack, poison: float
) -> None:
    message = scan(pack)
    message.voltage_v[4] = poison
    message.temperature_c[1] = poison
    values = signals.cell_signals(message, sample())
    assert np.flatnonzero(values["cell_voltage_missing"]).tolist() == [4]
    assert np.flatnonzero(values["cell_temperature_missing"]).tolist() == [1]
    assert np.isnan(values["cell_voltage"][4])
    assert values["cell_voltage_spread"] == [0.0]
    assert np.isnan(values["sum_of_cells_difference"]).all()


def test_a_value_without_its_valid_bit_is_not_used(pack: Pack) -> None:
    message = scan(pack)
    message.voltage_v[0] = 9.9
    message.voltage_valid[0] = 0
    values = signals.cell_signals(message, sample())
    assert np.isnan(values["cell_voltage"][0])
    assert values["cell_voltage_missing"].tolist() == [1.0] + [0.0] * 11
    assert values["cell_voltage_spread"] == [0.0]


def test_a_scan_without_any_value_is_missing_everywhere(pack: Pack) -> None:
    message = scan(pack)
    message.voltage_valid = array("B", bytes(pack.series))
    message.temperature_valid = array("B", bytes(pack.temperature_sensors))
    values = signals.cell_signals(message, None)
    assert values["cell_voltage_missing"].all()
    assert values["cell_temperature_missing"].all()
    assert np.isnan(values["cell_voltage_spread"]).all()
    assert np.isnan(values["cell_temperature_spread"]).all()


@pytest.mark.parametrize(
    "field",
    [
        "voltage_v",
        "voltage_valid",
        "open_wire",
        "temperature_c",
        "temperature_valid",
        "afe_status",
    ],
)
@pytest.mark.parametrize("count", [0, 1, 3, 13])
def test_a_scan_of_another_size_is_not_well_formed(pack: Pack, field: str, count: int) -> None:
    message = scan(pack)
    if count == len(getattr(message, field)):
        count += 1
    setattr(message, field, array("f" if field.endswith(("_v", "_c")) else "B", [1] * count))
    assert not signals.is_well_formed(message, pack)


def test_a_late_scan_is_for_history_only(pack: Pack) -> None:
    message = scan(pack)
    message.late = True
    assert not signals.is_well_formed(message, pack)


@pytest.mark.parametrize(
    "fields",
    [
        {"valid": 0},
        {"valid": 31 - PackMeasurement.VALID_VOLTAGE},
        {"boot_ns": 2_000_000_000},
        {"voltage_v": NAN},
    ],
)
def test_the_sum_of_cells_compares_only_with_a_valid_voltage_of_the_same_time(
    pack: Pack, fields: dict[str, Any]
) -> None:
    values = signals.cell_signals(scan(pack), sample(**fields))
    assert np.isnan(values["sum_of_cells_difference"]).all()


@pytest.mark.parametrize(
    ("fields", "current_a"),
    [
        ({}, -5.0),
        ({"valid": 30}, NAN),
        ({"status": PackMeasurement.SENSOR_OVERRANGE}, NAN),
        ({"current_a": NAN}, NAN),
        ({"current_a": math.inf}, NAN),
    ],
)
def test_pack_current_is_a_number_or_missing(fields: dict[str, Any], current_a: float) -> None:
    values = signals.pack_signals(sample(**fields))
    assert values["pack_current"] == pytest.approx([current_a], nan_ok=True)
    assert values["pack_current_missing"] == [float(math.isnan(current_a))]


def test_insulation_and_gas_are_numbers_or_missing() -> None:
    good = signals.insulation_signals(InsulationMeasurement(resistance_ohm=1e6, valid=True))
    assert good["insulation_resistance"] == [1e6]
    assert good["insulation_missing"] == [0.0]
    for message in (
        InsulationMeasurement(resistance_ohm=1e6, valid=False),
        InsulationMeasurement(resistance_ohm=NAN, valid=True),
    ):
        bad = signals.insulation_signals(message)
        assert np.isnan(bad["insulation_resistance"]).all()
        assert bad["insulation_missing"] == [1.0]
    valid = EnvironmentMeasurement.VALID_GAS
    clean = signals.environment_signals(EnvironmentMeasurement(gas_ppm=3.0, valid=valid))
    assert clean["gas"] == [3.0]
    assert clean["gas_missing"] == [0.0]
    blind = signals.environment_signals(EnvironmentMeasurement(gas_ppm=3.0, valid=31 - valid))
    assert blind["gas_missing"] == [1.0]


def test_nothing_is_known_of_a_silent_switch_board() -> None:
    state = SwitchState(board_valid=True, interlock_closed=False, emergency_stop=True)
    state.mismatch = array("B", [0, 1, 0])
    known = signals.switch_signals(state)
    assert known["interlock_open"] == [1.0]
    assert known["emergency_stop"] == [1.0]
    assert known["switch_mismatch"].tolist() == [0.0, 1.0, 0.0]
    state.board_valid = False
    assert all(np.isnan(values).all() for values in signals.switch_signals(state).values())
