# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_edge.protection.signals import SIGNALS
from ibms_edge.protection.table import Reaction, load_table

DATA = Path(__file__).parent / "data"

# file: line, key, words of the problem
REFUSED = {
    "bad_base_leaves_cells_unguarded": (2, "diagnoses", "'cell_voltage' is above a limit"),
    "bad_base_renames": (5, "changes.high.id", "stays as in the base"),
    "bad_base_unknown_row": (5, "changes.higher", "has no diagnosis 'higher'"),
    "bad_base_unknown_row_left_out": (4, "without[1]", "has no diagnosis 'lower'"),
    "bad_base_wrong_change": (5, "changes.high", "got `str` - at `$.above`"),
    "bad_changes_without_base": (3, "changes", "needs a 'base'"),
    "bad_curve_of_cells": (4, "diagnoses[0].curve", "of the pack as a whole"),
    "bad_curve_of_one_point": (9, "diagnoses[5].curve", "two or more points"),
    "bad_curve_rises": (9, "diagnoses[5].curve", "shorter times"),
    "bad_curve_starts_elsewhere": (9, "diagnoses[5].curve", "must begin at the limit 250"),
    "bad_isolates_a_sensor": (7, "diagnoses[3].reaction", "only cells can be isolated"),
    "bad_levels_fall": (4, "diagnoses[0].above", "safety limit 4.25 must lie beyond"),
    "bad_levels_without_safety": (4, "diagnoses[0].above", "missing required field `safety`"),
    "bad_lockout_with_levels": (4, "diagnoses[0].lockout", "a lock-out has one limit"),
    "bad_lockout_not_latched": (4, "diagnoses[0].lockout", "a lock-out is latched"),
    "bad_one_sample_of_a_flag": (6, "diagnoses[2].samples", "at least 2 fresh samples"),
    "bad_overvoltage_only_in_drive": (3, "diagnoses", "in every state"),
    "bad_two_samples": (4, "diagnoses[0].samples", "at least 3 fresh samples"),
    "bad_unknown_state": (4, "diagnoses[0].states[0]", "found 'flying'"),
    "bad_age_from_below": (12, "diagnoses[8]", "expected 'above' with a time"),
    "bad_flag_from_below": (6, "diagnoses[2]", "expected 'above: 0.5'"),
    "bad_flag_never_trips": (6, "diagnoses[2]", "expected 'above: 0.5'"),
    "bad_identifier_out_of_range": (4, "diagnoses[0].id", "<= 65535"),
    "bad_limit_is_text": (4, "diagnoses[0].above", "found 'high'"),
    "bad_limit_not_finite": (4, "diagnoses[0].above", "found nan, expected a finite number"),
    "bad_negative_hysteresis": (4, "diagnoses[0].hysteresis", ">= 0"),
    "bad_no_diagnoses": (3, "diagnoses", "no diagnosis opens the pack in every state"),
    "bad_no_limit": (4, "diagnoses[0]", "exactly one of 'above' and 'below'"),
    "bad_no_samples": (4, "diagnoses[0].samples", ">= 1"),
    "bad_no_text": (4, "diagnoses[0].text", "length >= 3"),
    "bad_overvoltage_missing": (3, "diagnoses", "'cell_voltage' is above a limit"),
    "bad_overvoltage_only_informs": (3, "diagnoses", "'cell_voltage' is above a limit"),
    "bad_repeated_identifier": (5, "diagnoses[1].id", "1 is already 'high'"),
    "bad_repeated_name": (5, "diagnoses[1].name", "'high' stands twice"),
    "bad_silence_missing": (3, "diagnoses", "'cells_age' is above a limit"),
    "bad_two_limits": (4, "diagnoses[0]", "exactly one of 'above' and 'below'"),
    "bad_unknown_key": (4, "diagnoses[0].debouncing", "unknown field"),
    "bad_unknown_reaction": (4, "diagnoses[0].reaction", "found 'explode'"),
    "bad_unknown_signal": (4, "diagnoses[0].signal", "found 'cell_volts'"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_wrong_table_is_refused_with_file_line_and_key(name: str) -> None:
    line, key, words = REFUSED[name]
    path = DATA / f"{name}.yaml"
    with pytest.raises(ConfigurationError) as caught:
        load_table(path)
    assert str(caught.value).startswith(f"{path}:{line}: {key}: ")
    assert words in str(caught.value)


def test_every_bad_file_is_asserted_upon() -> None:
    files = {path.stem for path in DATA.glob("bad_*.yaml")}
    assert files == {*REFUSED, "bad_base_of_itself"}


def test_the_smallest_table_loads_with_its_defaults() -> None:
    table = load_table(DATA / "good_smallest.yaml")
    high = table.diagnoses[0]
    assert high.demand is Reaction.OPEN_NOW
    assert (high.samples, high.time_s, high.latched) == (3, 0.0, True)


def test_the_checksum_stands_for_what_is_judged_by(tmp_path: Path) -> None:
    text = (DATA / "good_smallest.yaml").read_text()
    table = load_table(DATA / "good_smallest.yaml")
    other = tmp_path / "other.yaml"
    other.write_text("# another comment\n" + text)
    assert load_table(other).checksum() == table.checksum()
    other.write_text(text.replace("4.25", "4.26"))
    assert load_table(other).checksum() != table.checksum()


def test_a_table_on_a_base_differs_only_where_it_says() -> None:
    base, table = load_table(DATA / "good_smallest.yaml"), load_table(DATA / "good_based.yaml")
    assert [row.id for row in table.diagnoses] == [row.id for row in base.diagnoses]
    assert [row for row in table.diagnoses if row not in base.diagnoses] == [table.named("high")]
    high = table.named("high")
    assert high is not None
    assert high.limits.safety == 4.3


def test_a_base_may_have_a_base_but_not_itself() -> None:
    table = load_table(DATA / "good_based_twice.yaml")
    limits = {row.name: row.limits.safety for row in table.diagnoses}
    assert (limits["high"], limits["low"]) == (4.3, 2.5)
    with pytest.raises(ConfigurationError, match="is based on this table itself"):
        load_table(DATA / "bad_base_of_itself.yaml")


def test_every_shipped_table_loads(config: Path) -> None:
    paths = sorted((config / "diagnoses").glob("*.yaml"))
    assert len(paths) >= 5
    for path in paths:
        assert len(load_table(path).diagnoses) >= 11


def test_every_shipped_pack_judges_every_signal(config: Path) -> None:
    """What the catalogue offers is used by the car's table; else nobody would notice it break."""
    used = {row.signal for row in load_table(config / "diagnoses" / "nmc.yaml").diagnoses}
    assert set(SIGNALS) - used == {"insulation_resistance"}  # for packs without voltage sensor
