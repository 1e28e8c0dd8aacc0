# SPDX-License-Identifier: Apache-2.0
"""A long run: drives and recorded charges joined where their charges meet, or a simulated cell."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ibms_battery.cell import Cell
from ibms_battery.recording_index import load_row, read_index
from ibms_battery.recordings import FloatArray, Recording, RecordingError
from ibms_tools.eval.soc_runs import runs_of_folder
from ibms_tools.eval.soc_scenarios import Scenario
from ibms_tools.eval.soc_simulation import Run
from ibms_tools.eval.sop_plant import Plant

# What the sensors are off for a whole day.
SENSORS = Scenario("day", current_gain=1.005, current_bias_a=0.1)
DRIFT_TARGET = "<= 2"

_TEMPERATURE_C = 25.0
_S_PER_H = 3600.0
_CHARGE_TEST = "charge"
_FLOWS_A = 0.05
_WHOLE = 0.8  # of the capacity must come in, for a charge from empty to full
_REST_S = 3600.0  # of the record after a charge belongs to it
_PLANT_STEP_S = 10.0
_EMPTY_SOC = 0.15
_CHARGE_RATE = 0.5
_SEED = 20260501

Piece = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]  # t, v, i, T, soc


def joined_run(folder: Path, cell: Cell, hours: float) -> Run:
    """Train drives at 25 degC and recorded charges in turn; the charge begins where the drive ends.

    Raises:
        RecordingError: if there are no drives or no whole charge.
    """
    drives = runs_of_folder(folder, cell, ["train"], [_TEMPERATURE_C])
    charges = list(_charges(folder, cell))
    if not charges:
        raise RecordingError(f"{folder}: holds no whole charge of {cell.name} at 25 degC")
    pieces: list[Piece] = []
    length_s = 0.0
    while length_s < hours * _S_PER_H:
        drive = drives[len(pieces) // 2 % len(drives)].run
        recording = drive.recording
        pieces.append(
            (
                recording.time_s,
                recording.voltage_v,
                recording.current_a,
                recording.temperature_c,
                drive.truth,
            )
        )
        t, v, i, warm, soc = charges[len(pieces) // 2 % len(charges)]
        after = soc >= drive.truth[-1]
        begins = int(np.argmax(after))
        pieces.append((t[begins:] - t[begins], v[begins:], i[begins:], warm[begins:], soc[begins:]))
        length_s += float(pieces[-2][0][-1] + pieces[-1][0][-1])
    return _joined(f"{length_s / _S_PER_H:.0f} h joined", pieces)


def _charges(folder: Path, cell: Cell) -> Iterator[Piece]:
    """Charges from empty to full with the rest after them."""
    for row in read_index(folder):
        matches = row.dataset.startswith(cell.name) and row.test == _CHARGE_TEST
        if not matches or row.temperature_c != _TEMPERATURE_C:
            continue
        recording = load_row(row)
        flows = recording.current_a > _FLOWS_A
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flows.astype(np.int8), [0]])))
        for first, after in zip(edges[::2], edges[1::2], strict=True):
            counted = recording.charge_ah[first:after]
            moved_ah = float(counted[-1] - counted[0])
            if moved_ah < _WHOLE * cell.capacity_ah:
                continue
            time_s = recording.time_s
            last = int(np.searchsorted(time_s, time_s[after - 1] + _REST_S, side="right"))
            rest = np.flatnonzero(np.abs(recording.current_a[after:last]) > _FLOWS_A)
            last = after + int(rest[0]) if len(rest) else last
            soc = np.ones(last - first)
            soc[: after - first] = 1.0 + (counted - counted[-1]) / cell.capacity_ah
            part = slice(first, last)
            yield (
                time_s[part] - time_s[first],
                recording.voltage_v[part],
                recording.current_a[part],
                recording.temperature_c[part],
                soc,
            )


def plant_run(cell: Cell, hours: float) -> Run:
    """A simulated cell (PyBaMM, SPMe), driven and charged in turn at 25 degC from 95 %."""
    random = np.random.default_rng(_SEED)
    plant = Plant(0.95, _TEMPERATURE_C)
    state, voltage_v = plant.step(None, 0.0, _PLANT_STEP_S)
    soc, is_charging, load_a = 0.95, False, 0.0
    capacity_ah = cell.capacity_ah
    time_s, voltages, currents, socs = [0.0], [voltage_v], [0.0], [soc]
    for step in range(round(hours * _S_PER_H / _PLANT_STEP_S)):
        if is_charging:
            # Constant current, then what keeps the voltage: a step of the charger's control.
            over_v = max(0.0, voltage_v - (cell.maximum_voltage_v - 0.02))
            load_a = min(_CHARGE_RATE * capacity_ah, load_a + 0.5) * float(np.exp(-20.0 * over_v))
            is_charging = soc < 0.97 and load_a > 0.03 * capacity_ah
        else:
            if step % 3 == 0:
                load_a = float(random.choice([-1.0, -0.5, 0.0, 0.3], p=[0.3, 0.3, 0.25, 0.15]))
                load_a *= capacity_ah
            is_charging = soc < _EMPTY_SOC
            load_a = 0.2 * capacity_ah if is_charging else load_a
        state, voltage_v = plant.step(state, load_a, _PLANT_STEP_S)
        soc += load_a * _PLANT_STEP_S / _S_PER_H / capacity_ah
        time_s.append(time_s[-1] + _PLANT_STEP_S)
        voltages.append(voltage_v)
        currents.append(load_a)
        socs.append(soc)
    counts = len(time_s)
    piece = (
        np.array(time_s),
        np.array(voltages),
        np.array(currents),
        np.full(counts, _TEMPERATURE_C),
        np.array(socs),
    )
    return _joined(f"{hours:.0f} h simulated", [piece])


def _joined(name: str, pieces: list[Piece]) -> Run:
    offset_s = 0.0
    times = []
    for piece in pieces:
        times.append(piece[0] + offset_s)
        offset_s = float(times[-1][-1]) + 1.0
    voltage_v, current_a, temperature_c, truth = (
        np.concatenate([piece[part] for piece in pieces]) for part in (1, 2, 3, 4)
    )
    recording = Recording(
        np.concatenate(times), voltage_v, current_a, temperature_c, truth, repeated=0
    )
    return Run(name, recording, truth)
