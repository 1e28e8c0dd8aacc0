# SPDX-License-Identifier: Apache-2.0
"""What tests share: rows, an engine fed with scans of three cells, a judge of a healthy pack."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ibms_battery.pack import Pack, Switch, Switching
from ibms_edge.protection.engine import ProtectionEngine, Verdict
from ibms_edge.protection.table import Diagnosis, DiagnosisTable

from .world import MS, S, World

NAN = math.nan

PACK = Pack(
    name="three",
    description="three cells",
    cell="none",
    series=3,
    parallel=1,
    temperature_sensors=2,
    modules=1,
    scan_period_s=0.02,
    pack_sample_period_s=0.01,
    can_map="none",
    diagnoses="none",
    switching=Switching([Switch("main")], {"open": []}, []),
)


class Guard:
    """An engine fed with scans of three cells every 20 ms."""

    @staticmethod
    def row(identifier: int = 1, **changes: Any) -> Diagnosis:
        """A row that opens at once above 4.25 V, but for the changes."""
        given: dict[str, Any] = {
            "id": identifier,
            "name": f"row_{identifier}",
            "signal": "cell_voltage",
            "reaction": "open_now",
            "text": "text",
            "above": 4.25,
        }
        merged = {name: value for name, value in (given | changes).items() if value is not None}
        return msgspec.convert(merged, Diagnosis)

    def __init__(self, *rows: Diagnosis) -> None:
        self.engine = ProtectionEngine(DiagnosisTable("test", list(rows)), PACK)
        self.now_ns = 100 * S

    def put(self, **values: float) -> None:
        """Set scalar signals."""
        for name, value in values.items():
            self.engine.values[name][:] = value  # type: ignore[index]

    def scan(self, *voltage_v: float, step_ms: float = 20, **others: float) -> Verdict:
        """A fresh scan of all cells and a fresh pack sample."""
        self.now_ns += round(step_ms * MS)
        if "cell_voltage" in self.engine.values:
            self.engine.values["cell_voltage"][:] = np.array(voltage_v)
        self.put(**others)
        return self.engine.evaluate({"cells": self.now_ns, "pack": self.now_ns}, self.now_ns)

    def silence(self, step_ms: float = 20, **others: float) -> Verdict:
        """Time passes and no input brings a sample."""
        self.now_ns += round(step_ms * MS)
        self.put(**others)
        return self.engine.evaluate({}, self.now_ns)


@pytest.fixture(scope="session")
def guard_of() -> type[Guard]:
    """Makes engines: ``guard_of(guard_of.row(samples=3))``."""
    return Guard


@pytest.fixture
def world(pack: Pack, config: Path) -> World:
    """A pack that has run until every signal is known, and may close."""
    made = World(pack, config / "diagnoses" / "nmc_3p.yaml")
    made.run(2.3)
    assert made.run(0.1).active == []
    assert made.history[-1].close_allowed
    made.mark()
    return made
