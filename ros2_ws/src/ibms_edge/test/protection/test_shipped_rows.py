# SPDX-License-Identifier: Apache-2.0
"""Every row of the car's table trips when its debounce ends, not a sample sooner, in each state.

The signals are set directly here; that a fault makes them is tested where safety.md says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import pytest

from ibms_battery.pack import load_pack
from ibms_edge.protection.engine import ProtectionEngine
from ibms_edge.protection.rows import ActiveFault
from ibms_edge.protection.signals import SIGNALS, Source
from ibms_edge.protection.table import Diagnosis, Direction, Level, Reaction, StateName, load_table

CONFIG = Path(__file__).resolve().parents[5] / "config"
PACK = load_pack(CONFIG / "packs" / "ev_96s.yaml")
TABLE = load_table(CONFIG / "diagnoses" / PACK.diagnoses)
STATES: tuple[StateName, ...] = get_args(StateName)

MS = 1_000_000
START_NS = 1_000_000 * MS
PERIOD_MS: dict[Source, int] = {
    "cells": 20,
    "pack": 10,
    "insulation": 100,
    "environment": 100,
    "switch": 10,
    "clock": 20,
}

INFORM, DERATE = Reaction.INFORM, Reaction.DERATE
ZERO_CURRENT, NOW = Reaction.OPEN_AFTER_ZERO_CURRENT, Reaction.OPEN_NOW
# Reaction at the safety limit; time from the first bad sample to the trip [ms].
ROWS: dict[str, tuple[Reaction, int]] = {
    "cell_overvoltage": (NOW, 40),
    "cell_undervoltage": (NOW, 40),
    "cell_voltage_missing": (NOW, 40),
    "cell_voltage_spread": (DERATE, 1_000),
    "open_sense_wire": (NOW, 40),
    "deep_discharge": (NOW, 500),
    "cell_imbalance": (INFORM, 60_000),
    "internal_short_early": (DERATE, 5_000),
    "cell_voltage_stuck": (ZERO_CURRENT, 180),
    "cell_overtemperature": (NOW, 500),
    "cell_undertemperature": (ZERO_CURRENT, 500),
    "cell_temperature_missing": (ZERO_CURRENT, 180),
    "cell_temperature_spread": (INFORM, 980),
    "charge_overtemperature": (ZERO_CURRENT, 500),
    "charge_undertemperature": (ZERO_CURRENT, 5_000),
    "temperature_rises_fast": (ZERO_CURRENT, 2_000),
    "thermal_runaway": (NOW, 3_000),
    "cell_temperature_stuck": (DERATE, 180),
    "charge_overcurrent": (NOW, 20),
    "discharge_overcurrent": (NOW, 20),
    "pack_current_missing": (NOW, 20),
    "short_circuit_discharge": (NOW, 20),
    "current_sensors_differ": (ZERO_CURRENT, 200),
    "current_does_not_fit": (DERATE, 5_000),
    "sum_of_cells": (INFORM, 480),
    "module_voltage": (ZERO_CURRENT, 180),
    "fuse_open": (NOW, 80),
    "pack_voltage_missing": (DERATE, 90),
    "link_voltage_missing": (INFORM, 90),
    "afe_fault": (NOW, 40),
    "afe_lost": (NOW, 40),
    "afe_frames_rejected": (INFORM, 80),
    "afe_clock": (INFORM, 0),
    "hardware_mismatch": (NOW, 40),
    "switch_count": (NOW, 20),
    "insulation_error": (ZERO_CURRENT, 200),
    "insulation_warning": (INFORM, 200),
    "insulation_not_measured": (INFORM, 5_000),
    "gas_detected": (NOW, 200),
    "gas_not_measured": (INFORM, 5_000),
    "humidity_high": (INFORM, 10_000),
    "pressure_venting": (NOW, 200),
    "shock": (INFORM, 0),
    "interlock_open": (NOW, 10),
    "emergency_stop": (NOW, 10),
    "crash": (NOW, 10),
    "switch_stays_open": (NOW, 10),
    "switch_stays_closed": (NOW, 10),
    "weld": (NOW, 2_000),
    "weld_negative": (NOW, 20),
    "precharge_slow": (NOW, 20),
    "precharge_fast": (NOW, 20),
    "precharge_short": (NOW, 20),
    "precharge_open": (NOW, 20),
    "cells_lost": (NOW, 0),
    "pack_sensor_lost": (NOW, 0),
    "insulation_monitor_lost": (INFORM, 0),
    "environment_lost": (INFORM, 0),
    "switch_state_lost": (NOW, 0),
    "redundant_current_lost": (DERATE, 0),
    "supervisor_lost": (INFORM, 0),
    "foreign_publisher": (NOW, 0),
    "loop_overrun": (INFORM, 0),
    "clock_jump": (INFORM, 0),
}
DIRECTIONS: dict[str, Direction] = {
    "charge_overtemperature": "charge",
    "charge_undertemperature": "charge",
}
# Inverse time: current [A] and the time that it may flow [s].
OVERLOADS: dict[str, dict[float, float]] = {
    "charge_overload": {140.0: 60.0, 180.0: 10.0, 250.0: 2.0},
    "discharge_overload": {-300.0: 60.0, -400.0: 10.0, -500.0: 2.0},
}


class Limit(NamedTuple):
    """One limit of one row, and values next to it."""

    row: Diagnosis
    level: Level
    inside: float
    beyond: float

    def __str__(self) -> str:
        return f"{self.row.name}-{self.level.name.lower()}"


def limits() -> Iterator[Limit]:
    for row in TABLE.diagnoses:
        for level, limit in row.limits.levels():
            if SIGNALS[row.signal].kind == "flag":
                yield Limit(row, level, 0.0, 1.0)
            else:
                step = 1e-6 * max(abs(limit), 1.0) * (1.0 if row.is_above else -1.0)
                yield Limit(row, level, limit - step, limit + step)


class Run:
    """The whole table, fed with samples of one signal; all others are unmeasured."""

    def __init__(
        self,
        limit: Limit,
        state: StateName | None = "drive",
        direction: Direction | None = None,
    ) -> None:
        self.limit = limit
        self.source = SIGNALS[limit.row.signal].source
        self.period_ms = PERIOD_MS[self.source]
        self.now_ns = START_NS
        self.engine = ProtectionEngine(TABLE, PACK)
        self.engine.set_context(state, direction)

    def feed(self, value: float, milliseconds: int) -> ActiveFault | None:
        """Bring samples with the last element at ``value`` for a time; the fault of the limit."""
        values = self.engine.values[self.limit.row.signal]
        values[:] = self.limit.inside
        values[-1] = value
        for _ in range(milliseconds // self.period_ms):
            self.now_ns += self.period_ms * MS
            self.engine.evaluate({self.source: self.now_ns}, self.now_ns)
        for fault in self.engine.active:
            if (fault.diagnosis, fault.level) == (self.limit.row, self.limit.level):
                return fault
        return None


LIMITS = [limit for limit in limits() if limit.row.name in ROWS]


def test_no_row_is_left_out() -> None:
    assert {row.name for row in TABLE.diagnoses} == {*ROWS, *OVERLOADS}
    assert {row.name: row.direction for row in TABLE.diagnoses if row.direction} == DIRECTIONS
    assert PERIOD_MS["cells"] == round(PACK.scan_period_s * 1_000)
    assert PERIOD_MS["pack"] == round(PACK.pack_sample_period_s * 1_000)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_a_row_trips_when_its_debounce_ends_and_not_a_sample_sooner(limit: Limit) -> None:
    reaction, debounce_ms = ROWS[limit.row.name]
    if limit.level is not Level.SAFETY:
        reaction = min(reaction, INFORM if limit.level is Level.OPERATING else DERATE)
    for state in STATES:
        run = Run(limit, state, DIRECTIONS.get(limit.row.name))
        assert run.feed(limit.inside, debounce_ms + 200) is None, state
        assert run.feed(limit.beyond, debounce_ms) is None, state  # the next sample ends it
        fault = run.feed(limit.beyond, run.period_ms)
        assert fault is not None, state
        assert fault.demand is reaction
        assert fault.value == limit.beyond
        count = len(run.engine.values[limit.row.signal])
        assert fault.element == (count - 1 if count > 1 else -1)


@pytest.mark.parametrize("limit", [one for one in LIMITS if one.row.name in DIRECTIONS], ids=str)
@pytest.mark.parametrize("direction", ["discharge", None])
def test_a_row_of_one_direction_rests_in_the_other(
    limit: Limit, direction: Direction | None
) -> None:
    run = Run(limit, "drive", direction)
    assert run.feed(limit.beyond, 20_000) is None


@pytest.mark.parametrize(
    ("name", "current_a", "allowed_s"),
    [(name, *point) for name, points in OVERLOADS.items() for point in points.items()],
)
def test_an_overload_trips_when_its_time_is_over(
    name: str, current_a: float, allowed_s: float
) -> None:
    (limit,) = (one for one in limits() if one.row.name == name)
    run = Run(limit)
    assert run.feed(limit.inside, 120_000) is None
    beyond_a = current_a * (1 + 1e-6)
    assert run.feed(beyond_a, round(0.99 * allowed_s * 1_000)) is None
    fault = run.feed(beyond_a, round(0.02 * allowed_s * 1_000))
    assert fault is not None
    assert fault.demand is ZERO_CURRENT


def test_unmeasured_values_trip_nothing() -> None:
    engine = ProtectionEngine(TABLE, PACK)
    assert all(np.isnan(values).all() for values in engine.values.values())
    for step in range(500):
        now_ns = START_NS + step * 10 * MS
        engine.evaluate(dict.fromkeys(PERIOD_MS, now_ns), now_ns)
    assert engine.active == []
