# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import numpy as np
import pytest

from ibms_battery.pack import Cell
from ibms_edge.limits.power_limits import Bands, LimitedBy, Limits, PowerLimits
from ibms_msgs.msg import PackLimits

S = 1_000_000_000
PARALLEL = 3


class Driver:
    """Limits asked for ten times per second."""

    def __init__(self, cell: Cell) -> None:
        self.limits = PowerLimits(cell, PARALLEL)
        self.now_ns = 100 * S

    def after(
        self,
        seconds: float = 10.0,
        voltage_v: float = 3.7,
        temperature_c: float = 25.0,
        soc: float = 0.5,
        derate: bool = False,
        forbidden: LimitedBy | None = None,
    ) -> Limits:
        for _ in range(max(1, round(seconds * 10))):
            self.now_ns += S // 10
            result = self.limits.update(
                np.array([3.7, voltage_v]),
                np.array([25.0, temperature_c]),
                np.array([0.5, soc]),
                derate,
                forbidden,
                self.now_ns,
            )
        return result


@pytest.fixture
def driver(cell: Cell) -> Driver:
    return Driver(cell)


def test_causes_are_those_of_the_interface() -> None:
    for cause in LimitedBy:
        assert getattr(PackLimits, f"LIMIT_{cause.name}") == cause


def test_a_healthy_pack_gives_its_rating(driver: Driver, cell: Cell) -> None:
    result = driver.after()
    assert result.charge_current_a == pytest.approx(cell.maximum_charge_current_a * PARALLEL)
    assert result.discharge_current_a == pytest.approx(cell.maximum_discharge_current_a * PARALLEL)
    assert result.limited_by is LimitedBy.RATING


@pytest.mark.parametrize(
    ("state", "charge", "discharge", "cause"),
    [
        ({"temperature_c": 50.0}, 0.5, 0.5, LimitedBy.TEMPERATURE),
        ({"temperature_c": 55.0}, 0.0, 0.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": 70.0}, 0.0, 0.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": 5.0}, 0.5, 1.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": 0.0}, 0.0, 1.0, LimitedBy.TEMPERATURE),
        ({"temperature_c": -20.0}, 0.0, 0.0, LimitedBy.TEMPERATURE),
        ({"voltage_v": 4.15}, 0.5, 1.0, LimitedBy.CELL_VOLTAGE),
        ({"voltage_v": 4.3}, 0.0, 1.0, LimitedBy.CELL_VOLTAGE),
        ({"voltage_v": 2.55}, 1.0, 0.5, LimitedBy.CELL_VOLTAGE),
        ({"voltage_v": 2.4}, 1.0, 0.0, LimitedBy.CELL_VOLTAGE),
        ({"soc": 0.975}, 0.5, 1.0, LimitedBy.STATE_OF_CHARGE),
        ({"soc": 0.0}, 1.0, 0.0, LimitedBy.STATE_OF_CHARGE),
        ({"soc": math.nan}, 1.0, 1.0, LimitedBy.RATING),
        ({"derate": True}, 0.5, 0.5, LimitedBy.FAULT),
    ],
)
def test_one_cell_at_its_edge_limits_the_pack(
    driver: Driver,
    cell: Cell,
    state: dict[str, Any],
    charge: float,
    discharge: float,
    cause: LimitedBy,
) -> None:
    result = driver.after(10.0, **state)
    rated_charge_a = cell.maximum_charge_current_a * PARALLEL
    rated_discharge_a = cell.maximum_discharge_current_a * PARALLEL
    assert result.charge_current_a / rated_charge_a == pytest.approx(charge, abs=1e-6)
    assert result.discharge_current_a / rated_discharge_a == pytest.approx(discharge, abs=1e-6)
    assert result.limited_by is cause


def test_falling_limits_count_at_once_and_rising_ones_come_slowly(
    driver: Driver, cell: Cell
) -> None:
    rated_a = cell.maximum_discharge_current_a * PARALLEL
    driver.after()
    assert driver.after(0.1, temperature_c=60.0).discharge_current_a == 0.0
    assert driver.after(1.0).discharge_current_a == pytest.approx(
        Bands().rise_per_s * rated_a, rel=1e-6
    )
    assert driver.after(5.0).discharge_current_a == pytest.approx(rated_a)


@pytest.mark.parametrize("forbidden", [LimitedBy.FAULT, LimitedBy.PACK_STATE])
def test_what_forbids_gives_nothing_and_the_rise_begins_from_there(
    driver: Driver, forbidden: LimitedBy
) -> None:
    driver.after()
    assert driver.after(0.1, forbidden=forbidden) == Limits(0.0, 0.0, forbidden)
    assert 0.0 < driver.after(0.1).discharge_current_a < 1.0


@pytest.mark.parametrize("state", [{"voltage_v": math.nan}, {"temperature_c": math.nan}])
def test_unmeasured_cells_give_nothing(driver: Driver, state: dict[str, Any]) -> None:
    driver.after()
    assert driver.after(0.1, **state) == Limits(0.0, 0.0, LimitedBy.INPUT_STALE)


def test_no_cells_give_nothing(driver: Driver) -> None:
    empty = np.empty(0)
    result = driver.limits.update(empty, empty, empty, False, None, driver.now_ns)
    assert result == Limits(0.0, 0.0, LimitedBy.INPUT_STALE)
