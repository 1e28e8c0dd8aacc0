# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the table of diagnoses, vectorised over elements. No ROS.

Debounce counts fresh samples and the time between them, never calls on an old value.
"""

from collections.abc import Iterable, Mapping
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
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(slots=True)
class ActiveFault:
    """A tripped diagnosis."""

    diagnosis: Diagnosis
    element: int  # -1: the pack as a whole
    value: float
    tripped_ns: int


@dataclass(slots=True)
class _Row:
    """Running state of one diagnosis; arrays have one entry per element of its signal."""

    diagnosis: Diagnosis
    source: Source
    sign: float  # +1 bad above, -1 bad below
    limit: float
    count: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # bad samples in a row
    first_bad_ns: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    involved: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))  # bad since it began
    pending: bool = False  # some element is bad
    standing: bool = False  # the condition has not recovered
    good_since_ns: int | None = None
    fault: ActiveFault | None = None

    def resize(self, count: int) -> None:
        """Prepare for a signal of ``count`` elements; raises ``ValueError`` if it had others."""
        if len(self.count):
            raise ValueError(
                f"signal {self.diagnosis.signal!r} came with {count} elements, "
                f"expected {len(self.count)}"
            )
        self.count = np.zeros(count, np.int64)
        self.first_bad_ns = np.zeros(count, np.int64)
        self.involved = np.zeros(count, np.bool_)

    def forget(self) -> None:
        """Begin anew: no fault, no condition."""
        self.fault = None
        self.standing = False
        self.involved[:] = False


@dataclass
class Verdict:
    """Outcome of one evaluation."""

    reaction: Reaction = Reaction.NONE
    close_allowed: bool = False
    active: list[ActiveFault] = field(default_factory=list)
    first_cause: ActiveFault | None = None
    evaluated: int = 0
    total: int = 0
    set_now: list[ActiveFault] = field(default_factory=list)
    cleared_now: list[Diagnosis] = field(default_factory=list)


class ProtectionEngine:
    """Judges signals against the table.

    Signals are given as arrays (one value per element); NaN means that there is no fresh sample of
    the element, which neither trips nor clears. Missing values have diagnoses of their own.
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
        faults = [fault for row in self._rows if (fault := row.fault) is not None]
        return sorted(faults, key=lambda f: (-f.diagnosis.demand, f.tripped_ns, f.diagnosis.id))

    def evaluate(
        self,
        sampled: Mapping[Source, int],
        signals: Mapping[Signal, FloatArray],
        now_ns: int,
    ) -> Verdict:
        """Judge.

        Args:
            sampled: inputs that brought a new sample since the last call, with its sampling time
                [ns]; "clock" is implied.
            signals: values of all signals of these inputs and of "clock". A diagnosis whose signal
                is missing here is not counted as evaluated.
            now_ns: present time [ns].

        Raises:
            ValueError: if a signal changes its number of elements.
        """
        times = {**sampled, "clock": now_ns}
        self._seen.update(sampled)
        verdict = Verdict(total=len(self._rows))
        for row in self._rows:
            if row.source in times:
                values = signals.get(row.diagnosis.signal)
                if values is None:
                    continue
                self._judge(row, values, times[row.source], now_ns, verdict)
            verdict.evaluated += 1
        verdict.active = self.active
        verdict.reaction = self._reaction(verdict.active, now_ns)
        self._renew_first_cause(verdict.active)
        verdict.first_cause = self.first_cause
        verdict.close_allowed = (
            verdict.reaction < Reaction.OPEN_AFTER_ZERO_CURRENT
            and {"cells", "pack"} <= self._seen
            and not any(row.pending and _opens(row.diagnosis) for row in self._rows)
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
                row.forget()
                cleared.append(row.diagnosis.id)
        self._renew_first_cause(self.active)
        return cleared, standing

    def _judge(
        self, row: _Row, values: FloatArray, sample_ns: int, now_ns: int, verdict: Verdict
    ) -> None:
        excess = (values - row.limit) * row.sign
        bad = excess > 0.0  # NaN compares false
        if len(row.count) != len(values):
            row.resize(len(values))
        is_bad = bool(bad.any())
        if not (is_bad or row.standing):
            return
        row.count[excess <= 0.0] = 0
        row.first_bad_ns[bad & (row.count == 0)] = sample_ns
        row.count[bad] += 1
        row.pending = bool(row.count.any())
        if is_bad:
            row.involved |= bad
            row.standing = True
            row.good_since_ns = None
            if row.fault is None:
                self._trip(row, excess, values, sample_ns, now_ns, verdict)
        elif row.fault is not None:
            self._recover(row, excess, sample_ns, verdict)
        elif not row.pending:
            row.forget()

    def _trip(
        self,
        row: _Row,
        excess: FloatArray,
        values: FloatArray,
        sample_ns: int,
        now_ns: int,
        verdict: Verdict,
    ) -> None:
        diagnosis = row.diagnosis
        tripped = (
            (excess > 0.0)
            & (row.count >= diagnosis.samples)
            & (sample_ns - row.first_bad_ns >= diagnosis.time_s * NS_PER_S)
        )
        if not tripped.any():
            return
        element = int(np.argmax(np.where(tripped, excess, -np.inf)))
        row.fault = ActiveFault(
            diagnosis, element if len(values) > 1 else -1, float(values[element]), now_ns
        )
        verdict.set_now.append(row.fault)

    def _recover(self, row: _Row, excess: FloatArray, sample_ns: int, verdict: Verdict) -> None:
        # Each element that was bad has to be seen good: NaN clears nothing.
        clear = excess[row.involved] <= -row.diagnosis.hysteresis
        if not clear.all():
            row.good_since_ns = None
            return
        if row.good_since_ns is None:
            row.good_since_ns = sample_ns
        if sample_ns - row.good_since_ns < row.diagnosis.recovery_s * NS_PER_S:
            return
        if row.diagnosis.latched:
            row.standing = False
        else:
            row.forget()
            verdict.cleared_now.append(row.diagnosis)

    def _renew_first_cause(self, active: list[ActiveFault]) -> None:
        opening = [fault for fault in active if _opens(fault.diagnosis)]
        self.first_cause = min(
            opening,
            key=lambda f: (f.tripped_ns, -f.diagnosis.demand, f.diagnosis.id),
            default=None,
        )

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


def _opens(diagnosis: Diagnosis) -> bool:
    return diagnosis.demand >= Reaction.OPEN_AFTER_ZERO_CURRENT
