# SPDX-License-Identifier: Apache-2.0
import math
from array import array
from typing import Any

import msgspec
import numpy as np
import pytest
from sensor_msgs.msg import BatteryState

from ibms_battery.cell import Cell
from ibms_battery.pack import Pack, StringOfCells
from ibms_edge.vehicle.battery_state import battery_state
from ibms_msgs.msg import CellStates, PackEstimate, PackState

NAN = math.nan
ALL = np.ones(12, np.bool_)


def cells(pack: Pack, **fields: Any) -> CellStates:
    message = CellStates(current_a=-20.0)
    count = pack.series
    message.voltage_v = array("f", [3.7] * (count - 1) + [3.6])
    message.temperature_c = array("f", [25.0] * (count - 1) + [30.0])
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def estimate(**fields: Any) -> PackEstimate:
    values = {"soc": 0.4, "charge_to_empty_ah": 5.6, "capacity_ah": 14.0, "valid": True}
    return PackEstimate(**{**values, **fields})


def test_every_field_is_set(pack: Pack, cell: Cell) -> None:
    state = PackState(state=PackState.STATE_DRIVE)
    message = battery_state(pack, cell, cells(pack), estimate(), ALL, state, "SN 1")
    assert message.voltage == pytest.approx(11 * 3.7 + 3.6, abs=1e-4)
    assert message.current == -20.0  # negative: discharging
    assert message.temperature == 30.0
    assert message.percentage == pytest.approx(0.4)  # 0 to 1
    assert message.charge == pytest.approx(5.6)
    assert message.capacity == 14.0
    assert message.design_capacity == cell.capacity_ah * pack.parallel
    assert message.power_supply_status == BatteryState.POWER_SUPPLY_STATUS_DISCHARGING
    assert message.power_supply_health == BatteryState.POWER_SUPPLY_HEALTH_GOOD
    assert message.power_supply_technology == BatteryState.POWER_SUPPLY_TECHNOLOGY_LION
    assert message.present
    assert len(message.cell_voltage) == len(message.cell_temperature) == pack.series
    assert (message.location, message.serial_number) == (pack.name, "SN 1")


def test_without_cells_everything_measured_is_nan(pack: Pack, cell: Cell) -> None:
    message = battery_state(pack, cell, None, None, ALL, None, "")
    for name in ("voltage", "current", "temperature", "percentage", "charge", "capacity"):
        assert math.isnan(getattr(message, name)), name
    assert all(math.isnan(value) for value in message.cell_voltage)
    assert len(message.cell_voltage) == len(message.cell_temperature) == pack.series
    assert message.power_supply_status == BatteryState.POWER_SUPPLY_STATUS_UNKNOWN
    assert message.power_supply_health == BatteryState.POWER_SUPPLY_HEALTH_UNKNOWN


@pytest.mark.parametrize("unknown", [None, estimate(valid=False)])
def test_one_unmeasured_cell_leaves_sums_unknown(
    pack: Pack, cell: Cell, unknown: PackEstimate | None
) -> None:
    poor = cells(pack)
    poor.voltage_v[3] = NAN
    poor.temperature_c[3] = NAN
    message = battery_state(pack, cell, poor, unknown, ALL, None, "")
    assert math.isnan(message.voltage)
    assert math.isnan(message.percentage)
    assert math.isnan(message.charge)
    assert message.temperature == 30.0


def test_a_bypassed_cell_adds_no_voltage(pack: Pack, cell: Cell) -> None:
    isolated = cells(pack)
    isolated.voltage_v[3] = NAN
    isolated.temperature_c[3] = 40.0
    connected = ALL.copy()
    connected[2:4] = connected[11] = False
    message = battery_state(pack, cell, isolated, estimate(), connected, None, "")
    assert message.voltage == pytest.approx(9 * 3.7)
    assert message.temperature == 40.0
    assert len(message.cell_voltage) == pack.series


def test_parallel_strings_have_the_voltage_of_one(pack: Pack, cell: Cell) -> None:
    halves = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    parallel = msgspec.structs.replace(pack, strings=halves)
    message = battery_state(parallel, cell, cells(pack), estimate(), ALL, None, "")
    assert message.voltage == pytest.approx((11 * 3.7 + 3.6) / 2, abs=1e-4)
    assert message.design_capacity == 2 * cell.capacity_ah * pack.parallel


@pytest.mark.parametrize(
    ("current_a", "soc", "state", "status"),
    [
        (20.0, 0.5, PackState.STATE_CHARGE, BatteryState.POWER_SUPPLY_STATUS_CHARGING),
        (-20.0, 0.5, PackState.STATE_DRIVE, BatteryState.POWER_SUPPLY_STATUS_DISCHARGING),
        (0.0, 0.5, PackState.STATE_STANDBY, BatteryState.POWER_SUPPLY_STATUS_NOT_CHARGING),
        (0.0, 0.995, PackState.STATE_CHARGE, BatteryState.POWER_SUPPLY_STATUS_FULL),
        (0.0, 0.995, PackState.STATE_STANDBY, BatteryState.POWER_SUPPLY_STATUS_NOT_CHARGING),
        (NAN, 0.5, PackState.STATE_DRIVE, BatteryState.POWER_SUPPLY_STATUS_UNKNOWN),
    ],
)
def test_status(
    pack: Pack, cell: Cell, current_a: float, soc: float, state: int, status: int
) -> None:
    measured, charge = cells(pack, current_a=current_a), estimate(soc=soc)
    message = battery_state(pack, cell, measured, charge, ALL, PackState(state=state), "")
    assert message.power_supply_status == status


@pytest.mark.parametrize(
    ("temperature_c", "state", "health"),
    [
        (60.0, PackState.STATE_DRIVE, BatteryState.POWER_SUPPLY_HEALTH_OVERHEAT),
        (-15.0, PackState.STATE_DRIVE, BatteryState.POWER_SUPPLY_HEALTH_COLD),
        (25.0, PackState.STATE_ERROR, BatteryState.POWER_SUPPLY_HEALTH_UNSPEC_FAILURE),
        (25.0, PackState.STATE_DRIVE, BatteryState.POWER_SUPPLY_HEALTH_GOOD),
        (NAN, PackState.STATE_DRIVE, BatteryState.POWER_SUPPLY_HEALTH_UNKNOWN),
    ],
)
def test_health(pack: Pack, cell: Cell, temperature_c: float, state: int, health: int) -> None:
    measured = cells(pack, temperature_c=array("f", [temperature_c] * pack.series))
    message = battery_state(pack, cell, measured, estimate(), ALL, PackState(state=state), "")
    assert message.power_supply_health == health


@pytest.mark.parametrize(
    ("chemistry", "technology"),
    [
        ("NMC811", BatteryState.POWER_SUPPLY_TECHNOLOGY_LION),
        ("nca", BatteryState.POWER_SUPPLY_TECHNOLOGY_LION),
        ("LFP", BatteryState.POWER_SUPPLY_TECHNOLOGY_LIFE),
        ("unobtainium", BatteryState.POWER_SUPPLY_TECHNOLOGY_UNKNOWN),
    ],
)
def test_technology(pack: Pack, cell: Cell, chemistry: str, technology: int) -> None:
    other = msgspec.structs.replace(cell, chemistry=chemistry)
    assert (
        battery_state(pack, other, None, None, ALL, None, "").power_supply_technology == technology
    )
