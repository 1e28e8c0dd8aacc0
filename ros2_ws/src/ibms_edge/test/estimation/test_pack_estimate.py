# SPDX-License-Identifier: Apache-2.0
"""The pack holds what its weakest cells and its topology let it give and take."""

from dataclasses import replace
from math import isnan
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibms_battery.cell import Cell
from ibms_battery.circuit import build_circuit
from ibms_battery.pack import Pack, StringOfCells
from ibms_edge.estimation.pack_estimate import (
    UNKNOWN,
    By,
    CellContents,
    CellEnergy,
    PackContents,
    contents,
    strings_of,
)
from ibms_msgs.msg import PackEstimate

COUNT = 6
ONE_STRING = [slice(0, COUNT)]
ALL = np.ones(COUNT, np.bool_)


def flat_energy() -> CellEnergy:
    """A cell of 3 V at empty and 4 V at full, straight between."""
    cell = Cell(
        name="straight",
        chemistry="NMC",
        capacity_ah=10.0,
        minimum_voltage_v=2.9,
        maximum_voltage_v=4.1,
        nominal_voltage_v=3.5,
        resistance_ohm=0.01,
        soc_points=[0.0, 1.0],
        ocv_points_v=[3.0, 4.0],
        maximum_charge_current_a=10.0,
        maximum_discharge_current_a=10.0,
        source="test",
    )
    return CellEnergy(build_circuit(cell))


ENERGY = flat_energy()


def cells(**fields: Any) -> CellContents:
    values: dict[str, Any] = {
        "soc": np.full(COUNT, 0.6),
        "soc_std": np.full(COUNT, 0.01),
        "capacity_ah": np.full(COUNT, 10.0),
        "temperature_c": np.full(COUNT, 25.0),
    }
    return CellContents(**{**values, **{name: np.array(v, float) for name, v in fields.items()}})


def hold(known: CellContents, **options: Any) -> PackContents:
    given_options = {"strings": ONE_STRING, "in_circuit": ALL, **options}
    return contents(given_options["strings"], ENERGY, known, given_options["in_circuit"])


some_cells = st.builds(
    lambda soc, capacity_ah, soc_std: cells(soc=soc, capacity_ah=capacity_ah, soc_std=soc_std),
    *(
        st.lists(values, min_size=COUNT, max_size=COUNT)
        for values in (st.floats(0.0, 1.0), st.floats(5.0, 15.0), st.floats(0.0, 0.2))
    ),
)


@given(some_cells)
def test_the_weakest_cells_decide(known: CellContents) -> None:
    pack = hold(known)
    charge_ah = known.soc * known.capacity_ah
    room_ah = (1.0 - known.soc) * known.capacity_ah
    assert pack.charge_to_empty_ah == pytest.approx(charge_ah.min())
    assert pack.charge_to_full_ah == pytest.approx(room_ah.min())
    assert charge_ah[pack.empties_first] == charge_ah.min()
    assert room_ah[pack.fills_first] == room_ah.min()


@given(some_cells)
def test_bounds(known: CellContents) -> None:
    pack = hold(known)
    for share in (pack.soc, pack.soe):
        assert -1e-9 <= share <= 1.0 + 1e-9
    assert pack.energy_to_empty_wh >= -1e-9
    assert pack.energy_to_full_wh >= -1e-9
    # Between 3 and 4 V in each cell.
    assert 3.0 * COUNT * pack.charge_to_empty_ah <= pack.energy_to_empty_wh + 1e-6
    assert pack.energy_to_empty_wh <= 4.0 * COUNT * pack.charge_to_empty_ah + 1e-6
    assert pack.capacity_ah <= known.capacity_ah.min() + 1e-9
    assert pack.soc_std >= max(known.soc_std[pack.empties_first], known.soc_std[pack.fills_first])


@given(some_cells, st.integers(0, COUNT - 1), st.floats(0.0, 1.0))
def test_charge_in_a_strong_cell_is_of_no_use(known: CellContents, cell: int, to: float) -> None:
    before = hold(known)
    charge_ah = known.soc * known.capacity_ah
    if cell == before.empties_first or to < known.soc[cell]:
        return
    soc = known.soc.copy()
    soc[cell] = to
    after = hold(replace(known, soc=soc))
    assert after.charge_to_empty_ah == pytest.approx(charge_ah.min())
    assert after.charge_to_full_ah <= before.charge_to_full_ah + 1e-9
    assert after.capacity_ah <= before.capacity_ah + 1e-9


@given(some_cells)
def test_equal_cells_make_a_pack_like_one_of_them(known: CellContents) -> None:
    equal = cells(
        soc=[known.soc[0]] * COUNT,
        soc_std=[known.soc_std[0]] * COUNT,
        capacity_ah=[known.capacity_ah[0]] * COUNT,
    )
    pack = hold(equal)
    assert pack.soc == pytest.approx(known.soc[0], abs=1e-9)
    assert pack.soc_std == pytest.approx(known.soc_std[0], abs=1e-9)
    assert pack.capacity_ah == pytest.approx(known.capacity_ah[0])
    assert pack.empties_first_by is pack.fills_first_by is By.NOTHING


