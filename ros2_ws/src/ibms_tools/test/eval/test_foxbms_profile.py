# SPDX-License-Identifier: Apache-2.0
"""Limits and diagnosis counters of foxBMS 2 as one of our tables: it trips and clears as foxBMS.

What foxBMS does (its ``diag.c`` and ``soa.c``, v1.11.0): a bad call counts one up, a good one one
down, at N bad ones more than good ones the error is set and the counter rests, at 0 it is cleared.
Voltages and temperatures are bad from their limit on, currents beyond it; values are integers.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from ibms_battery import configuration
from ibms_battery.configuration import ConfigurationError
from ibms_battery.pack import Pack, Switch, Switching
from ibms_edge.protection.engine import ProtectionEngine
from ibms_edge.protection.signals import SIGNALS, Signal
from ibms_edge.protection.table import DiagnosisTable, load_table

ROOT = Path(__file__).resolve().parents[5]
DATA = Path(os.environ.get("IBMS_DATA", ROOT.parent / "shared" / "data"))
FOLDER = DATA / "bms_reference_vectors" / "foxbms"

PACK = Pack(
    name="one_cell",
    description="",
    cell="any",
    series=1,
    parallel=1,
    temperature_sensors=1,
    modules=1,
    scan_period_s=0.01,
    pack_sample_period_s=0.01,
    can_map="",
    diagnoses="",
    switching=Switching([Switch("main")], {"open": []}, []),
)
CALL_NS = 10_000_000
REACTIONS = {"FATAL_ERROR": "open_now", "WARNING": "derate", "INFO": "inform"}
# An entry whose device we have not: the calls are what counts, so any flag can stand for it.
STAND_IN: Signal = "interlock_open"


@dataclass(frozen=True)
class Limit:
    """A limit as foxBMS compares with it, in integers of ``unit``."""

    signal: Signal
    raw: int
    unit: float
    upwards: bool
    inclusive: bool
    direction: str | None = None

    def is_bad(self, raw: int) -> bool:
        """The comparison of foxBMS."""
        if raw == self.raw:
            return self.inclusive
        return (raw > self.raw) == self.upwards

    @property
    def row(self) -> dict[str, Any]:
        """Ours; half a step before an inclusive one, as beyond ours is bad."""
        towards = (-0.5 if self.upwards else 0.5) if self.inclusive else 0.0
        limit = {"above" if self.upwards else "below": (self.raw + towards) * self.unit}
        return {**limit, **({"direction": self.direction} if self.direction else {})}


def entries() -> dict[str, dict[str, str]]:
    """The 85 entries by name."""
    if not (FOLDER / "diag_table.csv").is_file():
        return {}
    with (FOLDER / "diag_table.csv").open() as stream:
        return {row["diag_id"].removeprefix("DIAG_ID_"): row for row in csv.DictReader(stream)}


ENTRIES = entries()


def limit_of(name: str) -> Limit | None:
    """The limit of an entry that compares a cell's value, from ``cell_limits.json``."""
    limits: dict[str, int] = json.loads((FOLDER / "cell_limits.json").read_text())["limits"]
    words, level = name.rsplit("_", 1)
    if words in ("CELL_VOLTAGE_OVERVOLTAGE", "CELL_VOLTAGE_UNDERVOLTAGE"):
        upwards = "OVER" in words
        key = f"BC_VOLTAGE_{'MAX' if upwards else 'MIN'}_{level}_mV"
        return Limit("cell_voltage", limits[key], 1e-3, upwards, True)
    if words.startswith("TEMP_"):
        upwards, way = "OVER" in words, words.rsplit("_", 1)[1]
        key = f"BC_TEMPERATURE_{'MAX' if upwards else 'MIN'}_{way}_{level}_ddegC"
        return Limit("cell_temperature", limits[key], 0.1, upwards, True, way.lower())
    if words in ("OVERCURRENT_CHARGE_CELL", "OVERCURRENT_DISCHARGE_CELL"):
        way = words.split("_")[1]
        raw = limits[f"BC_CURRENT_MAX_{way}_{level}_mA"]
        charges = way == "CHARGE"  # their magnitudes have our sign of the current
        return Limit("pack_current", raw if charges else -raw, 1e-3, charges, False)
    return None


