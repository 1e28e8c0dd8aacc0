# SPDX-License-Identifier: Apache-2.0
"""Open-circuit voltage and entropic coefficient from slow tests."""

from dataclasses import replace

import numpy as np
import pytest

from ibms_battery.identification.entropy import entropic_coefficient
from ibms_battery.identification.open_circuit import open_circuits
from ibms_battery.identification.plan import Source
from ibms_battery.identification.runs import Found
from ibms_battery.recordings import Recording, RecordingError

from .virtual_cell import CAPACITY_AH, GAP_V, ocv_v, slow_test

SOURCE = Source(files=["slow.csv"])
SOC = np.linspace(0.0, 1.0, 21)


def found(temperature_c: float = 25.0, rate: float = 0.05, path: str = "slow.csv") -> Found:
    test = slow_test(temperature_c, rate)
    recording = Recording(
        test.time_s,
        test.voltage_v,
        test.current_a,
        test.temperature_c,
        np.full(len(test.time_s), np.nan),
        0,
    )
    return Found(path, "slow", SOURCE, recording)


def cut(test: Found, part: slice) -> Found:
    whole = test.recording
    return replace(
        test,
        recording=Recording(
            whole.time_s[part],
            whole.voltage_v[part],
            whole.current_a[part],
            whole.temperature_c[part],
            whole.charge_ah[part],
            0,
        ),
    )


def test_the_mean_of_the_branches_is_the_open_circuit_voltage() -> None:
    reference, circuits = open_circuits([found()])
    assert circuits == [reference]
    assert reference.ended_full
    assert reference.discharge.charge_ah == pytest.approx(CAPACITY_AH, rel=0.002)
    inside = (reference.soc > 0.05) & (reference.soc < 0.95)
    assert np.abs(reference.ocv_v - ocv_v(reference.soc))[inside].max() < 0.003
    assert reference.half_gap_v[inside] == pytest.approx(GAP_V / 2, abs=0.003)


def test_a_charge_that_ended_early_is_laid_steps_over_steps() -> None:
    whole = found()
    flows = np.flatnonzero(whole.recording.current_a > 0.0)
    early = cut(whole, slice(0, int(flows[0] + 0.9 * len(flows))))
    # As if the tester had counted an eighth too little on charge.
    current_a = early.recording.current_a
    miscounted = replace(
        early.recording, current_a=np.where(current_a > 0.0, current_a / 1.125, current_a)
    )
    reference, _ = open_circuits([replace(early, recording=miscounted)])
    assert not reference.ended_full
    inside = (reference.soc > 0.1) & (reference.soc < 0.85)
    assert np.abs(reference.ocv_v - ocv_v(reference.soc))[inside].max() < 0.005


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ([cut(found(), slice(0, 1000))], "hold no charge"),
        ([cut(found(), slice(1250, None))], "hold no discharge"),
        ([found(rate=0.5)], "too fast for an open-circuit voltage"),
        ([cut(found(), slice(1190, 1300))], "has only"),
        ([cut(found(), slice(0, 1600))], "share too little charge"),
    ],
    ids=["no charge", "no discharge", "too fast", "few samples", "little in common"],
)
def test_a_test_that_is_none_is_refused(tests: list[Found], words: str) -> None:
    with pytest.raises(RecordingError) as caught:
        open_circuits(tests)
    assert words in str(caught.value)


def warmer(test: Found, slope_v_per_k: float) -> Found:
    shift_v = slope_v_per_k * (test.recording.temperature_c - 25.0)
    return replace(
        test, recording=replace(test.recording, voltage_v=test.recording.voltage_v + shift_v)
    )


def test_the_entropic_coefficient_is_the_slope_over_temperature() -> None:
    tests = [warmer(found(warm, path=f"{warm}"), 0.2e-3) for warm in (5.0, 15.0, 25.0, 45.0)]
    _, circuits = open_circuits(tests)
    slope, source = entropic_coefficient(circuits, SOC, "LFP")
    assert slope == pytest.approx(np.full(21, 0.2e-3), abs=1e-5)
    assert "5, 15, 25, 45 degC" in source


def test_tests_that_do_not_balance_or_vary_leave_it_to_the_literature() -> None:
    _, alike = open_circuits([found(24.0), found(27.5)])
    slope, source = entropic_coefficient(alike, SOC, "NMC811")
    assert "O'Regan" in source
    assert slope[2] == pytest.approx(-0.3e-3, rel=0.05)
    unbalanced = []
    for warm in (5.0, 25.0, 45.0):
        test = warmer(found(warm, path=f"{warm}"), 0.2e-3)
        current_a = test.recording.current_a
        more = replace(
            test.recording, current_a=np.where(current_a > 0, 1.07 * current_a, current_a)
        )
        unbalanced.append(replace(test, recording=more))
    _, circuits = open_circuits(unbalanced)
    assert "O'Regan" in entropic_coefficient(circuits, SOC, "NCA")[1]
    slope, source = entropic_coefficient(circuits, SOC, "LTO")
    assert (slope == 0.0).all()
    assert "not known" in source
