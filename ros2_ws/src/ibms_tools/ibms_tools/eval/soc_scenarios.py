# SPDX-License-Identifier: Apache-2.0
"""What an estimator is told wrongly in an evaluation: its start and the sensors."""

import itertools
from dataclasses import dataclass

import numpy as np

MIDDLE_SOC = 0.75
START_ERROR = 0.2
CURRENT_BIAS_A, VOLTAGE_OFFSET_V, TEMPERATURE_OFFSET_K = 0.11, 0.004, 5.0
GAIN_ERROR = 0.005


@dataclass(frozen=True)
class Scenario:
    """One way to be wrong.

    ``group`` names the column of the table; of the scenarios of one group the worst counts.
    """

    group: str
    start_error: float = 0.0
    start_soc: float | None = None  # true state of charge at which it starts; None: first sample
    current_bias_a: float = 0.0
    current_gain: float = 1.0
    voltage_offset_v: float = 0.0
    temperature_offset_k: float = 0.0
    voltage_noise_v: float = 0.0


KNOWN = Scenario("known")
FULL_TOO_LOW = Scenario("full_minus_20", start_error=-START_ERROR)
MIDDLE = tuple(
    Scenario("mid_20", start_error=error, start_soc=MIDDLE_SOC)
    for error in (-START_ERROR, START_ERROR)
)
SENSORS = tuple(
    Scenario(
        "sensors",
        current_bias_a=bias * CURRENT_BIAS_A,
        voltage_offset_v=offset * VOLTAGE_OFFSET_V,
        temperature_offset_k=warmer * TEMPERATURE_OFFSET_K,
    )
    for bias, offset, warmer in itertools.product((-1, 1), repeat=3)
)
PROTOCOL = (KNOWN, FULL_TOO_LOW, *MIDDLE, *SENSORS)
GROUPS = tuple(dict.fromkeys(scenario.group for scenario in PROTOCOL))


def draws(count: int, seed: int) -> tuple[Scenario, ...]:
    """Random combinations within the bounds of the protocol, half of them from a mid-drive start.

    Start errors are normal with half the protocol's error as sigma, all else is uniform.
    """
    random = np.random.default_rng(seed)

    def within(bound: float) -> float:
        return float(random.uniform(-bound, bound))

    found = []
    for index in range(count):
        middle = index % 2 == 1
        found.append(
            Scenario(
                "drawn_mid" if middle else "drawn_full",
                start_error=float(random.normal(0.0, START_ERROR / 2)) * (1.0 if middle else 0.5),
                start_soc=MIDDLE_SOC if middle else None,
                current_bias_a=within(CURRENT_BIAS_A),
                current_gain=1.0 + within(GAIN_ERROR),
                voltage_offset_v=within(VOLTAGE_OFFSET_V),
                temperature_offset_k=within(TEMPERATURE_OFFSET_K),
            )
        )
    return tuple(found)