def table_rows(names: list[str]) -> list[dict[str, Any]]:
    """Rows of a table of ours."""
    rows = []
    for number, name in enumerate(names, start=1):
        limit = limit_of(name)
        rows.append(
            {
                "id": number,
                "name": name.lower(),
                "signal": limit.signal if limit else STAND_IN,
                **(limit.row if limit else {"above": 0.5}),
                "debounce": "counter",
                "samples": int(ENTRIES[name]["events_to_trip"]),
                "reaction": REACTIONS[ENTRIES[name]["severity"]],
                "latched": False,
                "text": name.lower().replace("_", " "),
            }
        )
    return rows


def load(rows: list[dict[str, Any]], folder: Path) -> DiagnosisTable:
    """Write and read them as a file."""
    path = folder / "foxbms.yaml"
    path.write_text(yaml.safe_dump({"description": "foxBMS 2 v1.11.0", "diagnoses": rows}))
    return configuration.convert(configuration.read(path), DiagnosisTable)


class ReferenceCounter:
    """The counter of foxBMS, written apart from the engine."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.count = self.trips = self.clears = 0
        self.is_set = False

    def call(self, bad: bool) -> None:
        if bad:
            self.count = min(self.count + 1, self.events)
            if self.count == self.events and not self.is_set:
                self.is_set = True
                self.trips += 1
        elif self.count > 0:
            self.count -= 1
            if self.count == 0 and self.is_set:
                self.is_set = False
                self.clears += 1


def calls(events: int, random: Random) -> list[bool]:
    """Good and bad calls in stretches, so that every counter trips, wavers and clears."""
    sequence: list[bool] = []
    for share in (0.3, 1.0, 0.5, 0.0, 0.9, 1.0, 0.5, 0.0):
        length = random.randint(events + 5, events + events // 2 + 10)
        sequence += [random.random() < share for _ in range(length)]
    return sequence


class Run:
    """An engine with its references, called together."""

    def __init__(self, table: DiagnosisTable, names: list[str], direction: str | None) -> None:
        self.engine = ProtectionEngine(table, PACK)
        self.engine.set_context("drive", direction)  # type: ignore[arg-type]
        self.references = {
            name.lower(): ReferenceCounter(int(ENTRIES[name]["events_to_trip"])) for name in names
        }
        self.trips = dict.fromkeys(self.references, 0)
        self.clears = dict.fromkeys(self.references, 0)
        self._now_ns = 0

    def call(self, values: dict[Signal, float], bad: dict[str, bool]) -> None:
        """One call of all, and the comparison."""
        self._now_ns += CALL_NS
        for signal, value in values.items():
            self.engine.values[signal][:] = value
        sampled = {SIGNALS[signal].source: self._now_ns for signal in values}
        verdict = self.engine.evaluate(sampled, self._now_ns)
        for fault in verdict.set_now:
            self.trips[fault.diagnosis.name] += 1
        for fault in verdict.cleared_now:
            self.clears[fault.diagnosis.name] += 1
        for name, is_bad in bad.items():
            self.references[name].call(is_bad)
        active = {fault.diagnosis.name for fault in verdict.active}
        expected = {name for name, reference in self.references.items() if reference.is_set}
        assert active == expected, f"call {self._now_ns // CALL_NS}"

    def check_counts(self) -> None:
        """Trips and clears over the whole run, and that there were some."""
        for name, reference in self.references.items():
            assert (self.trips[name], self.clears[name]) == (reference.trips, reference.clears)


@pytest.mark.skipif(not ENTRIES, reason="reference vectors are not here; set IBMS_DATA")
def test_there_are_85_entries_and_their_limits_are_found() -> None:
    assert len(ENTRIES) == 85
    with_limit = [name for name in ENTRIES if limit_of(name)]
    assert len(with_limit) == 6 + 12 + 6  # voltages, temperatures, currents at three levels


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_trips_and_clears_at_the_same_calls(name: str, tmp_path: Path) -> None:
    limit = limit_of(name)
    table = load(table_rows([name]), tmp_path)
    run = Run(table, [name], limit.direction if limit else None)
    random = Random(name)
    for wanted in calls(int(ENTRIES[name]["events_to_trip"]), random):
        if limit is None:
            run.call({STAND_IN: float(wanted)}, {name.lower(): wanted})
            continue
        # A value on the limit's good or bad side, often the limit itself or next to it.
        sides = [raw for raw in range(limit.raw - 4, limit.raw + 5) if limit.is_bad(raw) == wanted]
        raw = random.choice(sides)
        run.call({limit.signal: raw * limit.unit}, {name.lower(): limit.is_bad(raw)})
    run.check_counts()
    (reference,) = run.references.values()
    assert reference.trips >= 2
    assert reference.clears >= 1


@pytest.mark.skipif(not ENTRIES, reason="reference vectors are not here; set IBMS_DATA")
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("direction", ["charge", "discharge"])
def test_all_entries_in_one_table_trip_and_clear_together(direction: str, tmp_path: Path) -> None:
    """Voltage, temperature, current and the stand-in wander through all levels at once."""
    names = [
        name
        for name in ENTRIES
        # foxBMS does not call the entries of the other direction; nor are they judged here.
        if (limit := limit_of(name)) is None or limit.direction in (None, direction)
    ]
    limits = {name: limit_of(name) for name in names}
    run = Run(load(table_rows(names), tmp_path), names, direction)
    random = Random(direction)
    raw: dict[Signal, int] = {"cell_voltage": 2700, "cell_temperature": 250, "pack_current": 0}
    targets = {
        "cell_voltage": [1450, 1560, 2200, 2730, 2830],
        "cell_temperature": [-260, -120, 200, 420, 600],
        "pack_current": [-190_000, -172_000, 0, 172_000, 190_000],
    }
    target = dict(raw)
    for call in range(12_000):
        if call % 700 == 0:
            target = {signal: random.choice(targets[signal]) for signal in raw}
        for signal, value in raw.items():
            step = max(1, abs(target[signal] - value) // 20)
            noise = random.randint(-2, 2) * step
            raw[signal] = value + noise + (step if target[signal] > value else -step)
        flag = random.random() < (0.8 if call % 1400 < 700 else 0.2)
        values: dict[Signal, float] = {
            "cell_voltage": raw["cell_voltage"] * 1e-3,
            "cell_temperature": raw["cell_temperature"] * 0.1,
            "pack_current": raw["pack_current"] * 1e-3,
            STAND_IN: float(flag),
        }
        run.call(
            values,
            {
                name.lower(): limit.is_bad(raw[limit.signal]) if limit else flag
                for name, limit in limits.items()
            },
        )
    run.check_counts()
    assert sum(reference.trips > 0 for reference in run.references.values()) > 70


@pytest.mark.skipif(not ENTRIES, reason="reference vectors are not here; set IBMS_DATA")
def test_our_own_rules_refuse_to_open_on_a_single_sample(tmp_path: Path) -> None:
    """What foxBMS permits and we do not: a fatal error at the first event."""
    rows = [row for row in table_rows(["DEEP_DISCHARGE_DETECTED"]) if row["samples"] == 1]
    load(rows, tmp_path)
    with pytest.raises(ConfigurationError, match=r"foxbms\.yaml.*at least 2 fresh samples"):
        load_table(tmp_path / "foxbms.yaml")
