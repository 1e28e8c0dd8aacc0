# SPDX-License-Identifier: Apache-2.0
"""What flowed in each cell between two scans."""

from array import array
from math import isnan, nan
from typing import Any

import msgspec
import numpy as np
import pytest

from ibms_battery.cell import Cell
from ibms_battery.pack import Pack, StringOfCells, StringVoltage, Transition
from ibms_edge.estimation.scan_input import ScanInput
from ibms_msgs.msg import CellMeasurement

S = 10**9
SENSORS = 4
ALL = np.ones(12, np.bool_)


def scan(at_s: float, **fields: Any) -> CellMeasurement:
    message = CellMeasurement(boot_ns=round(at_s * S), current_a=-6.0, charge_c=nan)
    message.voltage_v = array("f", [3.7] * 12)
    message.voltage_valid = array("B", [1] * 12)
    message.temperature_c = array("f", [25.0] * SENSORS)
    message.temperature_valid = array("B", [1] * SENSORS)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def flowed_a(taken: ScanInput, *scans: CellMeasurement) -> float:
    """Mean current of a cell over the last of some steps."""
    for message in scans:
        assert taken.accepts(message)
        step = taken.step(message, ALL)
    return float(step.current_a[0])


def test_a_sample_stands_for_a_short_step(pack: Pack, cell: Cell) -> None:
    scans = scan(0.0, charge_c=0.0), scan(0.02, charge_c=50.0)
    assert flowed_a(ScanInput(pack, cell), *scans) == pytest.approx(-6.0 / pack.parallel)


def test_the_counter_stands_for_a_long_step(pack: Pack, cell: Cell) -> None:
    scans = scan(0.0, charge_c=7.0), scan(600.0, charge_c=7.0 - 1800.0)
    taken = ScanInput(pack, cell)
    assert flowed_a(taken, *scans) == pytest.approx(-3.0 / pack.parallel)
    assert taken.gaps == 0


@pytest.mark.parametrize(
    ("before_c", "after_c"),
    [(nan, 0.0), (0.0, nan), (-20_000.0, 1.0), (0.0, 1e9)],
    ids=["no counter before", "none after", "begun anew", "absurd"],
)
def test_what_no_counter_says_of_a_long_step_is_unknown(
    pack: Pack, cell: Cell, before_c: float, after_c: float
) -> None:
    taken = ScanInput(pack, cell)
    assert isnan(flowed_a(taken, scan(0.0, charge_c=before_c), scan(600.0, charge_c=after_c)))
    assert taken.gaps == 1
    shorter = flowed_a(taken, scan(600.5, charge_c=before_c), scan(610.0, charge_c=after_c))
    assert shorter == pytest.approx(-6.0 / pack.parallel)
    assert taken.gaps == 1


def test_masked_values_are_unknown_whatever_they_are(pack: Pack, cell: Cell) -> None:
    message = scan(0.0)
    message.voltage_valid[4] = message.temperature_valid[2] = 0
    step = ScanInput(pack, cell).step(message, ALL)
    assert np.flatnonzero(np.isnan(step.voltage_v)).tolist() == [4]
    of_sensor = np.array(pack.temperature_sensor_of_cell()) == 2
    assert (np.isnan(step.temperature_c) == of_sensor).all()


def test_strings_that_carry_share_the_current(pack: Pack, cell: Cell) -> None:
    switching = msgspec.structs.replace(
        pack.switching,
        configurations={**pack.switching.configurations, "both": ["main_negative"]},
        transitions=[
            *pack.switching.transitions,
            Transition("closed", "both", requires_string=StringVoltage("right", 1.0)),
        ],
    )
    halves = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    parallel = msgspec.structs.replace(pack, strings=halves, switching=switching)
    taken = ScanInput(parallel, cell)
    carried = {
        name: taken.step(scan(number), ALL, name).current_a * pack.parallel
        for number, name in enumerate(("closed", "both", "open"))
    }
    assert carried["both"].tolist() == pytest.approx([-3.0] * 12)
    assert carried["closed"].tolist() == pytest.approx([-6.0] * 6 + [0.0] * 6)
    assert carried["open"].tolist() == pytest.approx([-3.0] * 12)
    bypassed = ALL.copy()
    bypassed[1] = False
    counting = {name: taken.carrying(bypassed, name).nonzero()[0].tolist() for name in carried}
    every = [0, *range(2, 12)]
    assert counting == {"closed": [0, 2, 3, 4, 5], "both": every, "open": every}
