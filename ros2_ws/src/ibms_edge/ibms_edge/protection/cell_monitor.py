# SPDX-License-Identifier: Apache-2.0
"""Signals that follow from the scans of all cells, some from their history. No ROS.

Every signal is written into the array that the table's rows judge; one that no row uses is not
computed.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection.samples import CellsSample, PackSample
from ibms_edge.protection.signals import FloatArray, Signal
from ibms_edge.protection.table import SignalParameters
from ibms_msgs.msg import CellMeasurement

BoolArray = npt.NDArray[np.bool_]

# While the wiring changes, sum of cells and pack voltage belong to different wirings. Counted from
# the first change, and anew only after a quiet time: a contact that chatters blanks once.
WIRING_BLANK_S = 0.3
_WIRING_QUIET_S = 1.0
_PACK_SAMPLE_NEAR_NS = NS_PER_S // 10
_RATE_SPACING_NS = NS_PER_S // 2
_RATE_SPAN = 7  # entries of that spacing: three seconds
_SHORTEST_RATE_NS = 2 * NS_PER_S  # over less, noise looks like a rise
_GAP_S = 10.0  # longer without a scan, and what was learnt of the past seconds means nothing
_IMBALANCE_GAP_S = 120.0  # what is learnt over hours takes slow recordings as well
_IMBALANCE_TIME_S = 3600.0
_IMBALANCE_WARM_UP_S = 60.0
_REFERENCE_TIME_S = 60.0


@dataclass(slots=True)
class Wiring:
    """What feedback shows of the wiring."""

    isolated: BoolArray | None = None  # per cell; None: the pack cannot isolate
    changed_ns: int = 0  # when a change was last commanded or seen; 0: never
    is_whole: bool = True  # each cell is in circuit or bypassed, none hangs loose
    all_open: bool = False  # then loose cells are nothing strange
    faulty: frozenset[Signal] = frozenset()  # of these a fault stands


class CellMonitor:
    """Writes all signals of source "cells"."""

    def __init__(
        self, pack: Pack, parameters: SignalParameters, values: dict[Signal, FloatArray]
    ) -> None:
        self.string_voltage_v: list[float] = []
        self._pack = pack
        self._parameters = parameters
        self._values = values
        self._sensor_of_cell = np.array(pack.temperature_sensor_of_cell(), np.intp)
        width = -(-pack.series // pack.modules)
        self._module_starts = np.arange(0, pack.series, width)[: pack.modules]
        self._strings = [
            slice(string.first_cell, string.first_cell + string.cells) for string in pack.strings
        ] or [slice(0, pack.series)]
        self._short = _ShortDetector(pack.series)
        self._response = _ResponseDetector()
        self._stuck_voltage = _StuckDetector(pack.series)
        self._stuck_temperature = _StuckDetector(pack.temperature_sensors)
        self._temperatures: deque[tuple[int, FloatArray]] = deque(maxlen=_RATE_SPAN)
        self._imbalance_v: FloatArray = np.zeros(pack.series)
        self._imbalance_s = 0.0
        self._reference_v: FloatArray | None = None
        self._before: CellsSample | None = None
        self._pack_used_ns = 0
        self._changed_ns = 0  # when the wiring last changed
        self._blank_until_ns = 0

    def update(self, sample: CellsSample, pack: PackSample | None, wiring: Wiring) -> None:
        """Judge one scan; ``pack`` is the newest sample of the pack sensor."""
        before, self._before = self._before, sample
        step_s = math.nan if before is None else (sample.boot_ns - before.boot_ns) / NS_PER_S
        slow_step_s = step_s if 0.0 < step_s < _IMBALANCE_GAP_S else 0.0
        if not 0.0 < step_s < _GAP_S:
            self._forget()
            step_s = 0.0
        values, voltage_v = self._values, sample.voltage_v
        missing = np.isnan(voltage_v)
        complete = not missing.any()
        self._put("cell_voltage", voltage_v)
        self._put("cell_voltage_missing", missing)
        median_v = _median(voltage_v if complete else voltage_v[~missing])
        deviation_v = voltage_v - median_v
        if (out := values.get("cell_voltage_deviation")) is not None:
            np.abs(deviation_v, out=out)
        if (out := values.get("cell_voltage_stuck")) is not None:
            self._stuck_voltage.update(voltage_v, median_v, out)
        if (out := values.get("cell_internal_short")) is not None:
            self._short.update(deviation_v, sample.current_a, step_s, out)
        if (out := values.get("cell_imbalance")) is not None:
            self._update_imbalance(deviation_v, sample.current_a, slow_step_s, out)
        if (out := values.get("current_response")) is not None:
            mean_v = float(voltage_v.mean()) if complete else math.nan
            out[0] = self._response.update(mean_v, sample.current_a, step_s)
        self._temperature_signals(sample, voltage_v, step_s)
        self._module_signals(sample, voltage_v)
        self._sums(sample, voltage_v, pack, wiring)
        self._device_signals(sample, before, step_s)

    def _put(self, signal: Signal, value: npt.NDArray[np.generic]) -> None:
        out = self._values.get(signal)
        if out is not None:
            out[:] = value

    def _forget(self) -> None:
        """After a gap: histories of seconds begin anew, what was learnt over hours stays."""
        self._temperatures.clear()
        self._reference_v = None
        self._short.forget()
        self._response.forget()

    def _update_imbalance(
        self, deviation_v: FloatArray, current_a: float, step_s: float, out: FloatArray
    ) -> None:
        """Deviation at rest, averaged: under load resistance would spoil it."""
        if abs(current_a) <= self._parameters.rest_current_a:
            self._imbalance_s += step_s
            time_s = min(max(self._imbalance_s, step_s), _IMBALANCE_TIME_S)
            share = step_s / time_s if time_s > 0.0 else 0.0
            known = ~np.isnan(deviation_v)
            self._imbalance_v[known] += share * (deviation_v[known] - self._imbalance_v[known])
        out[:] = -self._imbalance_v if self._imbalance_s >= _IMBALANCE_WARM_UP_S else math.nan

    def _temperature_signals(
        self, sample: CellsSample, voltage_v: FloatArray, step_s: float
    ) -> None:
        temperature_c, values = sample.temperature_c, self._values
        missing = np.isnan(temperature_c)
        self._put("cell_temperature", temperature_c)
        self._put("cell_temperature_missing", missing)
        median_c = _median(temperature_c if not missing.any() else temperature_c[~missing])
        if (out := values.get("cell_temperature_deviation")) is not None:
            np.abs(temperature_c - median_c, out=out)
        if (out := values.get("cell_temperature_stuck")) is not None:
            self._stuck_temperature.update(temperature_c, median_c, out)
        rate_k_s = self._rate(sample)
        self._put("cell_temperature_rate", rate_k_s)
        if (out := values.get("thermal_runaway_rate")) is not None:
            self._runaway(temperature_c, voltage_v, rate_k_s, step_s, out)

    def _rate(self, sample: CellsSample) -> FloatArray:
        """Rate of rise [K/s] against two older samples, the smaller: one wrong sample is none."""
        entries, temperature_c = self._temperatures, sample.temperature_c
        if not entries or sample.boot_ns - entries[-1][0] >= _RATE_SPACING_NS:
            entries.append((sample.boot_ns, temperature_c))
        if len(entries) < 3 or sample.boot_ns - entries[0][0] < _SHORTEST_RATE_NS:
            return np.full(len(temperature_c), math.nan)
        (first_ns, first_c), (second_ns, second_c) = entries[0], entries[1]
        return np.minimum(
            (temperature_c - first_c) * (NS_PER_S / max(sample.boot_ns - first_ns, 1)),
            (temperature_c - second_c) * (NS_PER_S / max(sample.boot_ns - second_ns, 1)),
        )

    def _runaway(
        self,
        temperature_c: FloatArray,
        voltage_v: FloatArray,
        rate_k_s: FloatArray,
        step_s: float,
        out: FloatArray,
    ) -> None:
        """(Voltage drop or above the working temperature) and fast rise: GB 38031, appendix C."""
        if self._reference_v is None:
            self._reference_v = voltage_v.copy()
        reference_v, drop = self._reference_v, self._parameters.runaway_voltage_drop
        cell_c, cell_k_s = temperature_c[self._sensor_of_cell], rate_k_s[self._sensor_of_cell]
        suspicious = (voltage_v < (1.0 - drop) * reference_v) | (
            cell_c > self._parameters.maximum_working_temperature_c
        )
        unknown = np.isnan(cell_k_s) | (np.isnan(voltage_v) & ~suspicious)
        out[:] = np.where(suspicious, cell_k_s, np.where(unknown, math.nan, 0.0))
        # A collapsed cell must not become its own reference while the rule waits for the heat.
        share = step_s / _REFERENCE_TIME_S
        step_v = share * (voltage_v - reference_v)
        np.add(reference_v, step_v, out=reference_v, where=~(suspicious | np.isnan(step_v)))
        np.copyto(reference_v, voltage_v, where=np.isnan(reference_v))

    def _module_signals(self, sample: CellsSample, voltage_v: FloatArray) -> None:
        self._put("open_wire", sample.open_wire if sample.open_wire is not None else _UNKNOWN)
        status = sample.afe_status
        if status is None:
            self._put("afe_fault", _UNKNOWN)
            self._put("afe_lost", _UNKNOWN)
        else:
            lost = status & CellMeasurement.AFE_NOT_RECEIVED
            self._put("afe_lost", lost != 0)
            self._put("afe_fault", status != lost)
        if (out := self._values.get("module_voltage_difference")) is not None:
            if sample.module_voltage_v is None:
                out[:] = math.nan
            else:
                sums_v = np.add.reduceat(voltage_v, self._module_starts)
                np.abs(sums_v - sample.module_voltage_v, out=out)

    def _sums(
        self,
        sample: CellsSample,
        voltage_v: FloatArray,
        pack: PackSample | None,
        wiring: Wiring,
    ) -> None:
        in_circuit_v = voltage_v
        if wiring.isolated is not None and wiring.isolated.any():
            in_circuit_v = np.where(wiring.isolated, 0.0, voltage_v)
        self.string_voltage_v = [float(in_circuit_v[place].sum()) for place in self._strings]
        pack_v = math.nan
        if pack is not None and abs(pack.boot_ns - sample.boot_ns) < _PACK_SAMPLE_NEAR_NS:
            if pack.boot_ns > self._pack_used_ns:  # each sample is judged once
                pack_v = pack.voltage_v
            self._pack_used_ns = pack.boot_ns
        # Of several strings one carries the pack voltage at least.
        nearest_v = min(self.string_voltage_v, key=lambda sum_v: abs(sum_v - pack_v))
        ratio = pack_v / nearest_v if nearest_v > 0.0 else math.nan
        difference_v = abs(nearest_v - pack_v)
        is_blank = self._is_blank(sample.boot_ns, wiring.changed_ns)
        is_hidden = is_blank or not wiring.is_whole
        # Between two wirings and while all is open nothing is pending; but a fault that was found
        # stands, and cells that hang loose in a closed pack are no good sample.
        is_good = is_blank or wiring.all_open
        signals: tuple[tuple[Signal, float, float], ...] = (
            ("sum_of_cells_difference", difference_v, 0.0),
            ("pack_voltage_ratio", ratio, 1.0),
        )
        for signal, value, good in signals:
            if (out := self._values.get(signal)) is not None:
                hidden = good if is_good and signal not in wiring.faulty else math.nan
                out[0] = hidden if is_hidden else value

    def _is_blank(self, now_ns: int, changed_ns: int) -> bool:
        if changed_ns != self._changed_ns:
            if changed_ns - self._changed_ns >= _WIRING_QUIET_S * NS_PER_S:
                self._blank_until_ns = min(changed_ns, now_ns) + round(WIRING_BLANK_S * NS_PER_S)
            self._changed_ns = changed_ns
        return now_ns < self._blank_until_ns

    def _device_signals(
        self, sample: CellsSample, before: CellsSample | None, step_s: float
    ) -> None:
        if (out := self._values.get("afe_frames_rejected")) is not None:
            out[0] = sample.frames_rejected
        if (out := self._values.get("device_clock_jump")) is not None:
            out[0] = math.nan
            if before is not None and step_s > 0.0:
                now_ms, before_ms = sample.device_time_ms, before.device_time_ms
                if now_ms is not None and before_ms is not None:
                    device_s = ((now_ms - before_ms) & 0xFFFFFFFF) / 1000.0
                    out[0] = abs(device_s - step_s)
        if (out := self._values.get("hardware_mismatch")) is not None:
            pack = self._pack
            wanted = (pack.series, pack.modules, pack.temperature_sensors)
            said = [(s, w) for s, w in zip(sample.hardware, wanted, strict=True) if s]
            out[0] = any(s != w for s, w in said) if said else math.nan


_UNKNOWN = np.array([math.nan])


def _median(values: FloatArray) -> float:
    """Median of known values; NaN of none."""
    count = len(values)
    if count == 0:
        return math.nan
    middle = count // 2
    if count % 2:
        return float(np.partition(values, middle)[middle])
    parted = np.partition(values, (middle - 1, middle))
    return float(parted[middle - 1] + parted[middle]) / 2.0


class _StuckDetector:
    """How far the median moved since an element's value last changed.

    The median is that of the last three scans, and compared from the third scan after the change
    on: so one disturbed scan neither moves it nor becomes what it is compared with.
    """

    _SCANS = 3

    def __init__(self, count: int) -> None:
        self._last = np.full(count, math.nan)
        self._unchanged = np.zeros(count, np.int64)  # scans since the value changed
        self._median_then = np.zeros(count)
        self._medians: deque[float] = deque(maxlen=self._SCANS)

    def update(self, values: FloatArray, median: float, out: FloatArray) -> None:
        self._medians.append(median)
        steady = sorted(self._medians)[len(self._medians) // 2]
        self._unchanged += 1
        self._unchanged[values != self._last] = 0  # NaN is unequal to itself
        self._last = values
        np.copyto(self._median_then, steady, where=self._unchanged <= self._SCANS)
        np.abs(self._median_then - steady, out=out)
        out += 0.0 * values  # unmeasured is unknown


class _ShortDetector:
    """Cells that fall away from what they owed to the median at the present current.

    Each cell's distance from the median is learnt as ``a + b * current`` by recursive least squares
    with forgetting (Ljung, System Identification, 2nd ed., section 11.2); the regressor is the same
    for all cells, so one 2 x 2 covariance serves them all. What remains, smoothed over seconds, is
    what a beginning short draws: 1 ohm across a 5 A h cell shows as some tens of millivolts.
    """

    _FORGETTING_S = 600.0
    _SMOOTHING_S = 3.0
    _WARM_UP_S = 60.0
    _LARGEST_LESSON_V = 0.005  # per sample, once it has warmed up: a fault is not learnt quickly
    _IMPLAUSIBLE_V = 0.02  # no resistance does that: hardly learnt
    _START = (1.0, 0.0, 1e-4)  # covariance of (a, b): diagonal, beside it, diagonal

    def __init__(self, count: int) -> None:
        self._count = count
        self.forget()

    def forget(self) -> None:
        self._a_v: FloatArray = np.zeros(self._count)
        self._b_ohm: FloatArray = np.zeros(self._count)
        self._covariance = self._START
        self._fallen_v: FloatArray = np.zeros(self._count)
        self._learnt_s = 0.0

    def update(
        self, deviation_v: FloatArray, current_a: float, step_s: float, out: FloatArray
    ) -> None:
        if not math.isfinite(current_a):
            out[:] = math.nan
            return
        error_v = deviation_v - self._a_v
        error_v -= self._b_ohm * current_a
        if math.isnan(float(error_v.sum())):
            np.nan_to_num(error_v, copy=False)  # an unmeasured cell learns nothing
        warm = self._learnt_s >= self._WARM_UP_S
        lesson_v = error_v
        if warm:
            largest_v = self._LARGEST_LESSON_V
            lesson_v = np.minimum(np.maximum(error_v, -largest_v), largest_v)
            np.multiply(lesson_v, 0.1, out=lesson_v, where=np.abs(error_v) > self._IMPLAUSIBLE_V)
        gain_a, gain_b = self._learn(current_a, step_s)
        self._a_v += gain_a * lesson_v
        self._b_ohm += gain_b * lesson_v
        self._learnt_s += step_s
        share = min(step_s / self._SMOOTHING_S, 1.0)
        self._fallen_v *= 1.0 - share
        self._fallen_v -= share * error_v
        out[:] = self._fallen_v if warm else math.nan

    def _learn(self, current_a: float, step_s: float) -> tuple[float, float]:
        """Renew the covariance with the regressor (1, current); the gains of a and b."""
        aa, ab, bb = self._covariance
        product_a, product_b = aa + ab * current_a, ab + bb * current_a
        scale = 1.0 / (1.0 + product_a + product_b * current_a)
        gain_a, gain_b = product_a * scale, product_b * scale
        aa, ab, bb = aa - gain_a * product_a, ab - gain_a * product_b, bb - gain_b * product_b
        # Without movement of the current its direction would grow without bound.
        growth = math.exp(step_s / self._FORGETTING_S)
        if aa * growth < self._START[0] and bb * growth < self._START[2]:
            aa, ab, bb = aa * growth, ab * growth, bb * growth
        self._covariance = (aa, ab, bb)
        return gain_a, gain_b


class _ResponseDetector:
    """Whether mean cell voltage and current move together, as a resistance makes them.

    Their movements are what is above a two-second mean; the resistance is learnt from them.
    """

    _MEAN_S = 2.0
    _WINDOW_S = 5.0
    _LEARNING_S = 600.0
    _WARM_UP_S = 60.0
    _LEAST_CURRENT = 0.2  # of the movement that was usual while the resistance was learnt
    _TOLERANCE = 3.0  # temperature and charge change the resistance meanwhile

    def __init__(self) -> None:
        self._ohm = math.nan
        self._usual_a = 0.0
        self.forget()

    def forget(self) -> None:
        self._mean = (math.nan, math.nan)
        self._variance_v = self._variance_a = self._covariance = 0.0
        self._moved_s = 0.0

    def update(self, voltage_v: float, current_a: float, step_s: float) -> float:
        """Unexplained or missing movement [V]; NaN while nothing is known."""
        if not (math.isfinite(voltage_v) and math.isfinite(current_a)):
            return math.nan
        mean_v, mean_a = self._mean
        if math.isnan(mean_v):
            self._mean = (voltage_v, current_a)
            return math.nan
        dv, da = voltage_v - mean_v, current_a - mean_a
        share = min(step_s / self._MEAN_S, 1.0)
        self._mean = (mean_v + share * dv, mean_a + share * da)
        share = min(step_s / self._WINDOW_S, 1.0)
        self._variance_v += share * (dv * dv - self._variance_v)
        self._variance_a += share * (da * da - self._variance_a)
        self._covariance += share * (dv * da - self._covariance)
        moved_v, moved_a = math.sqrt(self._variance_v), math.sqrt(self._variance_a)
        # Learnt only where both move together.
        together = self._covariance > 0.7 * moved_v * moved_a > 0.0
        if together and moved_a >= self._LEAST_CURRENT * self._usual_a:
            ohm = self._covariance / self._variance_a
            share = 1.0 if math.isnan(self._ohm) else min(step_s / self._LEARNING_S, 1.0)
            self._ohm = ohm if math.isnan(self._ohm) else self._ohm + share * (ohm - self._ohm)
            self._usual_a += min(step_s / self._LEARNING_S, 1.0) * (moved_a - self._usual_a)
            if self._moved_s < self._WARM_UP_S:
                self._moved_s += step_s
                # Until then the window is not filled: take the present value over.
                self._ohm, self._usual_a = ohm, moved_a
        if math.isnan(self._ohm) or self._moved_s < self._WARM_UP_S:
            return math.nan
        explained_v = self._ohm * moved_a
        return max(moved_v - self._TOLERANCE * explained_v, explained_v / self._TOLERANCE - moved_v)
