# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the table of diagnoses, all limits of one input at once. No ROS.

Debounce counts fresh samples and the time between them, never calls on an old value. As long as no
value is beyond a limit and nothing is pending, an evaluation is five array operations per input;
single rows are looked at only where something is wrong.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack, interpolate_logarithmic
from ibms_edge.protection.signals import (
    SIGNALS,
    SOURCES,
    FloatArray,
    Signal,
    Source,
    element_count,
)
from ibms_edge.protection.table import (
    Diagnosis,
    DiagnosisTable,
    Direction,
    Level,
    Reaction,
    StateName,
)

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_LONGEST_CURVE_STEP_S = 1.0  # a gap between samples says nothing about the current in between
_OPENING_SHOWN_S = 0.2  # for which the demand to open now stands at least
# A cell out of circuit may be empty; what it can still do to its surroundings is judged on.
_JUDGED_WHEN_ISOLATED: frozenset[Signal] = frozenset({"thermal_runaway_rate"})


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
class _Row:
    """One limit of one diagnosis; arrays have one entry per element of its signal."""

    diagnosis: Diagnosis
    level: Level
    demand: Reaction
    sign: float  # +1 bad above, -1 bad below
    limit: float
    place: slice  # in the arrays of its group
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


@dataclass
class _Group:
    """All rows of one input: their signals' values side by side, one slot per row and element."""

    rows: list[_Row]
    values: FloatArray
    index: npt.NDArray[np.intp]  # slot -> value
    starts: npt.NDArray[np.intp]  # row -> first slot
    sign: FloatArray
    own_limit: FloatArray
    limit: FloatArray
    excess: FloatArray
    bad: BoolArray
    suspended: BoolArray  # slots of isolated cells
    has_suspended: bool = False
    busy: bool = False
    limits_in: dict[tuple[StateName | None, Direction | None], FloatArray] = field(
        default_factory=dict
    )


@dataclass
class Verdict:
    """Outcome of one evaluation."""

    reaction: Reaction = Reaction.NONE
    close_allowed: bool = False
    active: list[ActiveFault] = field(default_factory=list)
    first_cause: ActiveFault | None = None
    isolate_cells: list[int] = field(default_factory=list)
    evaluated: int = 0
    total: int = 0
    set_now: list[ActiveFault] = field(default_factory=list)
    cleared_now: list[ActiveFault] = field(default_factory=list)


