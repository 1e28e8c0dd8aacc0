# SPDX-License-Identifier: Apache-2.0
"""The cases of a campaign: every diagnosis x level x pack state x a sample of elements, and more.

Cases are drawn from a seed in one order, so that a campaign of n cases is the beginning of every
longer one, and a case can be run again by its number alone.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ibms_battery.pack import Pack, load_pack
from ibms_edge.protection.signals import SIGNALS, Source, element_count
from ibms_edge.protection.table import Diagnosis, DiagnosisTable, Level, Reaction, load_table
from ibms_sim.faults import BY_NAME, NO_ELEMENT
from ibms_sim.faults import element_count as fault_elements
from ibms_tools.campaign.provocations import (
    CONNECTED,
    NOT_COVERED,
    PROVOCATIONS,
    Action,
    Aim,
    Provocation,
    Step,
)

Kind = Literal["single", "spike", "double"]

_OTHER_PACK_EACH = 6  # one case of so many on another pack than the first
_SPIKES_EACH = 6  # one spike, and one double fault, per so many single ones
_DOUBLES_EACH = 3
_SLACK_S = 0.06  # three scans: phase of the scan, hops, the loop's own period
_OPENING_S = 0.06  # command, contactor, margin
_SWITCH_SAMPLE_S = 0.02
_SLOW_SAMPLE_S = 0.1
_RAMP_STEP_S = 0.5
_OPENING_ZERO_S = 0.4  # the supervisor's and the contactor's part after zero current


class CampaignError(RuntimeError):
    """A campaign that cannot be run as it stands; the text says why."""


@dataclass(frozen=True)
class Deed:
    """One thing that is done to the pack at a time after the start of the case."""

    at_s: float
    action: Action
    name: str
    element: int = NO_ELEMENT
    value: float = 0.0
    remove: bool = False
    count: int = 0


@dataclass(frozen=True)
class Expected:
    """A diagnosis that has to trip, and what it then demands."""

    diagnosis: int
    name: str
    level: int
    reaction: int
    detected_s: float  # latest, after the first deed
    opened_s: float | None  # latest; None if it opens nothing


@dataclass(frozen=True)
class Case:
    """One case."""

    number: int
    kind: Kind
    name: str
    pack: str
    state: str
    warm_up_s: float
    phase_s: float
    deeds: tuple[Deed, ...]
    expected: tuple[Expected, ...]
    absent: tuple[int, ...]
    causes: frozenset[int]
    opens: bool
    watch_s: float
    welded: int = 0
    is_stubborn: bool = False  # the load ignores the limits, which else end the current before

    @property
    def opened_s(self) -> float | None:
        """Latest time at which the contacts have to be open."""
        times = [e.opened_s for e in self.expected if e.opened_s is not None]
        return min(times, default=None)


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
        """Names of diagnoses that have neither a provocation nor a reason for having none."""
        return [
            row.name
            for row in self.table.diagnoses
            if row.name not in PROVOCATIONS and row.name not in NOT_COVERED
        ]

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

    def shows(self, row: Diagnosis, state: str) -> bool:
        """Whether a diagnosis can be seen in a pack state at all."""
        if state in _CLOSED:
            return not self.isolates_before(row)
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


def applies(row: Diagnosis, state: str) -> bool:
    """Whether a diagnosis is judged in a pack state, with the load that goes with it."""
    # What is provoked while precharging may trip when the pack drives.
    states = {state, "drive"} if state == "precharge" else {state}
    direction = {"drive": "discharge", "charge": "charge"}.get(state)
    return (not row.states or bool(states & set(row.states))) and (
        row.direction is None or row.direction == direction
    )


def debounce_s(pack: Pack, row: Diagnosis, value: float) -> float:
    """Time from the first bad sample to the trip [s]."""
    periods: dict[Source, float] = {
        "cells": pack.scan_period_s,
        "pack": pack.pack_sample_period_s,
        "switch": _SWITCH_SAMPLE_S,
        "insulation": _SLOW_SAMPLE_S,
        "environment": _SLOW_SAMPLE_S,
        "clock": _SWITCH_SAMPLE_S,
    }
    info = SIGNALS[row.signal]
    time_s = max(row.samples * periods[info.source], row.time_s)
    if info.kind == "age":
        time_s += row.limits.safety
    if row.curve:
        time_s += _curve_s(row, value)
    return time_s


def _curve_s(row: Diagnosis, value: float) -> float:
    """Time to trip on the inverse-time curve: straight between its points in logarithms."""
    for (low, low_s), (high, high_s) in pairwise(row.curve):
        if abs(low) <= abs(value) <= abs(high):
            share = math.log(value / low) / math.log(high / low)
            return float(low_s * (high_s / low_s) ** share)
    return row.curve[-1][1]


@dataclass
class Drawing:
    """Draws the cases of a campaign from its seed, most of them on the first of its packs.

    Those that take more than ``longest_s`` of virtual time are left out.
    """

    subjects: Sequence[Subject]
    seed: int
    longest_s: float = math.inf
    _random: random.Random = field(init=False)
    _number: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def cases(self, count: int) -> list[Case]:
        """The first ``count`` cases."""
        drawn: list[Case] = []
        for case in self._endless():
            if len(drawn) == count:
                break
            if case.warm_up_s + case.watch_s <= self.longest_s:
                drawn.append(case)
        return drawn

    def _endless(self) -> Iterator[Case]:
        subjects = self.subjects
        covered = {subject.name: set(subject.covered()) for subject in subjects}
        while True:
            rows = list(dict.fromkeys(row for subject in subjects for row in subject.covered()))
            self._random.shuffle(rows)
            for index, row in enumerate(rows):
                subject = self._subject()
                if row not in covered[subject.name]:
                    subject = next(s for s in subjects if row in covered[s.name])
                yield self._single(subject, *row)
                if index % _SPIKES_EACH == 0:
                    yield self._spike()
                if index % _DOUBLES_EACH == 0:
                    yield self._double()

    def _subject(self) -> Subject:
        if self._random.randrange(_OTHER_PACK_EACH) == 0:
            return self._random.choice(self.subjects)
        return self.subjects[0]

    # One case ------------------------------------------------------------------------------------

    def _single(self, subject: Subject, name: str, level: Level, state: str) -> Case:
        row, provocation = next(
            (row, provocation) for row, provocation in subject.provoked() if row.name == name
        )
        value = subject.value(row, level)
        element = self._element(subject, row)
        deeds = self._deeds(subject, provocation, row, value, element)
        ramp_s = 0.0
        opens = row.demand_at(level) >= Reaction.ISOLATE and applies(row, state)
        if provocation.ramp_per_s and not opens:
            deeds = _ramp(provocation, deeds[0])
            ramp_s = deeds[-1].at_s
        expected, absent = self._outcome(subject, row, level, state, value, ramp_s)
        return self._case(
            subject,
            "single",
            f"{row.name}.{level.name.lower()}.{element}",
            state,
            deeds,
            expected,
            absent,
            self._causes(subject, [(row, value)]),
            self._may_open(subject, row, value, state),
            provocation.warm_up_s,
            is_stubborn=row.direction is not None,
        )

    def _spike(self) -> Case:
        """One or two disturbed samples of something that opens the pack."""
        subject = self._subject()
        choices = [
            (row, steps)
            for row, provocation in subject.provoked()
            if row.demand >= Reaction.ISOLATE
            for steps in [(provocation.spike,) if provocation.spike else provocation.steps]
            if all(
                step.action == "inject" and step.after_s == 0.0 and BY_NAME[step.name].counted
                for step in steps
            )
        ]
        row, steps = self._random.choice(choices)
        by_samples = SIGNALS[row.signal].kind != "age" and not row.curve
        count = self._random.randint(1, min(2, row.samples - 1) if by_samples else 2)
        element = self._element(subject, row)
        aim = Aim(subject.value(row, Level.SAFETY), subject.pack)
        state = self._random.choice(CONNECTED)
        deeds = [
            Deed(0.0, "inject", step.name, where, self._value(step, aim), count=count)
            for step in steps
            for where in self._where(subject, row, step, element)
        ]
        return self._case(
            subject,
            "spike",
            f"{row.name}.{count}x.{element}",
            state,
            deeds,
            [],
            [],
            frozenset(),
            False,
            0.0,
            watch_s=0.6,
        )

    def _double(self) -> Case:
        """Two faults at nearly the same time."""
        subject = self._subject()
        while True:
            state = self._random.choice(("standby", "drive", "drive", "charge", "precharge"))
            choices = [
                row
                for row, provocation in subject.provoked()
                if state in provocation.states
                and not provocation.warm_up_s
                and provocation.delay_s <= 2.0
                and row.direction is None
                and subject.shows(row, state)
                and not (provocation.ramp_per_s and row.demand < Reaction.ISOLATE)
            ]
            first, second = self._random.sample(choices, 2)
            if not (_hides(first, second) or _hides(second, first) or _collide(first, second)):
                break
        delay_s = round(self._random.uniform(0.0, 0.15), 3)
        deeds: list[Deed] = []
        expected: list[Expected] = []
        pairs = []
        for row, begin_s in ((first, 0.0), (second, delay_s)):
            value = subject.value(row, Level.SAFETY)
            element = self._element(subject, row)
            deeds += self._deeds(subject, PROVOCATIONS[row.name], row, value, element, begin_s)
            pairs.append((row, value))
            expected += self._outcome(subject, row, Level.SAFETY, state, value, begin_s)[0]
        opening = [e for e in expected if e.reaction >= Reaction.ISOLATE]
        if opening:
            # Whichever opens first may end what the other one needs to be seen. What one of them
            # holds closed for the fuse, the other one cannot open.
            soonest = min(opening, key=lambda e: e.opened_s or e.detected_s)
            hold_s = max(self._hold_s(subject, row, value) for row, value in pairs)
            latest_s = None if soonest.opened_s is None else soonest.opened_s + hold_s
            expected = [replace(soonest, opened_s=latest_s)]
        return self._case(
            subject,
            "double",
            f"{first.name}+{second.name}",
            state,
            deeds,
            expected,
            [],
            self._causes(subject, pairs),
            any(self._may_open(subject, row, value, state) for row, value in pairs),
            0.0,
        )

    def _case(
        self,
        subject: Subject,
        kind: Kind,
        name: str,
        state: str,
        deeds: Sequence[Deed],
        expected: Sequence[Expected],
        absent: Sequence[int],
        causes: frozenset[int],
        opens: bool,
        warm_up_s: float,
        watch_s: float | None = None,
        is_stubborn: bool = False,
    ) -> Case:
        self._number += 1
        last_s = max([deed.at_s for deed in deeds], default=0.0)
        latest_s = max([max(e.detected_s, e.opened_s or 0.0) for e in expected], default=1.0)
        welded = 0
        for deed in deeds:
            if deed.name in ("weld", "weld_hidden"):
                welded |= 1 << deed.element
        return Case(
            self._number,
            kind,
            f"{subject.name}.{state}.{name}",
            subject.name,
            state,
            warm_up_s,
            round(self._random.uniform(0.0, 0.1), 3),
            tuple(sorted(deeds, key=lambda deed: deed.at_s)),
            tuple(expected),
            tuple(absent),
            causes,
            opens,
            watch_s if watch_s is not None else max(latest_s, last_s) + 0.3,
            welded,
            is_stubborn,
        )

    # What is done --------------------------------------------------------------------------------

    def _element(self, subject: Subject, row: Diagnosis) -> int:
        count = element_count(SIGNALS[row.signal].element, subject.pack)
        if count == 1:
            return 0
        if SIGNALS[row.signal].element == "switch":
            way = 0
            for name in ("precharge", "closing", "closed"):
                if name in subject.pack.switching.configurations:
                    way |= subject.pack.switching.mask(name)
            return self._random.choice([i for i in range(count) if way >> i & 1])
        return self._random.choice((0, count - 1, self._random.randrange(count)))

    def _deeds(
        self,
        subject: Subject,
        provocation: Provocation,
        row: Diagnosis,
        value: float,
        element: int,
        begin_s: float = 0.0,
    ) -> list[Deed]:
        aim = Aim(value, subject.pack)
        deeds = []
        for step in provocation.steps:
            at_s = round(begin_s + step.after_s, 3)
            for where in self._where(subject, row, step, element):
                deeds.append(Deed(at_s, step.action, step.name, where, self._value(step, aim)))
                if step.lasts_s:
                    end_s = at_s + step.lasts_s
                    deeds.append(Deed(end_s, step.action, step.name, where, remove=True))
        return deeds

    def _where(self, subject: Subject, row: Diagnosis, step: Step, element: int) -> list[int]:
        pack = subject.pack
        if step.where == "none" or step.action != "inject":
            return [NO_ELEMENT]
        if step.where == "first":
            return [0]
        if step.where == "all":
            return list(range(fault_elements(BY_NAME[step.name], pack)))
        if step.where == "main":
            closed = pack.switching.mask("closed")
            return [i for i in range(len(pack.switching.switches)) if closed >> i & 1]
        if step.where == "module":
            kind = SIGNALS[row.signal].element
            if kind == "pack":
                return [self._random.randrange(pack.modules)]
            if kind == "module":
                return [element]
            count = element_count(kind, pack)
            return [element // -(-count // pack.modules)]
        return [element]

    @staticmethod
    def _value(step: Step, aim: Aim) -> float:
        return step.value(aim) if step.value is not None else 0.0

    # What has to follow --------------------------------------------------------------------------

    def _outcome(
        self,
        subject: Subject,
        row: Diagnosis,
        level: Level,
        state: str,
        value: float,
        begin_s: float = 0.0,
    ) -> tuple[list[Expected], list[int]]:
        """What has to trip, and what must not."""
        if not applies(row, state):
            return [], [row.id]
        provocation = PROVOCATIONS[row.name]
        reaction = row.demand_at(level)
        if reaction is Reaction.ISOLATE and not subject.pack.switching.bypasses:
            reaction = Reaction.OPEN_NOW
        detected_s = debounce_s(subject.pack, row, value) + provocation.delay_s + _SLACK_S
        detected_s += begin_s + provocation.steps[-1].after_s
        if state == "precharge" and row.states and "precharge" not in row.states:
            detected_s += 1.0
        if provocation.target_s is not None and level is Level.SAFETY:
            detected_s = min(detected_s, begin_s + provocation.target_s)
        opened_s = None
        if reaction is Reaction.OPEN_NOW:
            opened_s = detected_s + _OPENING_S + self._hold_s(subject, row, value)
        elif reaction is Reaction.OPEN_AFTER_ZERO_CURRENT:
            opened_s = detected_s + row.zero_current_s + _OPENING_ZERO_S
        if provocation.opened_s is not None:
            opened_s = min(opened_s or math.inf, begin_s + provocation.opened_s)
        return [Expected(row.id, row.name, int(level), int(reaction), detected_s, opened_s)], []

    @staticmethod
    def _hold_s(subject: Subject, row: Diagnosis, value: float) -> float:
        """How long the contactors wait for the fuse at this current."""
        pack = subject.pack
        limits = [
            switch.maximum_break_current_a
            for switch in pack.switching.switches
            if switch.maximum_break_current_a is not None
        ]
        if row.signal != "pack_current" or pack.fuse is None or not limits:
            return 0.0
        return pack.fuse.clearing_time_s + _SLACK_S if abs(value) > min(limits) else 0.0

    @staticmethod
    def _causes(subject: Subject, pairs: Sequence[tuple[Diagnosis, float]]) -> frozenset[int]:
        """Identifiers that may stand as first cause."""
        found: set[int] = set()
        for row, value in pairs:
            names = PROVOCATIONS[row.name].also
            found |= {row.id}
            found |= {other.id for other in subject.table.diagnoses if other.name in names}
            found |= {other.id for other, _ in subject.passed(row, value)}
        return frozenset(found)

    @staticmethod
    def _may_open(subject: Subject, row: Diagnosis, value: float, state: str) -> bool:
        provocation = PROVOCATIONS[row.name]
        return (
            provocation.may_open
            or provocation.opened_s is not None
            or any(
                other.demand_at(level) >= Reaction.ISOLATE and applies(other, state)
                for other, level in subject.passed(row, value)
            )
        )


def _ramp(provocation: Provocation, deed: Deed) -> list[Deed]:
    """The deed's value, approached in steps."""
    way = deed.value - provocation.ramp_from
    count = math.ceil(abs(way) / (provocation.ramp_per_s * _RAMP_STEP_S))
    return [
        replace(
            deed,
            at_s=round(deed.at_s + _RAMP_STEP_S * i, 3),
            value=provocation.ramp_from + way * (i + 1) / count,
        )
        for i in range(count)
    ]


def _collide(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether both are provoked by the same fault, so that the second would replace the first."""
    steps = [{step.name for step in PROVOCATIONS[row.name].steps} for row in (one, other)]
    return bool(steps[0] & steps[1])


def _hides(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether ``one``, once provoked, keeps ``other`` from being seen."""
    silences = PROVOCATIONS[one.name].silences
    if silences in (SIGNALS[other.signal].source, "everything"):
        return True
    if other.name in PROVOCATIONS[one.name].hides:
        return True
    requests = [
        any(step.action == "request" for step in PROVOCATIONS[row.name].steps)
        for row in (one, other)
    ]
    # An opening while a precharge is provoked, or the other way round, leaves nothing to precharge.
    return requests[0]
