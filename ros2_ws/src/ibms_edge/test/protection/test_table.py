# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_edge.protection.table import SOURCE_OF, Reaction, load_table

DATA = Path(__file__).parent / "data"

# file: line, key, words of the problem
REFUSED = {
    "bad_age_from_below": (12, "diagnoses[8]", "expected 'above' with a time"),
    "bad_flag_from_below": (6, "diagnoses[2]", "expected 'above: 0.5'"),
    "bad_flag_never_trips": (6, "diagnoses[2]", "expected 'above: 0.5'"),
    "bad_identifier_out_of_range": (4, "diagnoses[0].id", "<= 65535"),
    "bad_limit_is_text": (4, "diagnoses[0].above", "found 'high'"),
    "bad_limit_not_finite": (4, "diagnoses[0].above", "found nan, expected a finite number"),
    "bad_negative_hysteresis": (4, "diagnoses[0].hysteresis", ">= 0"),
    "bad_no_diagnoses": (3, "diagnoses", "length >= 1"),
    "bad_no_limit": (4, "diagnoses[0]", "exactly one of 'above' and 'below'"),
    "bad_no_samples": (4, "diagnoses[0].samples", ">= 1"),
    "bad_no_text": (4, "diagnoses[0].text", "length >= 3"),
    "bad_overvoltage_missing": (3, "diagnoses", "'cell_voltage' is above a limit"),
    "bad_overvoltage_only_informs": (3, "diagnoses", "'cell_voltage' is above a limit"),
    "bad_repeated_identifier": (5, "diagnoses[1].id", "1 is already 'high'"),
    "bad_repeated_name": (5, "diagnoses[1].name", "'high' stands twice"),
    "bad_silence_missing": (3, "diagnoses", "'cells_age' is above a limit"),
    "bad_two_limits": (4, "diagnoses[0]", "exactly one of 'above' and 'below'"),
    "bad_unknown_key": (4, "diagnoses[0].debounce", "unknown field"),
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
    assert {path.stem for path in DATA.glob("bad_*.yaml")} == set(REFUSED)


def test_the_smallest_table_loads_with_its_defaults() -> None:
    table = load_table(DATA / "good_smallest.yaml")
    high = table.diagnoses[0]
    assert high.demand is Reaction.OPEN_NOW
    assert (high.samples, high.time_s, high.latched) == (1, 0.0, True)


def test_the_checksum_stands_for_what_is_judged_by(tmp_path: Path) -> None:
    text = (DATA / "good_smallest.yaml").read_text()
    table = load_table(DATA / "good_smallest.yaml")
    other = tmp_path / "other.yaml"
    other.write_text("# another comment\n" + text)
    assert load_table(other).checksum() == table.checksum()
    other.write_text(text.replace("4.25", "4.26"))
    assert load_table(other).checksum() != table.checksum()


def test_every_signal_has_a_source_and_every_shipped_row_a_signal(config: Path) -> None:
    for path in sorted((config / "diagnoses").glob("*.yaml")):
        assert all(row.signal in SOURCE_OF for row in load_table(path).diagnoses)