class ProtectionEngine:
    """Judges signals against the table.

    ``values`` holds one array per signal that the table uses, to be filled before ``evaluate``. NaN
    means that there is no fresh sample of the element, which neither trips nor clears. Missing
    values have diagnoses of their own.
    """

    def __init__(self, table: DiagnosisTable, pack: Pack) -> None:
        self.values: dict[Signal, FloatArray] = {}
        self.first_cause: ActiveFault | None = None
        self.waits_for_lockouts = bool(table.lockouts)
        self._pack = pack
        self._groups = {source: self._group(source, table) for source in SOURCES}
        self._rows = [row for group in self._groups.values() for row in group.rows]
        self._total = len(table.diagnoses)
        self._count_of = {
            source: len({row.diagnosis.id for row in group.rows})
            for source, group in self._groups.items()
        }
        self.judged_ns: dict[Source, int] = {}  # sampling time of what was judged last
        self._active: list[ActiveFault] = []
        self._faulty: list[_Row] = []  # rows of the active faults
        self._changed = False
        self._isolated: BoolArray | None = None  # None: the pack cannot isolate
        self._all_open = False
        self._closed_since_ns = 0
        self._context: tuple[StateName | None, Direction | None] = (None, None)
        self._apply_context()

    @property
    def active(self) -> list[ActiveFault]:
        """Active faults, strongest reaction and then oldest first."""
        if self._changed:
            self._faulty = [row for row in self._rows if row.fault is not None]
            faults = [row.fault for row in self._faulty if row.fault is not None]
            self._active = sorted(
                faults, key=lambda f: (-f.demand, f.tripped_ns, f.diagnosis.id, -f.level)
            )
            self._changed = False
        return self._active

    @property
    def never_evaluated(self) -> list[Diagnosis]:
        """Diagnoses whose signal has no value now, in the order of the table."""
        return [
            row.diagnosis
            for row in self._rows
            if row.level is Level.SAFETY and bool(np.isnan(self.values[row.diagnosis.signal]).all())
        ]

    def set_context(self, state: StateName | None, direction: Direction | None) -> None:
        """Pack state (``None``: unknown, all applies) and direction of current (``None``: none)."""
        if (state, direction) != self._context:
            self._context = (state, direction)
            self._apply_context()

    def set_isolated(self, isolated: BoolArray | None) -> None:
        """Cells that feedback shows bypassed, shape (cells,); ``None`` where none can be."""
        known = self._isolated
        if isolated is known or (
            isolated is not None and known is not None and np.array_equal(isolated, known)
        ):
            return
        self._isolated = isolated
        for group in self._groups.values():
            group.suspended[:] = False
            for row in group.rows:
                signal = row.diagnosis.signal
                if isolated is None or SIGNALS[signal].element != "cell":
                    continue
                if signal not in _JUDGED_WHEN_ISOLATED:
                    group.suspended[row.place] = isolated
                    row.count[isolated] = 0
                    row.pending = bool(row.count.any())
            group.has_suspended = bool(group.suspended.any())

    def set_all_open(self, all_open: bool, now_ns: int) -> None:
        """Whether all switches are open or about to be: there is nothing to isolate from then.

        With the first switch that closes, cells to be isolated are given their time once more.
        """
        if self._all_open and not all_open:
            self._closed_since_ns = now_ns
        self._all_open = all_open

    def has_fault(self, signal: Signal) -> bool:
        """Whether a diagnosis of this signal has tripped."""
        return any(row.diagnosis.signal == signal for row in self._faulty)

    def restore(self, identifier: int, element: int, value: float, now_ns: int) -> bool:
        """Take over a lock-out of an earlier run; False if the table has no such lock-out."""
        for row in self._rows:
            if (
                row.diagnosis.id == identifier
                and row.diagnosis.lockout
                and row.level is Level.SAFETY
            ):
                if row.fault is None:
                    # What it was about has to be seen good before anybody can clear it.
                    row.standing = True
                    row.involved[:] = True
                    row.fault = ActiveFault(
                        row.diagnosis, row.level, element, value, now_ns, row.demand
                    )
                    self._groups[SIGNALS[row.diagnosis.signal].source].busy = True
                    self._changed = True
                return True
        return False

    def evaluate(self, sampled: Mapping[Source, int], now_ns: int) -> Verdict:
        """Judge what stands in ``values``.

        Args:
            sampled: inputs that brought a new sample since the last call, with its sampling time
                [ns]; "clock" is implied.
            now_ns: present time [ns].
        """
        verdict = Verdict(total=self._total)
        for source, group in self._groups.items():
            sample_ns = now_ns if source == "clock" else sampled.get(source)
            if sample_ns is not None:
                self._evaluate(group, sample_ns, now_ns, verdict)
                self.judged_ns[source] = sample_ns
        self._changed = self._changed or bool(verdict.set_now or verdict.cleared_now)
        verdict.active = self.active
        verdict.reaction = self._reaction(now_ns)
        verdict.active = self.active  # an isolation that failed changes their order
        self._renew_first_cause()
        verdict.first_cause = self.first_cause
        verdict.isolate_cells = self._isolate_cells()
        verdict.close_allowed = (
            verdict.reaction < Reaction.OPEN_AFTER_ZERO_CURRENT
            and {"cells", "pack"} <= self.judged_ns.keys()
            and not self.waits_for_lockouts
            and not any(
                self._holds_closing_back(row, verdict.isolate_cells)
                for group in self._groups.values()
                if group.busy
                for row in group.rows
            )
        )
        return verdict

    def evaluated(self, newest_ns: Mapping[Source, int]) -> int:
        """Number of diagnoses that have judged the newest samples, taken at ``newest_ns``.

        Inputs that never came or fell silent owe nothing here: their age is a diagnosis.
        """
        return sum(
            count
            for source, count in self._count_of.items()
            if self.judged_ns.get(source) == newest_ns.get(source)
        )

    def acknowledge(self, identifiers: Iterable[int] = ()) -> tuple[list[int], list[int]]:
        """Clear latched faults whose condition is gone; lock-outs only where they are named.

        Returns:
            identifiers that are cleared altogether, and those that still stand at some level.

        Raises:
            KeyError: for an identifier that the table does not hold.
        """
        wanted = set(identifiers)
        unknown = wanted - {row.diagnosis.id for row in self._rows}
        if unknown:
            raise KeyError(min(unknown))
        cleared, standing = set(), set()
        for row in self._rows:
            identifier = row.diagnosis.id
            if row.fault is None or (wanted and identifier not in wanted):
                continue
            if row.standing or (row.diagnosis.lockout and not wanted):
                standing.add(identifier)
            else:
                row.forget()
                cleared.add(identifier)
        self._changed = True
        self._renew_first_cause()
        return sorted(cleared - standing), sorted(standing)

    # Building ------------------------------------------------------------------------------------

    def _group(self, source: Source, table: DiagnosisTable) -> _Group:
        diagnoses = [row for row in table.diagnoses if SIGNALS[row.signal].source == source]
        places: dict[Signal, slice] = {}
        size = 0
        for signal in dict.fromkeys(row.signal for row in diagnoses):
            count = element_count(SIGNALS[signal].element, self._pack)
            places[signal] = slice(size, size + count)
            size += count
        values = np.full(size, np.nan)
        self.values.update({signal: values[place] for signal, place in places.items()})
        limits = [(row, *level) for row in diagnoses for level in row.limits.levels()]
        counts = [places[row.signal].stop - places[row.signal].start for row, _, _ in limits]
        slots = sum(counts)
        count_array = np.zeros(slots, np.int64)
        first_bad_ns = np.zeros(slots, np.int64)
        involved = np.zeros(slots, np.bool_)
        rows, index, start = [], [np.zeros(0, np.intp)], 0
        for (diagnosis, level, limit), count in zip(limits, counts, strict=True):
            place = slice(start, start + count)
            rows.append(
                _Row(
                    diagnosis,
                    level,
                    diagnosis.demand_at(level),
                    1.0 if diagnosis.is_above else -1.0,
                    float(limit),
                    place,
                    count_array[place],
                    first_bad_ns[place],
                    involved[place],
                )
            )
            where = places[diagnosis.signal]
            index.append(np.arange(where.start, where.stop, dtype=np.intp))
            start += count
        own_limit = np.repeat([row.limit for row in rows], counts)
        return _Group(
            rows,
            values,
            np.concatenate(index),
            np.array([row.place.start for row in rows], np.intp),
            np.repeat([row.sign for row in rows], counts),
            own_limit,
            own_limit,
            np.zeros(slots),
            np.zeros(slots, np.bool_),
            np.zeros(slots, np.bool_),
        )

    def _apply_context(self) -> None:
        for group in self._groups.values():
            limit = group.limits_in.get(self._context)
            for row in group.rows:
                row.applicable = row.applies(*self._context)
            if limit is None:
                limit = group.own_limit.copy()
                for row in group.rows:
                    if not row.applicable:
                        limit[row.place] = row.sign * math.inf
                group.limits_in[self._context] = limit
            group.limit = limit

    # Judging -------------------------------------------------------------------------------------

    def _evaluate(self, group: _Group, sample_ns: int, now_ns: int, verdict: Verdict) -> None:
        if not group.rows:
            return
        excess, bad = group.excess, group.bad
        np.take(group.values, group.index, out=excess, mode="clip")
        np.subtract(excess, group.limit, out=excess)
        np.multiply(excess, group.sign, out=excess)
        np.greater(excess, 0.0, out=bad)  # NaN compares false
        if group.has_suspended:
            bad[group.suspended] = False
        if not group.busy and not bad.any():
            return
        touched = np.logical_or.reduceat(bad, group.starts).tolist()
        group.busy = False
        for row, is_bad in zip(group.rows, touched, strict=True):
            if is_bad or row.is_busy:
                self._judge(row, group, is_bad, sample_ns, now_ns, verdict)
                group.busy = group.busy or row.is_busy

    def _judge(
        self,
        row: _Row,
        group: _Group,
        is_bad: bool,
        sample_ns: int,
        now_ns: int,
        verdict: Verdict,
    ) -> None:
        bad = group.bad[row.place]
        excess = group.excess[row.place]
        if not row.applicable:
            excess = np.full(len(bad), -math.inf)  # whatever it measures, nothing stands
        if row.diagnosis.curve:
            self._integrate(row, float(group.values[group.index[row.place.start]]), sample_ns)
        elif row.diagnosis.debounce == "counter":
            row.count[bad] += 1
            row.count[excess <= 0.0] -= 1
            np.clip(row.count, 0, row.diagnosis.samples, out=row.count)
        else:
            row.count[excess <= 0.0] = 0
            row.first_bad_ns[bad & (row.count == 0)] = sample_ns
            row.count[bad] += 1
        row.pending = bool(row.count.any())
        if is_bad:
            row.involved |= bad
            row.standing = True
            row.good_since_ns = None
            self._trip(row, bad, group, sample_ns, now_ns, verdict)
        elif row.fault is not None:
            self._recover(row, excess, sample_ns, verdict)
        elif not row.pending and row.integral == 0.0:
            row.forget()

    def _trip(
        self,
        row: _Row,
        bad: BoolArray,
        group: _Group,
        sample_ns: int,
        now_ns: int,
        verdict: Verdict,
    ) -> None:
        diagnosis = row.diagnosis
        isolates = row.demand is Reaction.ISOLATE
        # A lock-out of a damaged memory has no value: what is measured takes its place and is told.
        is_known = row.fault is not None and not math.isnan(row.fault.value)
        if is_known and not isolates:
            return
        if diagnosis.curve:
            tripped = bad & (row.integral >= 1.0 - 1e-9)
        elif diagnosis.debounce == "counter":
            tripped = row.count >= diagnosis.samples
        else:
            tripped = bad & (row.count >= diagnosis.samples)
            if diagnosis.time_s:
                tripped &= sample_ns - row.first_bad_ns >= diagnosis.time_s * NS_PER_S
        if not tripped.any():
            return
        if isolates:
            for element in np.flatnonzero(tripped).tolist():
                row.to_isolate.setdefault(element, now_ns)
        if is_known:
            return
        excess = group.excess[row.place]
        element = int(np.argmax(np.where(tripped, excess, -np.inf)))
        value = float(group.values[group.index[row.place.start + element]])
        row.fault = ActiveFault(
            diagnosis,
            row.level,
            element if len(bad) > 1 else -1,
            value,
            now_ns,
            row.demand,
        )
        verdict.set_now.append(row.fault)

    def _recover(self, row: _Row, excess: FloatArray, sample_ns: int, verdict: Verdict) -> None:
        diagnosis = row.diagnosis
        if diagnosis.debounce == "counter":
            if row.pending:
                return
        else:
            # Each element that was bad has to be seen good: NaN clears nothing.
            clear = excess[row.involved] <= -diagnosis.hysteresis
            if not clear.all() or row.integral > 0.5:
                row.good_since_ns = None
                return
            if row.good_since_ns is None:
                row.good_since_ns = sample_ns
            if sample_ns - row.good_since_ns < diagnosis.recovery_s * NS_PER_S:
                return
        if row.fault is not None and row.demand is Reaction.OPEN_AFTER_ZERO_CURRENT:
            # Zero current may hide what it is about: the opening that it demands comes first.
            stands_s = diagnosis.zero_current_s + _OPENING_SHOWN_S
            if sample_ns - row.fault.tripped_ns < stands_s * NS_PER_S:
                return
        if diagnosis.latched and row.level is Level.SAFETY:
            row.standing = False
        elif row.fault is not None:
            verdict.cleared_now.append(row.fault)
            row.forget()

    def _integrate(self, row: _Row, value: float, sample_ns: int) -> None:
        """Inverse time: the share of the time to trip that has passed, added up.

        As thermal overload relays do (IEC 60255-149): times in between by the curve's logarithms,
        recovery in the longest of its times.
        """
        before, row.integrated_ns = row.integrated_ns, sample_ns
        if before is None or not row.applicable:
            return
        step_s = min((sample_ns - before) / NS_PER_S, _LONGEST_CURVE_STEP_S)
        curve = row.diagnosis.curve
        if (value - row.limit) * row.sign > 0.0:
            row.integral = min(row.integral + step_s / _time_to_trip_s(curve, value), 2.0)
        elif value == value:
            row.integral = max(row.integral - step_s / curve[0][1], 0.0)

    # Outcome -------------------------------------------------------------------------------------

    def _renew_first_cause(self) -> None:
        opening = [fault for fault in self.active if fault.opens]
        self.first_cause = min(
            opening,
            key=lambda f: (f.tripped_ns, -f.demand, f.diagnosis.id),
            default=None,
        )

    def _isolate_cells(self) -> list[int]:
        return sorted({cell for row in self._faulty for cell in row.to_isolate})

    def _reaction(self, now_ns: int) -> Reaction:
        strongest = Reaction.NONE
        for row in self._faulty:
            fault = row.fault
            if fault is None:
                continue
            if fault.demand is Reaction.ISOLATE and self._isolation_failed(row, now_ns):
                fault.demand = Reaction.OPEN_NOW
                self._changed = True
            demand = fault.demand
            if (
                demand is Reaction.OPEN_AFTER_ZERO_CURRENT
                and now_ns - fault.tripped_ns >= fault.diagnosis.zero_current_s * NS_PER_S
            ):
                demand = Reaction.OPEN_NOW
            strongest = max(strongest, demand)
        return strongest

    @staticmethod
    def _holds_closing_back(row: _Row, isolate_cells: list[int]) -> bool:
        """A fault that may come; not one of a cell that is about to be taken out of circuit."""
        if not row.pending or row.fault is not None or row.demand < Reaction.ISOLATE:
            return False
        if not isolate_cells or SIGNALS[row.diagnosis.signal].element != "cell":
            return True
        return not set(np.flatnonzero(row.count).tolist()) <= set(isolate_cells)

    def _isolation_failed(self, row: _Row, now_ns: int) -> bool:
        """Whether a cell's time ran out; it began with the trip and nobody can extend it."""
        if self._isolated is None:
            return True
        if self._all_open:
            return False
        limit_ns = row.diagnosis.isolate_s * NS_PER_S
        return any(
            not self._isolated[cell] and now_ns - max(tripped_ns, self._closed_since_ns) >= limit_ns
            for cell, tripped_ns in row.to_isolate.items()
        )


def _time_to_trip_s(curve: list[tuple[float, float]], value: float) -> float:
    points = [(abs(limit), time_s) for limit, time_s in curve]
    furthest, shortest_s = points[-1]
    return shortest_s if abs(value) >= furthest else interpolate_logarithmic(points, abs(value))
