# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import rclpy
from rclpy.context import Context

from ibms_tools.fuzzing.standing_faults import FAULTS, StandingFault, Trial, is_masked, run_trial

PACK_FILE = Path(__file__).resolve().parents[5] / "config" / "packs" / "robot_12s.yaml"
CALM = Trial(FAULTS[0], drove=True, opening_s=0.1, cause=101)


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(args=[], context=context)
    yield context
    context.try_shutdown()


def hold(trial: Trial) -> None:
    assert trial.frames > 5_000
    assert trial.drove
    assert not trial.closed_unasked
    assert not trial.closed_again


def test_an_over_voltage_among_bad_frames_opens_in_time(context: Context) -> None:
    fault = StandingFault("cell_voltage", 3, 4.5)
    trial = run_trial(fault, PACK_FILE, context, Random(1))
    hold(trial)
    assert not is_masked(CALM, trial)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.name} {fault.value:g}")
def test_a_standing_fault_among_bad_frames_opens_as_without(
    fault: StandingFault, context: Context
) -> None:
    calm = run_trial(fault, PACK_FILE, context, None)
    disturbed = run_trial(fault, PACK_FILE, context, Random(2))
    hold(disturbed)
    assert not is_masked(calm, disturbed)


@pytest.mark.parametrize(
    ("change", "masked"),
    [
        ({}, False),
        ({"opening_s": 0.29}, False),
        ({"opening_s": 0.31}, True),
        ({"opening_s": None}, True),
        ({"cause": 102}, True),
        ({"opening_s": None, "opened_early": True}, False),
    ],
)
def test_what_counts_as_masked(change: dict[str, object], masked: bool) -> None:
    assert is_masked(CALM, replace(CALM, **change)) is masked  # type: ignore[arg-type]


def test_a_fault_that_opens_nothing_anyway_proves_nothing() -> None:
    with pytest.raises(ValueError, match="cell_voltage does not open"):
        is_masked(replace(CALM, opening_s=None), CALM)
