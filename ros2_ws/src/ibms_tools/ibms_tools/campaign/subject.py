# SPDX-License-Identifier: Apache-2.0
"""A pack with its table of diagnoses: what can be provoked in it, and by which values."""

from dataclasses import dataclass
from pathlib import Path

from ibms_battery.pack import Pack, load_pack
from ibms_edge.protection.signals import SIGNALS
from ibms_edge.protection.table import Diagnosis, DiagnosisTable, Level, Reaction, load_table
from ibms_tools.campaign.provocations import CONNECTED, EARLIER_FAULT, PROVOCATIONS, Provocation

_CLOSED = ("precharge", "drive", "charge")
_OF_THE_TERMINALS = ("pack_voltage_ratio", "sum_of_cells_difference")


@dataclass(frozen=True)
class Subject:
    """A pack, its table of diagnoses and their provocations."""

    name: str
    pack: Pack
    table: DiagnosisTable

    @classmethod
    def load(cls, config: Path, name: str) -> "Subject":
        """Load a pack of ``config/packs`` with the table that it names."""
        pack = load_pack(config / "packs" / f"{name}.yaml")
        return cls(name, pack, load_table(config / "diagnoses" / pack.diagnoses))

    def uncovered(self) -> list[str]:
        """Names of diagnoses that have no provocation."""
        return [row.name for row in self.table.diagnoses if row.name not in PROVOCATIONS]

    def provoked(self) -> list[tuple[Diagnosis, Provocation]]:
        """Every diagnosis that can be provoked in this pack, in the order of the table."""
        return [
            (row, provocation)
            for row in self.table.diagnoses
            if (provocation := PROVOCATIONS.get(row.name)) is not None
            and self.pack.modules >= provocation.modules
            and provocation.configuration in ("", *self.pack.switching.configurations)
        ]

    def covered(self) -> list[tuple[str, Level, str]]:
        """Name, level and pack state of everything that can be provoked."""
        return [
            (row.name, level, state)
            for row, provocation in self.provoked()
            for level, _ in row.limits.levels()
            for state in provocation.states
            if self.shows(row, state)
        ]

    def isolating(self) -> list[tuple[str, Level, str]]:
        """Those of them that take an element out of circuit while the rest drives on."""
        rows = {row.name for row in self.table.diagnoses if row.demand is Reaction.ISOLATE}
        return [
            (name, level, state)
            for name, level, state in self.covered()
            if self.pack.switching.bypasses
            and name in rows
            and level is Level.SAFETY
            and state in CONNECTED
        ]

    def shows(self, row: Diagnosis, state: str) -> bool:
        """Whether a diagnosis can be seen in a pack state at all."""
        if state in _CLOSED:
            return not self.isolates_before(row)
        if state == "error" and row.name == EARLIER_FAULT:
            return False
        # While all modules hang loose, nothing is at the terminals.
        return not (self.pack.switching.bypasses and row.signal in _OF_THE_TERMINALS)

    def isolates_before(self, row: Diagnosis) -> bool:
        """Whether another row takes the cell out of circuit before this one can trip."""
        return bool(self.pack.switching.bypasses) and any(
            other.demand is Reaction.ISOLATE
            and (other.signal, other.is_above) == (row.signal, row.is_above)
            and other.name != row.name
            for other in self.table.diagnoses
        )

    def passed(self, row: Diagnosis, value: float) -> list[tuple[Diagnosis, Level]]:
        """Diagnoses of the same signal, with the strongest level that ``value`` passes."""
        found = []
        for other in self.table.diagnoses:
            if other.signal != row.signal:
                continue
            sign = 1.0 if other.is_above else -1.0
            levels = [
                level for level, limit in other.limits.levels() if (value - limit) * sign > 0.0
            ]
            if levels:
                found.append((other, max(levels)))
        return found

    def value(self, row: Diagnosis, level: Level) -> float:
        """A value beyond ``level`` of ``row`` and short of the next stronger limit."""
        provocation = PROVOCATIONS[row.name]
        sign = 1.0 if row.is_above else -1.0
        limit = dict(row.limits.levels())[level]
        if SIGNALS[row.signal].kind == "flag":
            return 1.0
        if SIGNALS[row.signal].kind == "age":
            return 2.0 * limit
        beyond = [
            other_limit
            for other in self.table.diagnoses
            if other.signal == row.signal and other.is_above == row.is_above
            for _, other_limit in other.limits.levels()
            if (other_limit - limit) * sign > 0.0
        ]
        if not beyond:
            return limit + sign * (provocation.margin or 0.5 * abs(limit))
        next_limit = min(beyond, key=lambda other: abs(other - limit))
        return limit + provocation.share * (next_limit - limit)
