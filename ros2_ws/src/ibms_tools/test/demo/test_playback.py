# SPDX-License-Identifier: Apache-2.0
"""Tests of the comparison with a recording."""

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ibms_battery.recordings import Recording, RecordingError
from ibms_msgs.msg import CellStates, PackMeasurement, SwitchState
from ibms_tools.demo.playback import Playback

S = 1_000_000_000
FILE = Path("run.parquet")
CAPACITY_AH = 2.0
PERIOD_S = 0.01


@pytest.fixture
def recording() -> Recording:
    """Two hours at -1 A: the SOC falls by 0.5 per hour."""
    time_s = np.arange(0.0, 7201.0)
    flat = np.ones_like(time_s)
    return Recording(time_s, 3.7 * flat, -flat, 25.0 * flat, -time_s / 3600, 0)


def played(recording: Recording, from_s: float, soc_error: float, pace: float = 1.0) -> Playback:
    """The graph for 60 s after closing, if the device runs at ``pace`` and SOC has an error."""
    playback = Playback(recording, FILE, from_s, CAPACITY_AH, PERIOD_S)
    closed_ns, first_sample = 500 * S, 12_345
    for tenth in range(-20, 601):
        boot_ns = closed_ns + tenth * S // 10
        if tenth == 0:
            playback.on_switch(SwitchState(configuration="closing", boot_ns=closed_ns))
        count = first_sample + round(tenth * 10 * pace)
        # The newest sample is a little older than the scan.
        sample = PackMeasurement(sample_counter=count, boot_ns=boot_ns - 4_000_000)
        true = 1 - (from_s + max(tenth, 0) / 10 * pace) / 3600 / CAPACITY_AH
        cells = CellStates(boot_ns=boot_ns)
        cells.soc = array("f", [true + soc_error - 0.01, true + soc_error + 0.01])
        playback.on_cells(cells, sample)
    return playback


@pytest.mark.parametrize("pace", [1.0, 0.97])
def test_error_is_that_of_the_mean_at_the_recordings_own_time(
    recording: Recording, pace: float
) -> None:
    playback = played(recording, 600.0, 0.02, pace)
    assert playback.time_s[0] == pytest.approx(0.0, abs=0.01)
    assert playback.time_s[-1] == pytest.approx(60.0 * pace, abs=0.01)
    values = {result.name.rpartition(".")[2]: result.value for result in playback.results()}
    assert values["reference_start"] == pytest.approx(1 - 600 / 7200, abs=1e-5)
    assert values["reference_end"] == pytest.approx(1 - (600 + 60 * pace) / 7200, abs=1e-5)
    for name in ("rmse", "largest_error", "final_error"):
        assert values[name] == pytest.approx(0.02, abs=1e-5)


def test_ends_with_the_recording(recording: Recording) -> None:
    playback = played(recording, 7170.0, 0.0)
    assert playback.has_ended
    assert playback.time_s[-1] == pytest.approx(30.0, abs=0.11)
    assert not played(recording, 0.0, 0.0).has_ended


def test_without_closing_there_are_no_figures(recording: Recording) -> None:
    playback = Playback(recording, FILE, 0.0, CAPACITY_AH, PERIOD_S)
    playback.on_switch(SwitchState(configuration="precharge"))
    cells = CellStates()
    cells.soc = array("f", [0.5])
    playback.on_cells(cells, PackMeasurement())
    assert {result.value for result in playback.results()} == {None}


def test_cells_without_estimate_are_left_out(recording: Recording) -> None:
    playback = Playback(recording, FILE, 0.0, CAPACITY_AH, PERIOD_S)
    playback.on_switch(SwitchState(configuration="closed"))
    cells = CellStates()
    cells.soc = array("f", [float("nan")])
    playback.on_cells(cells, PackMeasurement())
    assert playback.soc == []


def test_refuses_what_cannot_be_compared(recording: Recording) -> None:
    with pytest.raises(RecordingError, match=r"run.parquet: lasts 7200 s, so --from 8000"):
        Playback(recording, FILE, 8000.0, CAPACITY_AH, PERIOD_S)
    without = replace(recording, charge_ah=np.full(7201, np.nan))
    with pytest.raises(RecordingError, match="no counted charge"):
        Playback(without, FILE, 0.0, CAPACITY_AH, PERIOD_S)
