# SPDX-License-Identifier: Apache-2.0
"""Venting is a rise against the seconds before it, not against another hill."""

from pathlib import Path

import pytest

from ibms_battery.pack import Pack
from ibms_edge.protection.judge import Judge
from ibms_edge.protection.table import load_table
from ibms_msgs.msg import EnvironmentMeasurement

S = 1_000_000_000


class Air:
    """The environment sensors alone, ten times per second."""

    def __init__(self, pack: Pack, config: Path) -> None:
        self.now_ns = 1_000 * S
        self.judge = Judge(pack, load_table(config / "diagnoses" / "nmc_3p.yaml"), self.now_ns)

    def run(self, seconds: float, pressure_pa: float, valid: int = 31) -> set[str]:
        """Names of what tripped."""
        tripped = set()
        for _ in range(round(seconds * 10)):
            self.now_ns += S // 10
            self.judge.take_environment(
                EnvironmentMeasurement(
                    boot_ns=self.now_ns, valid=valid, pressure_pa=pressure_pa, gas_ppm=5.0
                )
            )
            verdict = self.judge.judge(self.now_ns)
            tripped |= {fault.diagnosis.name for fault in verdict.set_now}
        return tripped


@pytest.fixture
def air(pack: Pack, config: Path) -> Air:
    made = Air(pack, config)
    assert "pressure_venting" not in made.run(30.0, 90_000.0)
    return made


def test_a_rise_within_seconds_is_venting(air: Air) -> None:
    assert "pressure_venting" in air.run(1.0, 94_000.0)


def test_a_descent_during_which_the_device_was_silent_is_none(air: Air) -> None:
    air.now_ns += 1_200 * S
    assert "pressure_venting" not in air.run(60.0, 101_000.0)
    assert "pressure_venting" in air.run(1.0, 105_000.0)  # it is judged again


def test_a_descent_during_which_the_pressure_was_not_measured_is_none(air: Air) -> None:
    without = 31 & ~EnvironmentMeasurement.VALID_PRESSURE
    air.run(60.0, 0.0, valid=without)
    assert "pressure_venting" not in air.run(60.0, 101_000.0)


def test_a_gap_of_a_few_seconds_hides_no_venting(air: Air) -> None:
    air.now_ns += 3 * S
    assert "pressure_venting" in air.run(1.0, 94_000.0)
