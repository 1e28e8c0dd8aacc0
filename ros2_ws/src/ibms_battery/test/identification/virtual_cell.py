# SPDX-License-Identifier: Apache-2.0
"""A cell whose circuit is known, its tests as CSV files, and a plan for them."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ibms_battery.recordings import FloatArray

CAPACITY_AH = 3.0
OHMIC, ACTIVATION, FAST, SLOW = 0.02, 0.006, 0.01, 0.015
FAST_S, SLOW_S = 10.0, 100.0
GAP_V = 0.03  # half of it is the hysteresis of the slow tests
HEAT_CAPACITY, THERMAL_RESISTANCE = 50.0, 8.0
TIMES = "time_s,voltage_V,current_A,temperature_C"


def ocv_v(soc: FloatArray) -> FloatArray:
    """Open-circuit voltage with a steep end and two steps."""
    steps = 0.05 * np.tanh((soc - 0.55) / 0.08) + 0.03 * np.tanh((soc - 0.25) / 0.06)
    voltage: FloatArray = 3.3 + 0.75 * soc + steps - 0.5 * np.exp(-soc / 0.03)
    return voltage


def factor(temperature_c: float) -> float:
    """Of all resistances: Arrhenius' law with the activation that the prior expects."""
    return float(np.exp(30e3 / 8.314 * (1.0 / (temperature_c + 273.15) - 1.0 / 298.15)))


@dataclass(frozen=True)
class VirtualTest:
    """A record of the cell, arrays (samples,)."""

    time_s: FloatArray
    voltage_v: FloatArray
    current_a: FloatArray
    temperature_c: FloatArray

    def write(self, file: Path, sign: float = 1.0, temperature: bool = True) -> str:
        """Write it as CSV; returns the name."""
        columns = [self.time_s, self.voltage_v, sign * self.current_a, self.temperature_c]
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(TIMES.split(",")[: 4 if temperature else 3])
            rows = np.column_stack(columns if temperature else columns[:3])
            writer.writerows([[f"{value:.6g}" for value in row] for row in rows])
        return file.name


def drive(
    current_a: FloatArray, temperature_c: float, soc: float = 1.0, noise_v: float = 0.001
) -> VirtualTest:
    """Voltage under a current with one value per second; the cell warms by its losses."""
    i0 = CAPACITY_AH / 3.0
    over_v = np.zeros(len(current_a))
    kelvin = np.zeros(len(current_a))
    fast = slow = warm = 0.0
    for sample, current in enumerate(current_a):
        scale = factor(temperature_c + warm)
        fast += (1.0 - np.exp(-1.0 / FAST_S)) * (scale * FAST * current - fast)
        slow += (1.0 - np.exp(-1.0 / SLOW_S)) * (scale * SLOW * current - slow)
        drop = OHMIC * current + ACTIVATION * i0 * np.arcsinh(current / i0)
        over_v[sample] = scale * drop + fast + slow
        warm += (current * over_v[sample] - warm / THERMAL_RESISTANCE) / HEAT_CAPACITY
        kelvin[sample] = warm
    time_s = np.arange(len(current_a), dtype=np.float64)
    charge = soc + np.cumsum(current_a) / 3600.0 / CAPACITY_AH
    noise = np.random.default_rng(len(current_a)).normal(0.0, noise_v, len(current_a))
    return VirtualTest(time_s, ocv_v(charge) + over_v + noise, current_a, temperature_c + kelvin)


def cycle_a(seed: int, seconds: int = 5000, mean_a: float = -1.6) -> FloatArray:
    """A random load with pauses, one value per second."""
    random = np.random.default_rng(seed)
    steps = seconds // 20
    current_a = random.normal(mean_a, 2.0, steps) * (random.uniform(size=steps) > 0.2)
    return np.repeat(current_a, 20)


def slow_test(temperature_c: float = 25.0, rate: float = 0.05) -> VirtualTest:
    """A discharge from full to empty, a rest, and a charge with held voltage at its end."""
    seconds = 60.0
    steps = int(3600.0 / rate / seconds)
    soc = np.linspace(1.0, 0.0, steps + 1)
    down_v = ocv_v(soc) - GAP_V / 2
    current_a = rate * CAPACITY_AH
    up_a = np.where(np.linspace(0, 1, steps + 1) > 0.98, 0.4 * current_a, current_a)
    up_a[-1] = 0.2 * current_a
    up_v = ocv_v(np.cumsum(up_a) / up_a.sum()) + GAP_V / 2
    up_v = np.minimum(up_v, ocv_v(np.ones(1)))
    rest = np.zeros(30)
    voltage_v = np.concatenate([down_v, np.full(30, down_v[-1] + 0.02), up_v])
    current = np.concatenate([np.full(steps + 1, -current_a), rest, up_a])
    time_s = seconds * np.arange(len(current), dtype=np.float64)
    return VirtualTest(time_s, voltage_v, current, np.full(len(current), temperature_c))


@dataclass
class Bench:
    """A folder with tests of the cell and the plan that names them."""

    folder: Path
    plan: dict[str, object] = field(default_factory=dict)

    def write_plan(self) -> Path:
        """The plan as a file; JSON is YAML."""
        file = self.folder / "plan.yaml"
        file.write_text(json.dumps(self.plan), encoding="utf-8")
        return file

    @property
    def circuit(self) -> dict[str, object]:
        """The part of the plan about the circuit."""
        part = self.plan["circuit"]
        assert isinstance(part, dict)
        return part


COLUMNS = {"temperature": "temperature_C"}


def bench(folder: Path, runs: dict[str, VirtualTest], temperatures_c: list[float]) -> Bench:
    """A bench with a slow test at 25 degC and ``runs``."""
    slow = slow_test().write(folder / "slow.csv")
    names = [run.write(folder / f"{name}.csv") for name, run in runs.items()]
    return Bench(
        folder,
        {
            "cell": {
                "name": "virtual_cell",
                "chemistry": "LMO",
                "minimum_voltage_v": 2.5,
                "maximum_voltage_v": 4.2,
                "nominal_voltage_v": 3.6,
                "maximum_charge_current_a": 3.0,
                "maximum_discharge_current_a": 10.0,
                "source": "a virtual cell",
            },
            "open_circuit": [{"files": [slow], "columns": COLUMNS}],
            "circuit": {
                "temperatures_c": temperatures_c,
                "soc_points": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
                "time_constants_s": [[3.0, 30.0], [FAST_S, SLOW_S]],
                "sources": [{"files": names, "columns": COLUMNS}],
            },
        },
    )


def good_bench(folder: Path) -> Bench:
    """Drive cycles at three temperatures."""
    runs = {
        f"drive_{temperature}_{seed}": drive(cycle_a(seed), float(temperature))
        for temperature in (5, 25, 40)
        for seed in (1, 2)
    }
    return bench(folder, runs, [5.0, 25.0, 40.0])
