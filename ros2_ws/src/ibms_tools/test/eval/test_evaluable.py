# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ibms_edge.protection.signals import SIGNALS, Signal
from ibms_edge.protection.table import Diagnosis, load_table
from ibms_tools.eval.evaluable import _NEEDS, obstacle

from .conftest import made_up


def row(signal: Signal, **more: object) -> Diagnosis:
    return Diagnosis(1, "some", signal, "inform", "some text", above=0.5, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("signal", _NEEDS)
def test_a_complete_fast_recording_answers_all_that_follows_from_its_columns(
    signal: Signal,
) -> None:
    assert obstacle(row(signal), made_up(period_s=0.1)) is None


@pytest.mark.parametrize("signal", [name for name in SIGNALS if name not in _NEEDS])
def test_what_comes_from_other_devices_is_not_evaluable(signal: Signal) -> None:
    reason = obstacle(row(signal), made_up(period_s=0.1))
    assert reason is not None
    assert ("needs live nodes" in reason) == (SIGNALS[signal].source == "clock")


def test_a_signal_that_needs_a_faster_rate_is_named_with_both_periods() -> None:
    reason = obstacle(row("cell_internal_short"), made_up(period_s=30))
    assert reason == "needs a sample each 2 s, the recording has one each 30 s"


def test_rows_that_repeat_values_do_not_make_a_recording_fast() -> None:
    slow = made_up(period_s=1, refresh_s=20)
    assert "one each 20 s" in (obstacle(row("cell_internal_short"), slow) or "")
    assert "one each 20 s" in (obstacle(row("cell_voltage_stuck"), slow) or "")
    assert obstacle(row("pack_current"), slow) is None


def test_missing_columns_are_named() -> None:
    whole = made_up()
    nothing = np.full_like(whole.current_a, np.nan)
    no_current = replace(whole, current_a=nothing)
    assert obstacle(row("pack_current"), no_current) == "the recording does not hold current"
    assert obstacle(row("cell_voltage", direction="charge"), no_current) is not None
    assert obstacle(row("cell_voltage"), no_current) is None
    cold = replace(whole, temperature_c=np.full_like(whole.temperature_c, np.nan))
    assert obstacle(row("cell_temperature"), cold) == "the recording does not hold temperature"
    no_pack = replace(whole, pack_voltage_v=nothing)
    assert (
        obstacle(row("pack_voltage_ratio"), no_pack) == "the recording does not hold pack voltage"
    )
    single = replace(whole, voltage_v=whole.voltage_v[:, :1])
    assert (
        obstacle(row("cell_voltage_deviation"), single)
        == "the recording does not hold several cells"
    )


def test_a_diagnosis_of_some_pack_states_is_not_evaluable() -> None:
    assert "pack state" in (obstacle(row("cell_voltage", states=["precharge"]), made_up()) or "")


def test_most_of_the_shipped_table_is_evaluable_on_a_fast_recording(config: Path) -> None:
    table = load_table(config / "diagnoses" / "nmc.yaml")
    answered = {d.name for d in table.diagnoses if obstacle(d, made_up(period_s=0.1)) is None}
    assert {"cell_overvoltage", "cell_imbalance", "discharge_overload", "thermal_runaway"} <= (
        answered
    )
    assert not {"interlock_open", "insulation_error", "cells_lost"} & answered
