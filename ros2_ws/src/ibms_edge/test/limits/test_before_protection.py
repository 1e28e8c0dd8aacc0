# SPDX-License-Identifier: Apache-2.0
"""A load that follows the limits never brings the cells to where protection reacts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ibms_battery import configuration
from ibms_battery.cell import load_cell
from ibms_battery.pack import load_pack
from ibms_edge.limits.curves import load_curves
from ibms_edge.limits.power_limits import CellsNow, PowerLimits
from ibms_edge.protection.table import Diagnosis, Reaction, load_table
from ibms_sim.cells.parameters import CellParameters
from ibms_sim.cells.reduced import ReducedCells
from ibms_sim.cells.stack import ModelStack
from ibms_sim.cells.thermal import Actuation, ThermalNetwork
from ibms_sim.configuration import Thermal

CONFIG = Path(__file__).resolve().parents[5] / "config"
PACKS = sorted((CONFIG / "packs").glob("*.yaml"))
PACK = load_pack(CONFIG / "packs" / "robot_12s.yaml")
CELL = load_cell(CONFIG / "cells" / f"{PACK.cell}.yaml")
CURVES = load_curves(CONFIG / "limits" / f"{PACK.cell}.yaml", CELL)
TABLE = load_table(CONFIG / "diagnoses" / PACK.diagnoses)
MODEL = configuration.load(CONFIG / "simulation" / "cells" / "lg_m50.yaml", CellParameters)

STEP_S = 0.1
SENT_ON_S = 0.3  # a load acts on limits that are as old as they may be at most
MEAN_TURN_S = 8.0
NOISE_V, NOISE_A = 0.001, 0.1


def first_effect(row: Diagnosis) -> float:
    """The weakest limit of a diagnosis that reduces or opens."""
    return next(
        limit for level, limit in row.limits.levels() if row.demand_at(level) >= Reaction.DERATE
    )


def judged(row: Diagnosis, signal: str, direction: str, state: str) -> bool:
    """Whether a row reacts to a signal while current flows in a direction."""
    return (
        row.signal == signal
        and row.demand >= Reaction.DERATE
        and row.direction in (None, direction)
        and (not row.states or state in row.states)
    )


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.stem)
def test_derating_ends_at_or_before_the_recommended_level(path: Path) -> None:
    pack = load_pack(path)
    cell = load_cell(CONFIG / "cells" / f"{pack.cell}.yaml")
    curves = load_curves(CONFIG / "limits" / f"{pack.cell}.yaml", cell)
    table = load_table(CONFIG / "diagnoses" / pack.diagnoses)
    checked = set()
    for name, direction, state, rated_a in (
        ("charge", curves.charge, "charge", cell.maximum_charge_current_a),
        ("discharge", curves.discharge, "drive", cell.maximum_discharge_current_a),
    ):
        span = direction.temperature_c
        lowest_c = max(
            at for at, share in zip(span.at, span.share, strict=True) if at < 20 and not share
        )
        highest_c = min(
            at for at, share in zip(span.at, span.share, strict=True) if at > 20 and not share
        )
        for row in table.diagnoses:
            limit = first_effect(row) if row.demand >= Reaction.DERATE else row.limits.safety
            if judged(row, "cell_temperature", name, state):
                assert highest_c <= limit if row.is_above else lowest_c >= limit, row.name
                checked.add((name, "temperature", row.is_above))
            if judged(row, "cell_voltage", name, state) and row.is_above == (name == "charge"):
                assert direction.zero_v <= limit if row.is_above else direction.zero_v >= limit
                checked.add((name, "voltage", row.is_above))
            if judged(row, "pack_current", name, state) and row.is_above == (name == "charge"):
                assert rated_a * pack.parallel <= abs(limit), row.name
                checked.add((name, "current", row.is_above))
    assert checked == {
        ("charge", "temperature", True),
        ("charge", "temperature", False),
        ("discharge", "temperature", True),
        ("discharge", "temperature", False),
        ("charge", "voltage", True),
        ("discharge", "voltage", False),
        ("charge", "current", True),
        ("discharge", "current", False),
    }


class ClosedLoop:
    """The reduced model of a pack, its limits, and a load that draws all that they allow.

    ``pauses``: it does so in turns with nothing, from one step to the next.
    """

    def __init__(self, soc: float, temperature_c: float, seed: int, pauses: bool = True) -> None:
        self._random = np.random.default_rng(seed)
        spread = [self._random.normal(1.0, width, PACK.series) for width in (0.01, 0.03)]
        socs = np.clip(soc + self._random.normal(0.0, 0.01, PACK.series), 0.005, 0.995)
        bank = ReducedCells(MODEL, socs, spread[0], spread[1], STEP_S)
        thermal = Thermal(ambient_temperature_c=temperature_c)
        network = ThermalNetwork(PACK, thermal, MODEL.heat_capacity_j_k, temperature_c)
        self.stack = ModelStack(bank, network, PACK, np.zeros(PACK.series), STEP_S)
        self._limits = PowerLimits(CELL, PACK.parallel, CURVES)
        self._nothing = np.zeros(PACK.series)
        self._pauses = pauses
        self.most_a = 0.0

    def run(self, charging: bool, duration_s: float) -> None:
        """Draw what is allowed; every diagnosis that derates or opens must stay untouched."""
        current_a, sent, draws = 0.0, [0.0] * round(SENT_ON_S / STEP_S), True
        for step in range(round(duration_s / STEP_S)):
            stack = self.stack
            noise = self._random.normal(0.0, NOISE_V, PACK.series)
            seen = CellsNow(
                voltage_v=stack.voltage_v + noise,
                temperature_c=stack.temperature_c,
                soc=np.full(PACK.series, np.nan),  # the voltage alone must do
                resistance_ohm=np.full(PACK.series, np.nan),
                current_a=current_a + float(self._random.normal(0.0, NOISE_A)),
            )
            limits = self._limits.update(seen, False, False, step * 100_000_000)
            sent.append(limits.charge_current_a if charging else -limits.discharge_current_a)
            current_a = sent.pop(0) if draws else 0.0
            if self._pauses and self._random.random() < STEP_S / MEAN_TURN_S:
                draws = not draws
            self.most_a = max(self.most_a, abs(current_a))
            everywhere_a = np.full(PACK.series, current_a)
            stack.step(everywhere_a, self._nothing, self._nothing, Actuation(), 0.0)
            self._check(charging, current_a)

    def _check(self, charging: bool, current_a: float) -> None:
        name, state = ("charge", "charge") if charging else ("discharge", "drive")
        values = {
            "cell_voltage": (self.stack.voltage_v.min(), self.stack.voltage_v.max()),
            "pack_current": (current_a, current_a),
        }
        if abs(current_a) > TABLE.signals.flowing_current_a:
            temperatures = self.stack.temperature_c
            values["cell_temperature"] = (temperatures.min(), temperatures.max())
        for row in TABLE.diagnoses:
            if row.signal in values and judged(row, row.signal, name, state):
                low, high = values[row.signal]
                limit = first_effect(row)
                good = high <= limit if row.is_above else low >= limit
                assert good, f"{row.name}: {low:.4f} to {high:.4f} at {current_a:.2f} A"


@example(soc=0.03, temperature_c=-15.0, seed=1)
@example(soc=0.03, temperature_c=25.0, seed=1)
@example(soc=0.6, temperature_c=53.0, seed=1)
@example(soc=0.6, temperature_c=-23.0, seed=1)
@given(
    soc=st.one_of(st.floats(0.01, 0.15), st.floats(0.15, 0.95)),
    temperature_c=st.floats(-25.0, 54.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=4, deadline=None)
def test_discharge_at_the_limit(soc: float, temperature_c: float, seed: int) -> None:
    ClosedLoop(soc, temperature_c, seed).run(charging=False, duration_s=100.0)


@example(soc=0.97, temperature_c=2.0, seed=1)
@example(soc=0.95, temperature_c=25.0, seed=1)
@example(soc=0.6, temperature_c=43.0, seed=1)
@example(soc=0.6, temperature_c=-5.0, seed=1)
@given(
    soc=st.one_of(st.floats(0.85, 0.98), st.floats(0.05, 0.85)),
    temperature_c=st.floats(-10.0, 46.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=4, deadline=None)
def test_charge_at_the_limit(soc: float, temperature_c: float, seed: int) -> None:
    ClosedLoop(soc, temperature_c, seed).run(charging=True, duration_s=100.0)


def test_the_pack_gives_its_rating_in_the_middle() -> None:
    """Limits that forbid everything would pass the tests above."""
    loop = ClosedLoop(0.6, 25.0, 1, pauses=False)
    loop.run(charging=False, duration_s=30.0)
    assert loop.most_a > 0.99 * CELL.maximum_discharge_current_a * PACK.parallel
    loop = ClosedLoop(0.5, 25.0, 1, pauses=False)
    loop.run(charging=True, duration_s=30.0)
    assert loop.most_a > 0.99 * CELL.maximum_charge_current_a * PACK.parallel


def test_a_charge_ends_full_and_a_discharge_empty() -> None:
    full = ClosedLoop(0.965, 25.0, 2, pauses=False)
    full.run(charging=True, duration_s=700.0)
    assert full.stack.bank.soc.max() > 0.97
    empty = ClosedLoop(0.04, 25.0, 2, pauses=False)
    empty.run(charging=False, duration_s=400.0)
    assert empty.stack.bank.soc.min() < 0.02


@pytest.mark.long
@pytest.mark.parametrize("temperature_c", range(-24, 56, 4))
@pytest.mark.parametrize("charging", [False, True], ids=["discharge", "charge"])
def test_everywhere(charging: bool, temperature_c: int) -> None:
    for number, soc in enumerate((0.01, 0.04, 0.12, 0.5, 0.88, 0.94, 0.97, 0.99)):
        ClosedLoop(soc, float(temperature_c), number).run(charging, duration_s=200.0)
