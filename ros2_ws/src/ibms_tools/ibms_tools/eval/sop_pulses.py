# SPDX-License-Identifier: Apache-2.0
"""Predicted against measured power of the pulses of an HPPC test."""

from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs

from ibms_battery.cell import Cell
from ibms_battery.recordings import FloatArray, Recording, RecordingError
from ibms_edge.estimation.adaptive import AdaptiveFilter
from ibms_edge.estimation.circuit_state import CircuitState
from ibms_edge.estimation.power_prediction import HORIZONS_S, PowerPrediction
from ibms_edge.limits.curves import Curve, DeratingCurves, DirectionCurves, Resistance

PULSE_S = 10.0
_HORIZON = HORIZONS_S.index(PULSE_S)
_REST_A = 0.02
_PULSE_A = 0.2
_REST_S = 60.0  # at least, before a pulse
_WATCHED_S = 600.0  # of the rest are shown to the estimator
_SOC_STD = 0.02  # of the counted charge, told to the estimator: the voltage at rest decides
_ANY_A = 1000.0
_SET_SOC = 0.03  # pulses nearer to each other than this belong to one set


@dataclass(frozen=True)
class Pulse:
    """A pulse of one recording: samples [first, last] carry the current."""

    first: int
    last: int
    soc: float
    current_a: float


@dataclass(frozen=True)
class PulseFigures:
    """Prediction from the rest before a pulse against what was measured at its end."""

    pulse: Pulse
    temperature_c: float
    measured_v: float
    predicted_v: float  # at the end, under the measured current
    predicted_a: float  # magnitude that would end at the measured voltage

    @property
    def power_error(self) -> float:
        """Predicted over measured power at the measured end voltage, less 1."""
        return self.predicted_a / abs(self.pulse.current_a) - 1.0


def find_pulses(recording: Recording, capacity_ah: float) -> list[Pulse]:
    """Pulses of about ``PULSE_S`` after a rest, the recording beginning full.

    Raises:
        RecordingError: if it has no charge counter or no pulse.
    """
    if not np.isfinite(recording.charge_ah).all():
        raise RecordingError("needs a charge counter, which tells the state of charge of a pulse")
    flows = np.abs(recording.current_a) > _PULSE_A
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flows.astype(np.int8), [0]])))
    pulses = []
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        last = int(after) - 1
        time_s = recording.time_s
        begin = int(np.searchsorted(time_s, time_s[first] - _REST_S))
        rested = (np.abs(recording.current_a[begin:first]) < _REST_A).all() and begin < first
        lasted_s = time_s[last] - time_s[first - 1] if first else 0.0
        if rested and abs(lasted_s - PULSE_S) < 0.05 * PULSE_S:
            soc = 1.0 + float(recording.charge_ah[first - 1] - recording.charge_ah[0]) / capacity_ah
            current_a = float(recording.current_a[first : last + 1].mean())
            pulses.append(Pulse(int(first), last, soc, current_a))
    if not pulses:
        raise RecordingError(f"holds no pulse of {PULSE_S:g} s after a rest of {_REST_S:g} s")
    return pulses


def nearest_set(pulses: list[Pulse], soc: float) -> list[Pulse]:
    """The pulses around that one whose charge is nearest to ``soc``."""
    nearest = min(pulses, key=lambda pulse: abs(pulse.soc - soc))
    return [pulse for pulse in pulses if abs(pulse.soc - nearest.soc) < _SET_SOC]


def evaluate(recording: Recording, cell: Cell, pulses: list[Pulse]) -> list[PulseFigures]:
    """Predict each pulse from the rest before it."""
    found = []
    for pulse in pulses:
        state = _at_rest(recording, cell, pulse)
        measured_v = float(recording.voltage_v[pulse.last])
        one = np.ones(1)
        ends = PowerPrediction(cell, _unlimited(measured_v)).end_voltage_v(
            state, pulse.current_a * one
        )
        wide = structs.replace(
            cell, maximum_charge_current_a=_ANY_A, maximum_discharge_current_a=_ANY_A
        )
        direction = 0 if pulse.current_a > 0.0 else 1
        power = PowerPrediction(wide, _unlimited(measured_v)).cells(state)
        found.append(
            PulseFigures(
                pulse=pulse,
                temperature_c=float(recording.temperature_c[pulse.first]),
                measured_v=measured_v,
                predicted_v=float(ends[_HORIZON, 0]),
                predicted_a=float(power.current_a[direction, _HORIZON, 0]),
            )
        )
    return found


def _at_rest(recording: Recording, cell: Cell, pulse: Pulse) -> CircuitState:
    """What the estimator knows after the rest before a pulse; its doubt makes no margin here."""
    estimator = AdaptiveFilter(cell, 1)
    time_s = recording.time_s
    begin = int(np.searchsorted(time_s, time_s[pulse.first] - _WATCHED_S))
    quiet = np.abs(recording.current_a[begin : pulse.first]) < _REST_A
    if not quiet.all():
        begin += int(np.flatnonzero(~quiet)[-1]) + 1
    one: FloatArray = np.ones(1)
    estimator.start(pulse.soc * one, _SOC_STD * one, rested=False)
    before_s = time_s[begin]
    for sample in range(begin, pulse.first):
        estimator.update(
            recording.voltage_v[sample] * one,
            recording.temperature_c[sample] * one,
            recording.current_a[sample] * one,
            float(time_s[sample] - before_s),
        )
        before_s = time_s[sample]
    return replace(estimator.circuit_state(), soc_std=0.0 * one, resistance_std=0.0 * one)


def _unlimited(hold_v: float) -> DeratingCurves:
    """Curves that hold ``hold_v`` in both directions and bound nothing else."""
    direction = DirectionCurves(
        hold_v=hold_v,
        zero_v=hold_v,
        temperature_c=Curve(at=[-100.0, -99.0, 999.0, 1000.0], share=[0.0, 1.0, 1.0, 0.0]),
        soc=Curve(at=[0.0, 1.0], share=[1.0, 1.0]),
    )
    return DeratingCurves(
        description="",
        source="",
        charge=direction,
        discharge=direction,
        resistance=Resistance(at_c=[0.0, 1.0], factor=[1.0, 1.0]),
        fault_share=1.0,
        fall_per_s=1.0,
        rise_per_s=1.0,
        hysteresis=0.0,
    )
