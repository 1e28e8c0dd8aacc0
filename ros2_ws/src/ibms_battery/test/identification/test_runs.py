# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.identification.plan import Gaps, Source
from ibms_battery.identification.runs import Found, find_recordings, make_run, resample
from ibms_battery.recordings import Recording, RecordingError

HEADER = (
    "path,col_time,col_voltage,col_current,col_temperature,col_ah,current_sign,"
    "dataset,test,temperature_C,role\n"
)
PULSES = """t,u,i,ah,clock
0,4.0,0,0,2020-01-01 00:00:00
1,3.9,-3,-0.001,2020-01-01 00:00:01
2,4.0,0,-0.001,2020-01-01 00:00:02
902,3.8,0,-0.251,2020-01-01 00:15:02
903,3.7,-3,-0.252,2020-01-01 00:15:03
"""
# Begins earlier and ends later than the gap; only what lies in the gap counts.
BETWEEN = """t,u,i,ah,clock
50,9.0,0,0,2019-12-31 23:59:10
170,3.7,-1,-0.02,2020-01-01 00:01:10
470,3.6,-1,-0.1,2020-01-01 00:06:10
770,3.7,0,-0.251,2020-01-01 00:11:10
1370,9.0,0,-0.252,2020-01-01 00:21:10
"""


def recording(charge_ah: list[float], step_s: float = 1.0) -> Recording:
    count = len(charge_ah)
    return Recording(
        time_s=step_s * np.arange(count, dtype=np.float64),
        voltage_v=np.full(count, 3.7),
        current_a=np.full(count, -3.0),
        temperature_c=np.full(count, 25.0),
        charge_ah=np.array(charge_ah),
        repeated=0,
    )


def test_steps_become_means_and_gaps_stay() -> None:
    fast = Recording(
        time_s=np.array([0.0, 0.4, 0.8, 1.2, 5.0]),
        voltage_v=np.array([1.0, 2.0, 3.0, 5.0, 7.0]),
        current_a=np.array([0.0, 3.0, 0.0, 2.0, 4.0]),
        temperature_c=np.full(5, 20.0),
        charge_ah=np.array([0.0, 1.0, 2.0, 3.0, 4.0]),
        repeated=0,
    )
    slow = resample(fast, 1.0)
    np.testing.assert_allclose(slow.time_s, [0.0, 1.0, 5.0])
    np.testing.assert_allclose(slow.voltage_v, [2.0, 5.0, 7.0])
    np.testing.assert_allclose(slow.current_a, [1.0, 2.0, 4.0])
    np.testing.assert_allclose(slow.charge_ah, [2.0, 3.0, 4.0])


def test_what_flows_in_a_pause_of_the_record_comes_from_the_counter() -> None:
    paused = recording([0.0, 0.0, -0.05], 60.0)
    run = make_run(Found("a", "a", Source(files=["a"], starting_soc=0.8), paused), 2.0)
    np.testing.assert_allclose(run.held_a, [-3.0, 0.0, -3.0])
    np.testing.assert_allclose(run.soc, [0.8, 0.8, 0.775])


def test_a_counter_that_contradicts_the_current_is_refused() -> None:
    falling = list(np.linspace(0.0, -3.0 * 99 / 3600.0, 100))
    source = Source(files=["a"])
    make_run(Found("a", "a", source, recording(falling)), 1.0)
    with pytest.raises(RecordingError, match=r"the charge counter moves by \+0\.082 A h"):
        make_run(Found("a", "a", source, recording([-value for value in falling])), 1.0)


def test_gaps_are_filled_by_the_wall_clock(tmp_path: Path) -> None:
    (tmp_path / "pulses.csv").write_text(PULSES, encoding="utf-8")
    (tmp_path / "between.csv").write_text(BETWEEN, encoding="utf-8")
    rows = "".join(
        f"{test}.csv,t,u,i,,ah,discharge_negative,mine,{test},10,identify\n"
        for test in ("pulses", "between")
    )
    (tmp_path / "index.csv").write_text(HEADER + rows, encoding="utf-8")
    source = Source(dataset="mine", tests=["pulses"], gaps=Gaps("between", "clock"))
    (found,) = find_recordings([source], tmp_path)
    np.testing.assert_allclose(found.recording.time_s, [0, 1, 2, 70, 370, 670, 902, 903])
    np.testing.assert_allclose(found.recording.voltage_v[3:6], [3.7, 3.6, 3.7])
    bad = Source(dataset="mine", tests=["pulses"], gaps=Gaps("between", "watch"))
    with pytest.raises(RecordingError, match="no column 'watch'"):
        find_recordings([bad], tmp_path)


def test_a_source_that_finds_nothing_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(HEADER, encoding="utf-8")
    with pytest.raises(RecordingError, match="no row of dataset 'mine' with test HPPC"):
        find_recordings([Source(dataset="mine", tests=["HPPC"])], tmp_path)
