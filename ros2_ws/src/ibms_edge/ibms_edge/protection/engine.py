# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the table of diagnoses: what has tripped, and what is demanded of the pack. No ROS.

Debounce counts fresh samples and the time between them, never calls on an old value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection.groups import Group
from ibms_edge.protection.rows import ActiveFault, BoolArray, Row
from ibms_edge.protection.signals import SIGNALS, SOURCES, FloatArray, Signal, Source
from ibms_edge.protection.table import (
    Diagnosis,
    DiagnosisTable,
    Direction,
    Level,
    Reaction,
    StateName,
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
        self.first_cause: ActiveFault | None = None
        self.waits_for_lockouts = bool(table.lockouts)
        self._groups = {source: Group(source, table, pack) for source in SOURCES}
        self.values: dict[Signal, FloatArray] = {}
        for group in self._groups.values():
            self.values.update(group.values)
        self._rows = [row for group in self._groups.values() for row in group.rows]
        self._total = len(table.diagnoses)
        self._count_of = {
            source: len({row.diagnosis.id for row in group.rows})
            for source, group in self._groups.items()
        }
        self.judged_ns: dict[Source, int] = {}  # sampling time of what was judged last
        self._active: list[ActiveFault] = []
        self._faulty: list[Row] = []  # rows of the active faults
        self._changed = False
        self._isolated: BoolArray | None = None  # None: the pack cannot isolate
        self._all_open = False
        self._closed_since_ns = 0
        self._context: tuple[StateName | None, Direction | None] = (None, None)
        for group in self._groups.values():
            group.set_context(*self._context)

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
            for group in self._groups.values():
                group.set_context(state, direction)

    def set_isolated(self, isolated: BoolArray | None) -> None:
        """Cells that feedback shows bypassed, shape (cells,); ``None`` where none can be."""
        known = self._isolated
        if isolated is known or (
            isolated is not None and known is not None and np.array_equal(isolated, known)
        ):
            return
        self._isolated = isolated
        for group in self._groups.values():
            group.set_isolated(isolated)

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
                row.restore(element, value, now_ns)
                self._groups[SIGNALS[row.diagnosis.signal].source].is_busy = True
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
                group.evaluate(sample_ns, now_ns, verdict.set_now, verdict.cleared_now)
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
                if group.is_busy
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
    def _holds_closing_back(row: Row, isolate_cells: list[int]) -> bool:
        """A fault that may come; not one of a cell that is about to be taken out of circuit."""
        if not row.pending or row.fault is not None or row.demand < Reaction.ISOLATE:
            return False
        if not isolate_cells or SIGNALS[row.diagnosis.signal].element != "cell":
            return True
        return not set(np.flatnonzero(row.count).tolist()) <= set(isolate_cells)

    def _isolation_failed(self, row: Row, now_ns: int) -> bool:
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
