# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.configuration import ConfigurationError
from ibms_sim.load.schedules import KM_H_TO_M_S, MPH_TO_M_S, load_profile, load_schedule

MILE_M = 1609.344


# Published totals: US EPA, Dynamometer Drive Schedules; UN GTR 15, Annex 1.
@pytest.mark.parametrize(
    ("name", "duration_s", "distance_m", "highest_m_s"),
    [
        ("udds", 1369, 7.45 * MILE_M, 56.7 * MPH_TO_M_S),
        ("us06", 600, 8.01 * MILE_M, 80.3 * MPH_TO_M_S),
        ("wltc_class_3b", 1800, 23266, 131.3 * KM_H_TO_M_S),
    ],
)
def test_schedules_have_their_published_totals(
    config: Path, name: str, duration_s: float, distance_m: float, highest_m_s: float
) -> None:
    schedule = load_schedule(config / "simulation" / "schedules" / f"{name}.csv")
    assert schedule.duration_s == duration_s
    assert np.trapezoid(schedule.values, schedule.time_s) == pytest.approx(distance_m, rel=1e-3)
    assert schedule.values.max() == pytest.approx(highest_m_s)
    assert schedule.values[0] == schedule.values[-1] == 0


def test_repeats_and_interpolates(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("# made up\ntime_s,current_a\n5,0\n7,-4\n9,0\n", encoding="utf-8")
    profile = load_profile(file)
    assert profile.at(1.0) == pytest.approx(-2.0)
    assert profile.at(4.0 + 2.0) == pytest.approx(-4.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("time_s,amps\n0,1\n", "p.csv:1: header: found time_s, amps, expected time_s and one of"),
        ("time_s,current_a\n0,1\n", "fewer than two rows"),
        ("time_s,current_a\n0,1\n0,2\n", "p.csv:3: found '0,2', expected finite values and rising"),
        ("time_s,current_a\n0,1\n1,\n", "p.csv:3: found '1,', expected numbers"),
        ("time_s,current_a\n0,1\n1\n", "p.csv:3: found '1', expected numbers"),
        ("# c\ntime_s,current_a\n0,1\n1,nan\n", "p.csv:4: found '1,nan'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_profile(file)
    assert words in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_profile(tmp_path / "none.csv")
