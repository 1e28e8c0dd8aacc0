# SPDX-License-Identifier: Apache-2.0
"""Training sequences: recorded runs from random starts, seen by sensors that are off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RegularGridInterpolator

from ibms_battery.cell import Cell
from ibms_edge.estimation.network_file import Curves
from ibms_edge.estimation.network_input import FEATURES, NetworkInput
from ibms_tools.eval.soc_scenarios import (
    CURRENT_BIAS_A,
    GAIN_ERROR,
    TEMPERATURE_OFFSET_K,
    VOLTAGE_OFFSET_V,
)
from ibms_tools.eval.soc_simulation import Run

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]

_LONGEST_HOLE_S = 10.0  # of the record that a straight line may bridge
_SHORTEST_S = 1500  # to the end of the run
_RESTED_SHARE = 0.35  # of the sequences: begin with the run, after its rest
_VOLTAGE_NOISE_V = 0.001
_RESISTANCE_ERROR = 0.1  # cells of a type differ, and age
_S_PER_H = 3600.0


@dataclass(frozen=True)
class Sequences:
    """One row for each sequence, one column for each period; float32, 0 where there is nothing."""

    features: SingleArray  # (sequences, periods, features)
    charge: SingleArray  # (sequences, periods): counted in the period, of the capacity
    truth: SingleArray  # (sequences, periods): state of charge at its end
    usable: npt.NDArray[np.bool_]  # (sequences, periods)
    start: SingleArray  # (sequences,): true state of charge before the first period


def draw_sequences(
    runs: Sequence[Run],
    cell: Cell,
    curves: Curves,
    period_s: float,
    repeats: int,
    random: np.random.Generator,
) -> Sequences:
    """``repeats`` sequences of each run, each with its own start and sensor errors."""
    parts = []
    tabled = [_per_second(run, curves) for run in runs]
    begin_rested = [int(random.binomial(repeats, _RESTED_SHARE)) for _ in tabled]
    for rested in (True, False):
        chosen, first = [], []
        for table, from_rest in zip(tabled, begin_rested, strict=True):
            latest = max(1, table.shape[1] - _SHORTEST_S)
            for _ in range(from_rest if rested else repeats - from_rest):
                chosen.append(table)
                first.append(0 if rested else int(random.integers(latest)))
        if chosen:
            parts.append(_seen(chosen, first, rested, cell, curves, period_s, random))
    longest_part = max(part.truth.shape[1] for part in parts)

    def joined(name: str) -> npt.NDArray[np.generic]:
        padded = []
        for part in parts:
            values = getattr(part, name)
            if values.ndim > 1:
                width = [(0, 0), (0, longest_part - values.shape[1])] + [(0, 0)] * (values.ndim - 2)
                values = np.pad(values, width)
            padded.append(values)
        return np.concatenate(padded)

    return Sequences(*(joined(name) for name in Sequences.__dataclass_fields__))  # type: ignore[arg-type]


def _per_second(run: Run, curves: Curves) -> FloatArray:
    """Until the first hole of the record (5, seconds).

    Rows: voltage, current, temperature, truth, and what of the voltage is over-voltage.
    """
    recording = run.recording
    known = np.isfinite(run.truth)
    holes = np.flatnonzero(np.diff(recording.time_s) > _LONGEST_HOLE_S)
    end_s = recording.time_s[holes[0]] if len(holes) else recording.duration_s
    time_s = np.arange(0.0, end_s, 1.0)
    voltage_v, current_a, temperature_c = (
        np.interp(time_s, recording.time_s, values)
        for values in (recording.voltage_v, recording.current_a, recording.temperature_c)
    )
    truth = np.interp(time_s, recording.time_s[known], run.truth[known])
    axes = (curves.temperatures_c, curves.soc_points)
    within = [np.clip(x, at[0], at[-1]) for x, at in zip((temperature_c, truth), axes, strict=True)]
    ocv_v = RegularGridInterpolator(axes, curves.ocv_v)(np.column_stack(within))
    return np.array([voltage_v, current_a, temperature_c, truth, voltage_v - ocv_v])


def _seen(
    tables: Sequence[FloatArray],
    first: Sequence[int],
    rested: bool,
    cell: Cell,
    curves: Curves,
    period_s: float,
    random: np.random.Generator,
) -> Sequences:
    """What the estimator would be shown of each table from its first second on."""
    count = len(tables)
    length = max(table.shape[1] - begin for table, begin in zip(tables, first, strict=True))
    played = np.full((5, count, length), np.nan)
    for row, (table, begin) in enumerate(zip(tables, first, strict=True)):
        played[:, row, : table.shape[1] - begin] = table[:, begin:]

    def within(bound: float) -> FloatArray:
        # Most of the draws lie at the bounds: the sensors may be as bad as that.
        drawn = random.uniform(-bound, bound, count)
        return np.where(random.random(count) < 0.65, np.sign(drawn) * bound, drawn)

    bias_a, gain = within(CURRENT_BIAS_A), 1.0 + within(GAIN_ERROR)
    offset_v, offset_k = within(VOLTAGE_OFFSET_V), within(TEMPERATURE_OFFSET_K)
    more = random.uniform(-_RESISTANCE_ERROR, _RESISTANCE_ERROR, count)
    right = random.random(count) < 0.2
    bias_a[right] = offset_v[right] = offset_k[right] = 0.0
    gain[right] = 1.0

    shown = NetworkInput(curves, cell.capacity_ah, period_s, count)
    shown.start(rested)
    features, charge, truth, usable = [], [], [], []
    counted = np.zeros(count)
    for second in range(length):
        voltage_v, current_a, temperature_c, soc, over_v = played[:, :, second]
        step_s = 1.0 if second else 0.0
        current_a = gain * current_a + bias_a
        noise_v = random.normal(0.0, _VOLTAGE_NOISE_V, count)
        counted += np.where(np.isfinite(current_a), current_a, 0.0) * step_s
        voltage_v = voltage_v + more * over_v + offset_v + noise_v
        found = shown.update(voltage_v, temperature_c + offset_k, current_a, step_s)
        if found is None:
            continue
        there = found.usable & np.isfinite(soc)
        features.append(np.where(there[:, np.newaxis], found.values, 0.0).astype(np.float32))
        charge.append((counted / (_S_PER_H * cell.capacity_ah)).astype(np.float32))
        truth.append(np.where(np.isfinite(soc), soc, 0.0).astype(np.float32))
        usable.append(there)
        counted = np.zeros(count)
    assert features[0].shape == (count, len(FEATURES))
    return Sequences(
        np.stack(features, axis=1),
        np.stack(charge, axis=1),
        np.stack(truth, axis=1),
        np.stack(usable, axis=1),
        played[3, :, 0].astype(np.float32),
    )
