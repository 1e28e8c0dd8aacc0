# SPDX-License-Identifier: Apache-2.0
"""One limit of one diagnosis: debounce, trip and recovery. No ROS."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import interpolate_logarithmic
from ibms_edge.protection.signals import FloatArray
from ibms_edge.protection.table import Diagnosis, Direction, Level, Reaction, StateName

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_LONGEST_CURVE_STEP_S = 1.0  # a gap between samples says nothing about the current in between
_OPENING_SHOWN_S = 0.2  # for which the demand to open now stands at least


@dataclass(slots=True)
class ActiveFault:
    """A tripped diagnosis."""

    diagnosis: Diagnosis
    level: Level
    element: int  # -1: the pack as a whole
    value: float
    tripped_ns: int
    demand: Reaction  # the reaction that it demands by itself; an isolation that failed opens

    @property
    def opens(self) -> bool:
        """Whether it demands that the pack opens, sooner or later."""
        return self.demand >= Reaction.OPEN_AFTER_ZERO_CURRENT


@dataclass(slots=True)
class Row:
    """One limit of one diagnosis; arrays have one entry per element of its signal.

    ``excess`` and ``bad`` are parts of the arrays of its group, which fills them; ``values`` is the
    array of its signal, which the engine's user fills.
    """

    diagnosis: Diagnosis
    level: Level
    demand: Reaction
    sign: float  # +1 bad above, -1 bad below
    limit: float
    place: slice  # in the arrays of its group
    values: FloatArray
    excess: FloatArray  # beyond the limit, in the unit of the signal
    bad: BoolArray
    count: IntArray  # bad samples in a row, or the counter
    first_bad_ns: IntArray
    involved: BoolArray  # bad since the condition began
    applicable: bool = True
    pending: bool = False  # some element is bad
    standing: bool = False  # the condition has not recovered
    good_since_ns: int | None = None
    fault: ActiveFault | None = None
    integral: float = 0.0  # of an inverse-time curve; trips at 1
    integrated_ns: int | None = None
    to_isolate: dict[int, int] = field(default_factory=dict)  # element -> time of its trip [ns]

    @property
    def is_busy(self) -> bool:
        """Whether it has to be looked at though nothing is bad."""
        return self.pending or self.standing or self.fault is not None or self.integral > 0.0

    def forget(self) -> None:
        """Begin anew: no fault, no condition."""
        self.fault = None
        self.standing = self.pending = False
        self.good_since_ns = None
        self.involved[:] = False
        self.count[:] = 0
        self.integral = 0.0
        self.integrated_ns = None
        self.to_isolate.clear()

    def applies(self, state: StateName | None, direction: Direction | None) -> bool:
        """Whether it is judged; an unknown state excludes nothing."""
        row = self.diagnosis
        if row.states and state is not None and state not in row.states:
            return False
        return row.direction is None or row.direction == direction

    def restore(self, element: int, value: float, now_ns: int) -> None:
        """Take over a lock-out of an earlier run, unless it has tripped already."""
        if self.fault is None:
            # What it was about has to be seen good before anybody can clear it.
            self.standing = True
            self.involved[:] = True
            self.fault = ActiveFault(
                self.diagnosis, self.level, element, value, now_ns, self.demand
            )

    def judge(self, is_bad: bool, sample_ns: int, now_ns: int) -> None:
        """Count the sample that its group compared, then trip or recover.

        Args:
            is_bad: whether any element is bad.
            sample_ns: time of the sample [ns].
            now_ns: present time [ns].
        """
        bad, excess = self.bad, self.excess
        if not self.applicable:
            excess = np.full(len(bad), -math.inf)  # whatever it measures, nothing stands
        if self.diagnosis.curve:
            self._integrate(float(self.values[0]), sample_ns)
        elif self.diagnosis.debounce == "counter":
            self.count[bad] += 1
            self.count[excess <= 0.0] -= 1
            np.clip(self.count, 0, self.diagnosis.samples, out=self.count)
        else:
            self.count[excess <= 0.0] = 0
            self.first_bad_ns[bad & (self.count == 0)] = sample_ns
            self.count[bad] += 1
        self.pending = bool(self.count.any())
        if is_bad:
            self.involved |= bad
            self.standing = True
            self.good_since_ns = None
            self._trip(sample_ns, now_ns)
        elif self.fault is not None:
            self._recover(excess, sample_ns)
        elif not self.pending and self.integral == 0.0:
            self.forget()

    def _trip(self, sample_ns: int, now_ns: int) -> None:
        diagnosis, bad = self.diagnosis, self.bad
        isolates = self.demand is Reaction.ISOLATE
        # A lock-out of a damaged memory has no value: what is measured takes its place and is told.
        is_known = self.fault is not None and not math.isnan(self.fault.value)
        if is_known and not isolates:
            return
        if diagnosis.curve:
            tripped = bad & (self.integral >= 1.0 - 1e-9)
        elif diagnosis.debounce == "counter":
            tripped = self.count >= diagnosis.samples
        else:
            tripped = bad & (self.count >= diagnosis.samples)
            if diagnosis.time_s:
                tripped &= sample_ns - self.first_bad_ns >= diagnosis.time_s * NS_PER_S
        if not tripped.any():
            return
        if isolates:
            for element in np.flatnonzero(tripped).tolist():
                self.to_isolate.setdefault(element, now_ns)
        if is_known:
            return
        element = int(np.argmax(np.where(tripped, self.excess, -np.inf)))
        self.fault = ActiveFault(
            diagnosis,
            self.level,
            element if len(bad) > 1 else -1,
            float(self.values[element]),
            now_ns,
            self.demand,
        )

    def _recover(self, excess: FloatArray, sample_ns: int) -> None:
        diagnosis = self.diagnosis
        if diagnosis.debounce == "counter":
            if self.pending:
                return
        else:
            # Each element that was bad has to be seen good: NaN clears nothing.
            clear = excess[self.involved] <= -diagnosis.hysteresis
            if not clear.all() or self.integral > 0.5:
                self.good_since_ns = None
                return
            if self.good_since_ns is None:
                self.good_since_ns = sample_ns
            if sample_ns - self.good_since_ns < diagnosis.recovery_s * NS_PER_S:
                return
        if self.fault is not None and self.demand is Reaction.OPEN_AFTER_ZERO_CURRENT:
            # Zero current may hide what it is about: the opening that it demands comes first.
            stands_s = diagnosis.zero_current_s + _OPENING_SHOWN_S
            if sample_ns - self.fault.tripped_ns < stands_s * NS_PER_S:
                return
        if diagnosis.latched and self.level is Level.SAFETY:
            self.standing = False
        else:
            self.forget()

    def _integrate(self, value: float, sample_ns: int) -> None:
        """Inverse time: the share of the time to trip that has passed, added up.

        As thermal overload relays do (IEC 60255-149): times in between by the curve's logarithms,
        recovery in the longest of its times.
        """
        before, self.integrated_ns = self.integrated_ns, sample_ns
        if before is None or not self.applicable:
            return
        step_s = min((sample_ns - before) / NS_PER_S, _LONGEST_CURVE_STEP_S)
        curve = self.diagnosis.curve
        if (value - self.limit) * self.sign > 0.0:
            self.integral = min(self.integral + step_s / _time_to_trip_s(curve, value), 2.0)
        elif value == value:
            self.integral = max(self.integral - step_s / curve[0][1], 0.0)


def _time_to_trip_s(curve: list[tuple[float, float]], value: float) -> float:
    points = [(abs(limit), time_s) for limit, time_s in curve]
    furthest, shortest_s = points[-1]
    return shortest_s if abs(value) >= furthest else interpolate_logarithmic(points, abs(value))
