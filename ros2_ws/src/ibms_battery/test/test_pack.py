# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import pytest

from ibms_battery.cell import load_cell
from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Fuse, MeltingPoint, Pack, load_pack

DATA = Path(__file__).parent / "data"

# file: line, key, words of the problem
REFUSED = {
    "bad_cell_lengths_differ": (10, "ocv_points_v", "as many points as soc_points"),
    "bad_cell_no_capacity": (4, "capacity_ah", "> 0.0, found 0"),
    "bad_cell_no_source": (2, "", "missing required field `source`"),
    "bad_cell_nominal_outside": (6, "nominal_voltage_v", "found 2.5, 4.25, 4.2 V"),
    "bad_cell_ocv_falls": (10, "ocv_points_v[1]", "found 2.9 after 3"),
    "bad_cell_soc_falls": (9, "soc_points[2]", "found 0.5 after 0.5"),
    "bad_cell_soc_in_percent": (9, "soc_points", "from 0 to 1, found 0 to 100"),
    "bad_cell_voltages_swapped": (6, "nominal_voltage_v", "found 4.3, 3.6, 4.2 V"),
    "bad_pack_break_current_zero": (
        17,
        "switching.switches[1].maximum_break_current_a",
        "> 0.0, found 0.0",
    ),
    "bad_pack_bypass_cell_twice": (
        30,
        "switching.bypasses[1].cells[1]",
        "cell 3 is bypassed twice, also by bypass 0",
    ),
    "bad_pack_bypass_closed_before": (
        29,
        "switching.bypasses[0].closes",
        "'main_positive' is closed in configuration 'closed' already",
    ),
    "bad_pack_bypass_in_part": (
        29,
        "switching.bypasses[0].opens",
        "configuration 'closed' closes only some of them",
    ),
    "bad_pack_bypass_no_cells": (29, "switching.bypasses[0].cells", "length >= 1"),
    "bad_pack_bypass_switch_twice": (
        30,
        "switching.bypasses[1]",
        "moves 'module', which bypass 0 moves already",
    ),
    "bad_pack_bypass_unknown_cell": (
        29,
        "switching.bypasses[0].cells[1]",
        "found cell 4, expected 0 to 3",
    ),
    "bad_pack_bypass_unknown_switch": (
        29,
        "switching.bypasses[0].closes[0]",
        "no switch is called 'beside'",
    ),
    "bad_pack_charger_no_current": (30, "charger.maximum_current_a", "> 0.0, found 0"),
    "bad_pack_charger_protocol": (30, "charger.protocol", "found 'chademo'"),
    "bad_pack_charger_voltage_missing": (30, "charger", "missing required field"),
    "bad_pack_fuse_curve_rises": (35, "fuse.melting_curve[1]", "found 240 A, 6 s after 80 A, 5 s"),
    "bad_pack_fuse_held_too_long": (32, "fuse.clearing_time_s", "<= 5.0, found 10.0"),
    "bad_pack_fuse_melts_when_rated": (34, "fuse.melting_curve[0]", "melts at 80 A"),
    "bad_pack_fuse_one_point": (33, "fuse.melting_curve", "length >= 2"),
    "bad_pack_fuse_too_slow": (
        17,
        "switching.switches[1].maximum_break_current_a",
        "does not clear within clearing_time_s (0.1 s)",
    ),
    "bad_pack_life_curve_rises": (
        17,
        "switching.switches[1].life_curve[1]",
        "found 100 A, 2000 after 10 A, 1000",
    ),
    "bad_pack_life_without_operations": (
        17,
        "switching.switches[1].life_curve[0].operations",
        ">= 1.0, found 0.5",
    ),
    "bad_pack_odd_direction": (17, "switching.switches[1].opens_first_at", "found 'drive'"),
    "bad_pack_precharged_and_discharged": (
        25,
        "switching.transitions[1]",
        "cannot be precharged and discharged",
    ),
    "bad_pack_string_without_tolerance": (
        25,
        "switching.transitions[1].requires_string",
        "missing required field `tolerance_v`",
    ),
    "bad_pack_strings_differ": (32, "strings[1].cells", "found 3, expected 1 as in the first"),
    "bad_pack_strings_incomplete": (30, "strings", "hold 4 cells together, expected series: 5"),
    "bad_pack_strings_overlap": (32, "strings[1].first_cell", "found 1, expected 2"),
    "bad_pack_strings_same_name": (32, "strings[1]", "a second string is called 'left'"),
    "bad_pack_unknown_string": (
        25,
        "switching.transitions[1].requires_string.name",
        "no string is called 'middle', expected one of left, right",
    ),
    "bad_pack_weld_test_too_short": (
        25,
        "switching.transitions[1].after_s",
        "the link takes 0.028 s to reach discharged_ratio",
    ),
    "bad_pack_equal_configurations": (
        22,
        "switching.configurations.closed",
        "the same switches as 'precharge'",
    ),
    "bad_pack_missing_key": (2, "", "missing required field `cell`"),
    "bad_pack_negative_pause": (31, "precharge.pause_s", ">= 0.0, found -1.0"),
    "bad_pack_no_attempts": (31, "precharge.attempts", ">= 1, found 0"),
    "bad_pack_no_cells": (5, "series", ">= 1, found 0"),
    "bad_pack_no_open": (19, "switching.configurations", "must hold 'open: []'"),
    "bad_pack_open_is_not_open": (19, "switching.configurations", "must hold 'open: []'"),
    "bad_pack_precharge_too_short": (29, "precharge.timeout_s", "take 0.14 s"),
    "bad_pack_ratio_out_of_range": (30, "precharge.complete_ratio", "< 1.0, found 1.0"),
    "bad_pack_repeated_switch": (17, "switching.switches[1]", "is called 'main_negative'"),
    "bad_pack_repeated_transition": (
        25,
        "switching.transitions[1]",
        "'open' to 'precharge' stands twice",
    ),
    "bad_pack_scan_too_slow": (9, "scan_period_s", "<= 1.0, found 20"),
    "bad_pack_sensor_out_of_range": (13, "sensor_of_cell[3]", "found sensor 2, expected 0 to 1"),
    "bad_pack_slow_opening": (18, "switching.switches[2].opening_time_s", "<= 0.1, found 0.5"),
    "bad_pack_switch_twice_in_configuration": (
        22,
        "switching.configurations.closed[1]",
        "'main_negative' stands twice",
    ),
    "bad_pack_too_few_sensors_of_cells": (13, "sensor_of_cell", "has 3 entries, expected one"),
    "bad_pack_transition_to_itself": (24, "switching.transitions[0]", "to itself"),
    "bad_pack_transition_to_unknown": (
        25,
        "switching.transitions[1]",
        "no configuration is called 'shut'",
    ),
    "bad_pack_unknown_key": (6, "series_count", "unknown field"),
    "bad_pack_unknown_switch": (
        22,
        "switching.configurations.closed[1]",
        "no switch is called 'main', expected one of main_negative",
    ),
    "bad_pack_upper_case_name": (2, "name", "found 'Small'"),
    "bad_pack_wrong_type": (6, "parallel", "found 'two'"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_wrong_description_is_refused_with_file_line_and_key(name: str) -> None:
    line, key, words = REFUSED[name]
    path = DATA / f"{name}.yaml"
    with pytest.raises(ConfigurationError) as caught:
        load_cell(path) if name.startswith("bad_cell") else load_pack(path)
    place = f"{path}:{line}: {key}: " if key else f"{path}:{line}: "
    assert str(caught.value).startswith(place)
    assert words in str(caught.value)


def test_every_bad_file_is_asserted_upon() -> None:
    assert {path.stem for path in DATA.glob("bad_*.yaml")} == set(REFUSED)


@pytest.fixture
def pack() -> Pack:
    return load_pack(DATA / "good_pack.yaml")


def test_masks_follow_the_order_of_the_switches(pack: Pack) -> None:
    masks = {name: pack.switching.mask(name) for name in pack.switching.configurations}
    assert masks == {"open": 0b000, "precharge": 0b101, "closed": 0b011}


def test_the_shortest_allowed_way_is_found_and_opening_is_always_allowed(pack: Pack) -> None:
    switching = pack.switching
    assert switching.route("open", "closed") == ["precharge", "closed"]
    assert switching.route("closed", "open") == ["open"]
    assert switching.route("closed", "closed") == []
    assert switching.route("closed", "precharge") is None
    assert switching.transition("precharge", "closed").requires_precharged


def test_sensors_are_spread_evenly_unless_given(pack: Pack) -> None:
    assert pack.temperature_sensor_of_cell() == [0, 0, 1, 1]
    spread = load_pack(Path(__file__).resolve().parents[4] / "config/packs/robot_12s.yaml")
    assert spread.temperature_sensor_of_cell() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("pack_v", "link_v", "complete"),
    [
        (14.0, 13.6, True),
        (14.0, 13.5, False),
        (14.0, 14.4, True),
        (14.0, 14.5, False),
        (4.1, 4.1, True),
        (3.9, 3.9, False),
        (0.0, 0.0, False),
        (-14.0, -14.0, False),
        (math.nan, 14.0, False),
        (14.0, math.nan, False),
        (math.inf, math.inf, False),
    ],
)
def test_precharge_is_complete_when_both_sides_are_near_each_other(
    pack: Pack, pack_v: float, link_v: float, complete: bool
) -> None:
    assert pack.precharge_is_complete(pack_v, link_v) is complete


def test_a_good_cell_loads() -> None:
    assert load_cell(DATA / "good_cell.yaml").capacity_ah == 3.0


@pytest.mark.parametrize(
    ("closed", "whole"),
    [
        (["series_1", "series_2", "series_3"], True),
        (["series_1", "bypass_2", "series_3", "main_negative"], True),
        (["bypass_1", "bypass_2", "bypass_3"], True),
        (["series_1", "series_3"], False),
        (["main_negative", "main_positive", "precharge"], False),
        ([], False),
    ],
)
def test_the_cells_add_up_to_a_voltage_only_where_no_module_is_left_open(
    closed: list[str], whole: bool
) -> None:
    config = Path(__file__).resolve().parents[4] / "config"
    switching = load_pack(config / "packs" / "robot_12s_modular.yaml").switching
    assert switching.is_whole(switching.mask_of(closed)) is whole


def test_a_pack_without_bypasses_is_always_whole(pack: Pack) -> None:
    assert pack.switching.is_whole(0)


@pytest.mark.parametrize(
    ("pack_v", "link_v", "discharged"),
    [
        (14.0, 0.0, True),
        (14.0, 7.0, True),
        (14.0, 7.1, False),
        (3.9, 0.0, False),
        (math.nan, 0.0, False),
        (14.0, math.nan, False),
    ],
)
def test_a_link_is_discharged_only_where_that_is_known(
    pack: Pack, pack_v: float, link_v: float, discharged: bool
) -> None:
    assert pack.link_is_discharged(pack_v, link_v) is discharged


def test_the_voltage_of_parallel_strings_is_that_of_one() -> None:
    pack = load_pack(DATA / "good_pack_strings.yaml")
    assert (pack.series, pack.groups_in_series) == (4, 2)
    assert pack.precharge_is_complete(7.4, 7.4)  # would be a wrong reading of four in series
    assert not pack.precharge_is_complete(1.9, 1.9)


FUSE = Fuse(
    rated_current_a=40.0,
    melting_curve=[MeltingPoint(80.0, 4.0), MeltingPoint(160.0, 1.0), MeltingPoint(320.0, 0.1)],
    clearing_time_s=1.0,
)


@pytest.mark.parametrize(
    ("current_a", "time_s"),
    [
        (0.0, math.inf),
        (-40.0, math.inf),
        (math.nan, math.inf),
        (60.0, 4.0),
        (-80.0, 4.0),
        (113.137, 2.0),  # half-way in the logarithm of both
        (160.0, 1.0),
        (-320.0, 0.1),
        (640.0, 0.025),  # constant I^2 t
    ],
)
def test_a_fuse_melts_by_its_curve(current_a: float, time_s: float) -> None:
    assert FUSE.melting_time_s(current_a) == pytest.approx(time_s, rel=1e-4)
