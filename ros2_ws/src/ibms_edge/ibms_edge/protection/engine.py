# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the table of diagnoses, vectorised over elements. No ROS.

Debounce counts fresh samples and the time between them, never calls on an old value.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_edge.protection.table import (
    SOURCE_OF,
    Diagnosis,
    DiagnosisTable,
    Reaction,
    Signal,
    Source,
)

FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class ActiveFault:
    """A tripped diagnosis."""

    diagnosis: Diagnosis
    element: int  # -1: the pack as a whole
    value: float
    tripped_ns: int


@dataclass(slots=True)
class _Row:
    """Running state of one diagnosis."""

    diagnosis: Diagnosis
    source: Source
    sign: float  # +1 bad above, -1 bad below
    limit: float
    count: npt.NDArray[np.int32] | None = None
    first_bad_ns: npt.NDArray[np.int64] | None = None
    pending: bool = False
    standing: bool = False
    good_since_ns: int | None = None
    fault: ActiveFault | None = None


@dataclass
class Verdict:
    """Outcome of one evaluation."""

    reaction: Reaction = Reaction.NONE
    close_allowed: bool = False
    active: list[ActiveFault] = field(default_factory=list)
    evaluated: int = 0
    total: int = 0
    set_now: list[ActiveFault] = field(default_factory=list)
    cleared_now: list[Diagnosis] = field(default_factory=list)


class ProtectionEngine:
    """Judges signals against the table.

    Signals are given as arrays (one value per element); NaN means that there is no fresh sample of the
    element, which neither trips nor clears anything. Missing values have diagnoses of their own.
    """

    def __init__(self, table: DiagnosisTable) -> None:
        self._rows = [
            _Row(
                diagnosis=row,
                source=SOURCE_OF[row.signal],
                sign=1.0 if row.above is not None else -1.0,
                limit=float(row.above if row.above is not None else row.below or 0.0),
            )
            for row in table.diagnoses
        ]
        self._seen: set[Source] = set()
        self.first_cause: ActiveFault | None = None

    @property
    def active(self) -> list[ActiveFault]:
        """Active faults, strongest reaction and then oldest first."""
        faults = [row.fault for row in self._rows if row.fault is not None]
        return sorted(faults, key=lambda f: (-f.diagnosis.demand, f.tripped_ns, f.diagnosis.id))

    def evaluate(
        self,
        fresh: Iterable[Source],
        signals: dict[Signal, FloatArray],
        now_ns: int,
    ) -> Verdict:
        """Judge.

        Args:
            fresh: inputs that brought a new sample since the last call; "clock" is implied.
            signals: values of all signals of these inputs and of "clock".
            now_ns: sampling time of the newest input [ns].
        """
        sources = {"clock", *fresh}
        self._seen.update(fresh)
        verdict = Verdict(total=len(self._rows))
        for row in self._rows:
            if row.source in sources and row.diagnosis.signal in signals:
                self._judge(row, signals[row.diagnosis.signal], now_ns, verdict)
            verdict.evaluated += 1
        verdict.active = self.active
        verdict.reaction = self._reaction(verdict.active, now_ns)
        if verdict.reaction >= Reaction.OPEN_AFTER_ZERO_CURRENT and self.first_cause is None:
            self.first_cause = verdict.active[0]
        verdict.close_allowed = (
            verdict.reaction < Reaction.OPEN_AFTER_ZERO_CURRENT
            and {"cells", "pack"} <= self._seen
            and not any(
                row.pending and row.diagnosis.demand >= Reaction.OPEN_AFTER_ZERO_CURRENT
                for row in self._rows
            )
        )
        return verdict

    def acknowledge(self, identifiers: Iterable[int] = ()) -> tuple[list[int], list[int]]:
        """Clear latched faults whose condition is gone.

        Returns:
            identifiers that were cleared, and those whose condition still stands.

        Raises:
            KeyError: for an identifier that the table does not hold.
        """
        wanted = set(identifiers)
        unknown = wanted - {row.diagnosis.id for row in self._rows}
        if unknown:
            raise KeyError(min(unknown))
        cleared, standing = [], []
        for row in self._rows:
            if row.fault is None or (wanted and row.diagnosis.id not in wanted):
                continue
            if row.standing:
                standing.append(row.diagnosis.id)
            else:
                row.fault = None
                cleared.append(row.diagnosis.id)
        if not any(f.diagnosis.demand >= Reaction.OPEN_AFTER_ZERO_CURRENT for f in self.active):
            self.first_cause = None
        return cleared, standing

    def _judge(self, row: _Row, values: FloatArray, now_ns: int, verdict: Verdict) -> None:
        diagnosis = row.diagnosis
        excess = (values - row.limit) * row.sign
        bad = excess > 0.0  # NaN compares false
        if not bad.any():
            if row.pending:
                known = ~np.isnan(values)
                self._reset(row, known)
            if row.fault is not None:
                self._recover(row, excess, now_ns, verdict)
            return
        row.good_since_ns = None
        row.standing = True
        if row.count is None or row.first_bad_ns is None or len(row.count) != len(values):
            row.count = np.zeros(len(values), np.int32)
            row.first_bad_ns = np.zeros(len(values), np.int64)
        good = ~bad & ~np.isnan(values)
        row.count[good] = 0
        beginning = bad & (row.count == 0)
        row.first_bad_ns[beginning] = now_ns
        row.count[bad] += 1
        row.pending = True
        if row.fault is not None:
            return
        tripped = (
            bad
            & (row.count >= diagnosis.samples)
            & (now_ns - row.first_bad_ns >= diagnosis.time_s * NS_PER_S)
        )
        if tripped.any():
            element = int(np.argmax(np.where(tripped, excess, -np.inf)))
            row.fault = ActiveFault(
                diagnosis, element if len(values) > 1 else -1, float(values[element]), now_ns
            )
            verdict.set_now.append(row.fault)

    def _reset(self, row: _Row, known: npt.NDArray[np.bool_]) -> None:
        if row.count is not None and len(row.count) == len(known):
            row.count[known] = 0
            row.pending = bool(row.count.any())
        else:
            row.pending = False

    def _recover(self, row: _Row, excess: FloatArray, now_ns: int, verdict: Verdict) -> None:
        known = excess[~np.isnan(excess)]
        if not known.size or (known > -row.diagnosis.hysteresis).any():
            row.good_since_ns = None
            return
        if row.good_since_ns is None:
            row.good_since_ns = now_ns
        if now_ns - row.good_since_ns >= row.diagnosis.recovery_s * NS_PER_S:
            row.standing = False
            if not row.diagnosis.latched:
                row.fault = None
                verdict.cleared_now.append(row.diagnosis)
                if self.first_cause is not None and not any(
                    f.diagnosis.demand >= Reaction.OPEN_AFTER_ZERO_CURRENT for f in self.active
                ):
                    self.first_cause = None

    def _reaction(self, active: list[ActiveFault], now_ns: int) -> Reaction:
        strongest = Reaction.NONE
        for fault in active:
            demand = fault.diagnosis.demand
            if (
                demand is Reaction.OPEN_AFTER_ZERO_CURRENT
                and now_ns - fault.tripped_ns >= fault.diagnosis.zero_current_s * NS_PER_S
            ):
                demand = Reaction.OPEN_NOW
            strongest = max(strongest, demand)
        return strongest
