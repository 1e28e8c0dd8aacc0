# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_battery.cell import Cell
from ibms_battery.configuration import ConfigurationError
from ibms_edge.limits.curves import Curve, load_curves

DATA = Path(__file__).parent / "data"

# file: line, key, words of the problem
REFUSED = {
    "bad_limits_charge_beyond_the_cell": (
        5,
        "charge.zero_v",
        "must lie above hold_v (4.15 V) and not above the cell's maximum of 4.2 V, found 4.25 V",
    ),
    "bad_limits_charge_holds_above_zero": (
        5,
        "charge.zero_v",
        "must lie above hold_v (4.2 V) and not above the cell's maximum of 4.2 V, found 4.2 V",
    ),
    "bad_limits_discharge_below_the_cell": (
        10,
        "discharge.zero_v",
        "must lie below hold_v (2.8 V) and not below the cell's minimum of 2.5 V, found 2.4 V",
    ),
    "bad_limits_discharge_holds_below_zero": (
        10,
        "discharge.zero_v",
        "must lie below hold_v (2.55 V) and not below the cell's minimum of 2.5 V, found 2.6 V",
    ),
    "bad_limits_hot_is_allowed": (
        6,
        "charge.temperature_c.share",
        "must begin and end with 0",
    ),
    "bad_limits_no_rate": (17, "fall_per_s", "Expected `float` > 0.0, found 0"),
    "bad_limits_no_source": (1, "", "Object missing required field `source`"),
    "bad_limits_resistance_falls": (14, "resistance.at_c[1]", "must rise, found 0 after 25"),
    "bad_limits_resistance_lengths": (15, "resistance.factor", "has 3 entries for 2 points"),
    "bad_limits_resistance_zero": (15, "resistance.factor[1]", "Expected `float` > 0.0, found 0"),
    "bad_limits_rises_faster": (18, "rise_per_s", "must not exceed fall_per_s (1), found 2"),
    "bad_limits_share_above_one": (7, "charge.soc.share[0]", "Expected `float` <= 1.0, found 100"),
    "bad_limits_share_missing": (12, "discharge.soc.share", "has 2 entries for 3 points"),
    "bad_limits_soc_repeats": (7, "charge.soc.at[1]", "must rise, found 0.9 after 0.9"),
    "bad_limits_temperatures_fall": (
        11,
        "discharge.temperature_c.at[3]",
        "must rise, found 45 after 55",
    ),
    "bad_limits_unknown_key": (17, "derate", "Object contains unknown field `derate`, found 0.5"),
    "bad_limits_wide_hysteresis": (19, "hysteresis", "Expected `float` <= 0.2, found 0.5"),
}


def test_a_good_file_loads(cell: Cell) -> None:
    curves = load_curves(DATA / "good_limits.yaml", cell)
    assert curves.charge.hold_v == 4.15
    assert curves.resistance.value(12.5) == pytest.approx(3.0)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_wrong_file_is_refused_with_place_and_reason(name: str, cell: Cell) -> None:
    line, key, problem = REFUSED[name]
    with pytest.raises(ConfigurationError) as caught:
        load_curves(DATA / f"{name}.yaml", cell)
    assert (caught.value.line, caught.value.key) == (line, key)
    assert problem in caught.value.problem


def test_every_rejection_file_is_tested() -> None:
    assert {path.stem for path in DATA.glob("bad_*.yaml")} == REFUSED.keys()


def test_a_curve_is_linear_between_its_points_and_constant_outside() -> None:
    curve = Curve(at=[0.0, 10.0, 40.0], share=[0.0, 1.0, 0.5])
    assert [curve.value(x) for x in (-5.0, 0.0, 5.0, 25.0, 99.0)] == [0.0, 0.0, 0.5, 0.75, 0.5]
