# SPDX-License-Identifier: Apache-2.0
"""Laboratory tests of an LG M50 in PyBaMM, as recordings that ``./ibms identify`` reads.

    python -m ibms_sim.cells.virtual_tests CONFIG_FOLDER DATA_FOLDER

writes parquet files and their index.csv: C/20 discharge and charge at 25 degC, and at each
temperature pulses over the charge and drive cycles until empty. The model is the SPMe with one
thermal mass, which is what the simulated packs use. The parameter set is that of the simulator,
OKane2022: the electrodes of Chen2020, whose kinetics and transport do not depend on temperature,
with that dependence.
"""

import argparse
import csv
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet
import pybamm

from ibms_battery.recording_index import INDEX_NAME
from ibms_sim.cells.generate import PARAMETER_SET
from ibms_sim.configuration import Vehicle
from ibms_sim.load.demand import VehicleDemand
from ibms_sim.load.schedules import load_schedule

FloatArray = npt.NDArray[np.float64]

DATASET = "lg_m50_simulated"
TEMPERATURES_C = (-10.0, 0.0, 10.0, 25.0, 40.0)

_ZERO_C_K = 273.15
_CHARGE_A, _DISCHARGE_A = 3.395, -7.275  # limits of the product specification
_LOWEST_V, _FULL_V = 2.5, 4.2
_NO_LIMIT_V = 4.5  # a charging pulse on a full cell may pass 4.2 V
_PACK_V, _PARALLEL = 350.0, 28  # of the compact car whose drive it is, config/packs/ev_96s.yaml
_SCHEDULES = ("us06.csv", "udds.csv", "wltc_class_3b.csv")
_LONGEST_DRIVE_S = 60000.0
_PULSE_A, _PULSE_S, _PAUSE_S = 5.0, 10, 60
_BETWEEN_A, _BETWEEN_S, _REST_S = 5.0 / 3.0, 1080, 1800  # a tenth of the charge
_STOP_S = 10  # the solver looks anew this often, so that no pulse is stepped over
_POINTS = {"x_n": 10, "x_s": 5, "x_p": 10, "r_n": 12, "r_p": 12}
_COLUMNS = ("time_s", "voltage_v", "current_a", "temperature_c", "charge_ah")


def slow_test() -> FloatArray:
    """C/20 discharge from full, rest, charge with held voltage at the end: rows of ``_COLUMNS``."""
    experiment = pybamm.Experiment(
        [
            f"Discharge at C/20 until {_LOWEST_V} V",
            "Rest for 1 hour",
            f"Charge at C/20 until {_FULL_V} V",
            f"Hold at {_FULL_V} V until C/100",
        ],
        period="30 seconds",
    )
    return _rows(_simulation(_values(25.0), experiment).solve(initial_soc=1.0))


def pulse_test(temperature_c: float) -> FloatArray:
    """Pulses of 10 s both ways at each tenth of the charge, from full until empty."""
    parts = [np.zeros(_REST_S)]
    for _ in range(10):
        parts += [np.full(_PULSE_S, -_PULSE_A), np.zeros(_PAUSE_S)]
        parts += [np.full(_PULSE_S, 0.5 * _PULSE_A), np.zeros(_PAUSE_S)]
        parts += [np.full(_BETWEEN_S, -_BETWEEN_A), np.zeros(_REST_S)]
    return _follow(np.concatenate(parts), temperature_c)


def drive_test(temperature_c: float, schedules: Path) -> FloatArray:
    """A compact car on US06, UDDS and WLTC in turn, from full until empty."""
    parts: list[FloatArray] = []
    for name in cycle(_SCHEDULES):
        series = load_schedule(schedules / name)
        car = VehicleDemand(Vehicle(schedule=name), series)
        power_w = np.array([car.power_w(time_s) for time_s in np.arange(series.duration_s)])
        parts.append(np.clip(-power_w / (_PACK_V * _PARALLEL), _DISCHARGE_A, _CHARGE_A))
        if sum(len(part) for part in parts) > _LONGEST_DRIVE_S:
            break
    return _follow(np.concatenate(parts), temperature_c)


def _values(temperature_c: float) -> pybamm.ParameterValues:
    values = pybamm.ParameterValues(PARAMETER_SET)
    values["Ambient temperature [K]"] = temperature_c + _ZERO_C_K
    values["Initial temperature [K]"] = temperature_c + _ZERO_C_K
    return values


def _follow(current_a: FloatArray, temperature_c: float) -> FloatArray:
    """A current of one value per second, charge positive, from full until the lowest voltage."""
    time_s = np.arange(len(current_a), dtype=np.float64)
    values = _values(temperature_c)
    values["Current function [A]"] = pybamm.Interpolant(time_s, -current_a, pybamm.t)
    values["Upper voltage cut-off [V]"] = _NO_LIMIT_V
    simulation = _simulation(values)
    stops_s = np.append(time_s[:-1:_STOP_S], time_s[-1])
    return _rows(simulation.solve(stops_s, t_interp=time_s, initial_soc=1.0))


def _simulation(
    values: pybamm.ParameterValues, experiment: pybamm.Experiment | None = None
) -> pybamm.Simulation:
    return pybamm.Simulation(
        pybamm.lithium_ion.SPMe({"thermal": "lumped"}),
        parameter_values=values,
        experiment=experiment,
        solver=pybamm.IDAKLUSolver(),
        var_pts=_POINTS,
    )


def _rows(solution: pybamm.Solution) -> FloatArray:
    names = (
        "Time [s]",
        "Terminal voltage [V]",
        "Current [A]",
        "Volume-averaged cell temperature [C]",
        "Discharge capacity [A.h]",
    )
    rows = np.column_stack([np.asarray(solution[name].entries).ravel() for name in names])
    rows[:, [2, 4]] *= -1.0
    new = np.diff(rows[:, 0], prepend=-np.inf) > 1e-6
    found: FloatArray = rows[new]
    return found


def main() -> None:
    """Run all tests and write them with their index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configuration", type=Path, help="the folder config")
    parser.add_argument("data", type=Path, help="where the files go")
    options = parser.parse_args()
    folder: Path = options.data
    folder.mkdir(parents=True, exist_ok=True)
    schedules: Path = options.configuration / "simulation" / "schedules"
    tests = {("C20", 25.0): slow_test()}
    for temperature_c in TEMPERATURES_C:
        tests["pulses", temperature_c] = pulse_test(temperature_c)
        tests["drive", temperature_c] = drive_test(temperature_c, schedules)
    with (folder / INDEX_NAME).open("w", encoding="utf-8", newline="") as stream:
        index = csv.writer(stream)
        columns = [f"col_{what}" for what in ("time", "voltage", "current", "temperature", "ah")]
        index.writerow(
            ["dataset", "path", "test", "temperature_C", "role", *columns, "current_sign"]
        )
        for (test, temperature_c), rows in tests.items():
            name = f"{test}_{temperature_c:g}degC.parquet"
            table = {column: rows[:, place] for place, column in enumerate(_COLUMNS)}
            pyarrow.parquet.write_table(pyarrow.table(table), folder / name)
            index.writerow(
                [DATASET, name, test, temperature_c, "train", *_COLUMNS, "discharge_negative"]
            )
            print(f"{name}: {rows[-1, 0]:.0f} s, {rows[-1, 4]:.3f} A h, {len(rows)} samples")


if __name__ == "__main__":
    main()
