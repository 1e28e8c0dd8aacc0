# SPDX-License-Identifier: Apache-2.0
"""All limits of one input, compared with their signals at once. No ROS.

As long as no value is beyond a limit and nothing is pending, an evaluation is five array operations
per input; single rows are looked at only where something is wrong.
"""

import math

import numpy as np

from ibms_battery.pack import Pack
from ibms_edge.protection.rows import ActiveFault, BoolArray, Row
from ibms_edge.protection.signals import SIGNALS, FloatArray, Signal, Source, element_count
from ibms_edge.protection.table import DiagnosisTable, Direction, StateName

# A cell out of circuit may be empty; what it can still do to its surroundings is judged on.
_JUDGED_WHEN_ISOLATED: frozenset[Signal] = frozenset({"thermal_runaway_rate"})


class Group:
    """The rows of one input: their signals' values side by side, one slot per row and element."""

    def __init__(self, source: Source, table: DiagnosisTable, pack: Pack) -> None:
        diagnoses = [row for row in table.diagnoses if SIGNALS[row.signal].source == source]
        places: dict[Signal, slice] = {}
        size = 0
        for signal in dict.fromkeys(row.signal for row in diagnoses):
            count = element_count(SIGNALS[signal].element, pack)
            places[signal] = slice(size, size + count)
            size += count
        values = np.full(size, np.nan)
        self.values = {signal: values[place] for signal, place in places.items()}
        self.rows: list[Row] = []
        self.is_busy = False  # some row has to be looked at though nothing is bad
        self._all_values = values
        limits = [(row, *level) for row in diagnoses for level in row.limits.levels()]
        counts = [len(self.values[row.signal]) for row, _, _ in limits]
        slots = sum(counts)
        self._excess = np.zeros(slots)
        self._bad = np.zeros(slots, np.bool_)
        self._suspended = np.zeros(slots, np.bool_)  # slots of isolated cells
        self._has_suspended = False
        bad_count = np.zeros(slots, np.int64)
        first_bad_ns = np.zeros(slots, np.int64)
        involved = np.zeros(slots, np.bool_)
        index, start = [np.zeros(0, np.intp)], 0
        for (diagnosis, level, limit), count in zip(limits, counts, strict=True):
            place = slice(start, start + count)
            self.rows.append(
                Row(
                    diagnosis,
                    level,
                    diagnosis.demand_at(level),
                    1.0 if diagnosis.is_above else -1.0,
                    float(limit),
                    place,
                    self.values[diagnosis.signal],
                    self._excess[place],
                    self._bad[place],
                    bad_count[place],
                    first_bad_ns[place],
                    involved[place],
                )
            )
            where = places[diagnosis.signal]
            index.append(np.arange(where.start, where.stop, dtype=np.intp))
            start += count
        self._index = np.concatenate(index)  # slot -> value
        self._starts = np.array([row.place.start for row in self.rows], np.intp)
        self._sign: FloatArray = np.repeat([row.sign for row in self.rows], counts)
        self._own_limit: FloatArray = np.repeat([row.limit for row in self.rows], counts)
        self._limit = self._own_limit
        self._limits_in: dict[tuple[StateName | None, Direction | None], FloatArray] = {}

    def set_context(self, state: StateName | None, direction: Direction | None) -> None:
        """Judge the rows that apply in this pack state at this direction of current."""
        for row in self.rows:
            row.applicable = row.applies(state, direction)
        limit = self._limits_in.get((state, direction))
        if limit is None:
            limit = self._own_limit.copy()
            for row in self.rows:
                if not row.applicable:
                    limit[row.place] = row.sign * math.inf
            self._limits_in[(state, direction)] = limit
        self._limit = limit

    def set_isolated(self, isolated: BoolArray | None) -> None:
        """Cells that feedback shows bypassed, shape (cells,); ``None`` where none can be."""
        self._suspended[:] = False
        for row in self.rows:
            signal = row.diagnosis.signal
            if isolated is None or SIGNALS[signal].element != "cell":
                continue
            if signal not in _JUDGED_WHEN_ISOLATED:
                self._suspended[row.place] = isolated
                row.count[isolated] = 0
                row.pending = bool(row.count.any())
        self._has_suspended = bool(self._suspended.any())

    def evaluate(
        self,
        sample_ns: int,
        now_ns: int,
        set_now: list[ActiveFault],
        cleared_now: list[ActiveFault],
    ) -> None:
        """Judge what stands in ``values``.

        Args:
            sample_ns: its sampling time [ns].
            now_ns: present time [ns].
            set_now: is given the faults that trip.
            cleared_now: is given the faults that recover.
        """
        if not self.rows:
            return
        excess, bad = self._excess, self._bad
        np.take(self._all_values, self._index, out=excess, mode="clip")
        np.subtract(excess, self._limit, out=excess)
        np.multiply(excess, self._sign, out=excess)
        np.greater(excess, 0.0, out=bad)  # NaN compares false
        if self._has_suspended:
            bad[self._suspended] = False
        if not self.is_busy and not bad.any():
            return
        touched = np.logical_or.reduceat(bad, self._starts).tolist()
        self.is_busy = False
        for row, is_bad in zip(self.rows, touched, strict=True):
            if is_bad or row.is_busy:
                before = row.fault
                row.judge(is_bad, sample_ns, now_ns)
                if row.fault is not before:
                    if row.fault is not None:
                        set_now.append(row.fault)
                    elif before is not None:
                        cleared_now.append(before)
                self.is_busy = self.is_busy or row.is_busy