def test_energy_is_that_of_all_cells_while_the_weakest_empties() -> None:
    pack = hold(cells(soc=[0.5, *[0.8] * 5]))
    # 5 A h each: the weakest from 3.5 to 3.0 V, the others from 3.8 to 3.3 V.
    assert pack.energy_to_empty_wh == pytest.approx(5.0 * (3.25 + 5 * 3.55), rel=1e-4)
    # 2 A h each: the weakest from 3.5 to 3.7 V, the others from 3.8 to 4.0 V.
    assert pack.energy_to_full_wh == pytest.approx(2.0 * (3.6 + 5 * 3.9), rel=1e-4)


def test_soc_runs_from_the_first_empty_to_the_first_full_cell() -> None:
    spread = [0.2, *[0.5] * 5]
    assert hold(cells(soc=spread)).soc == pytest.approx(2.0 / 7.0)
    assert hold(cells(soc=[0.0, *[0.3] * 5])).soc == 0.0
    assert hold(cells(soc=[0.7, *[1.0] * 5])).soc == 1.0
    nothing_usable = hold(cells(soc=[0.0, *[1.0] * 5]))
    assert (nothing_usable.soc, nothing_usable.capacity_ah, nothing_usable.soe) == (0.0, 0.0, 0.0)


def test_uncertainty_grows_where_one_empties_and_another_fills_first() -> None:
    assert hold(cells()).soc_std == pytest.approx(0.01)
    apart = hold(cells(soc=[0.2, *[0.5] * 5]))
    assert apart.soc_std == pytest.approx(0.01 / 0.7)


@pytest.mark.parametrize(
    ("fields", "empties", "fills"),
    [
        ({"soc": [0.4, *[0.6] * 5]}, (0, By.CHARGE), None),
        ({"capacity_ah": [*[10.0] * 5, 8.0]}, (5, By.CAPACITY), (5, By.CAPACITY)),
        ({"soc": [*[0.6] * 3, 0.8, 0.6, 0.6]}, None, (3, By.CHARGE)),
        ({"soc": [0.595, *[0.6] * 5]}, (0, By.NOTHING), None),
    ],
)
def test_why_a_cell_is_the_first(fields: Any, empties: Any, fills: Any) -> None:
    pack = hold(cells(**fields))
    if empties is not None:
        assert (pack.empties_first, pack.empties_first_by) == empties
    if fills is not None:
        assert (pack.fills_first, pack.fills_first_by) == fills


def test_a_bypassed_cell_does_not_count_even_unknown() -> None:
    in_circuit = ALL.copy()
    in_circuit[1] = False
    known = cells(soc=[0.6, float("nan"), 0.6, 0.5, 0.6, 0.6])
    pack = hold(known, in_circuit=in_circuit)
    assert pack.charge_to_empty_ah == pytest.approx(5.0)
    assert pack.empties_first == 3
    assert pack.energy_to_empty_wh == pytest.approx(5.0 * (3.25 + 4 * 3.35), rel=1e-4)


def test_an_unknown_cell_in_the_circuit_makes_the_pack_unknown() -> None:
    for name in ("soc", "soc_std", "capacity_ah"):
        assert hold(cells(**{name: [float("nan"), *[0.6] * 5]})) is UNKNOWN
    assert hold(cells(), in_circuit=~ALL) is UNKNOWN
    assert isnan(UNKNOWN.soc)
    assert isnan(UNKNOWN.soe)
    assert isnan(UNKNOWN.capacity_ah)


@given(some_cells)
def test_strings_in_parallel_add_up(known: CellContents) -> None:
    halves = [slice(0, 3), slice(3, 6)]
    both = hold(known, strings=halves)
    charge_ah = known.soc * known.capacity_ah
    room_ah = (1.0 - known.soc) * known.capacity_ah
    assert both.charge_to_empty_ah == pytest.approx(charge_ah[:3].min() + charge_ah[3:].min())
    assert both.charge_to_full_ah == pytest.approx(room_ah[:3].min() + room_ah[3:].min())
    apart = [hold(known, in_circuit=np.arange(COUNT) // 3 == half) for half in (0, 1)]
    assert both.energy_to_empty_wh == pytest.approx(sum(p.energy_to_empty_wh for p in apart))
    weakest = [both.empties_first, both.fills_first]
    assert both.soc_std >= known.soc_std[weakest].max() - 1e-12


def test_strings_are_those_of_the_pack(pack: Pack) -> None:
    assert strings_of(pack) == [slice(0, 12)]
    halves = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    parallel = msgspec.structs.replace(pack, strings=halves)
    assert strings_of(parallel) == [slice(0, 6), slice(6, 12)]


def test_reasons_are_those_of_the_message() -> None:
    for by in By:
        assert getattr(PackEstimate, f"BY_{by.name}") == by
