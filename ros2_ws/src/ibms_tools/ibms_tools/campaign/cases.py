# SPDX-License-Identifier: Apache-2.0
"""The cases of a campaign: every diagnosis x level x pack state x a sample of elements, and more.

Cases are drawn from a seed in one order, so that a campaign of n cases is the beginning of every
longer one, and a case can be run again by its number alone.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ibms_edge.protection.signals import SIGNALS, element_count
from ibms_edge.protection.table import Diagnosis, Level, Reaction
from ibms_sim.faults import BY_NAME, NO_ELEMENT
from ibms_sim.faults import element_count as fault_elements
from ibms_tools.campaign.case import Case, Deed, Expected, Kind
from ibms_tools.campaign.expectation import (
    absent_s,
    applies,
    causes,
    collide,
    hides,
    hold_s,
    may_open,
    outcome,
    spike_s,
)
from ibms_tools.campaign.provocations import CONNECTED, PROVOCATIONS, Aim, Provocation, Step
from ibms_tools.campaign.subject import Subject

_OTHER_PACK_EACH = 6  # one case of so many on another pack than the first
_SPIKES_EACH = 6  # one spike, and one double fault, per so many single ones
_DOUBLES_EACH = 3
_RAMP_STEP_S = 0.5


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
            drawn: list[tuple[Subject | None, tuple[str, Level, str]]]
            drawn = [(None, row) for row in rows]
            drawn += [(subject, row) for subject in subjects for row in subject.isolating()]
            self._random.shuffle(drawn)
            for index, (wanted, row) in enumerate(drawn):
                subject = wanted or self._subject()
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
            deeds = [step for deed in deeds for step in _ramp(provocation, deed)]
            ramp_s = deeds[-1].at_s
        expected, absent = outcome(subject, row, level, state, value, element, ramp_s)
        return self._case(
            subject,
            "single",
            f"{row.name}.{level.name.lower()}.{element}",
            state,
            deeds,
            expected,
            absent,
            causes(subject, [(row, value, 0.0)], state),
            may_open(subject, row, value, state),
            provocation.warm_up_s,
            watch_s=ramp_s + absent_s(subject, row, value) if absent else None,
            is_stubborn=row.direction is not None,
            isolated=_bypassed(subject, expected),
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
            watch_s=spike_s(subject, row),
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
            if not (hides(first, second) or hides(second, first) or collide(first, second)):
                break
        delay_s = round(self._random.uniform(0.0, 0.15), 3)
        deeds: list[Deed] = []
        expected: list[Expected] = []
        faults = []
        isolated: frozenset[int] = frozenset()
        for row, begin_s in ((first, 0.0), (second, delay_s)):
            value = subject.value(row, Level.SAFETY)
            element = self._element(subject, row)
            deeds += self._deeds(subject, PROVOCATIONS[row.name], row, value, element, begin_s)
            faults.append((row, value, begin_s))
            expected += outcome(subject, row, Level.SAFETY, state, value, element, begin_s)[0]
        if any(e.reaction >= Reaction.ISOLATE for e in expected):
            # Whichever opens first may end what the other one needs to be seen. What one of them
            # holds closed for the fuse, the other one cannot open.
            longest_hold_s = max(hold_s(subject, row, value) for row, value, _ in faults)
            isolated = _bypassed(subject, expected)
            expected = [_soonest(expected, longest_hold_s)]
        expected = [_unless_disturbed(e, (first, second)) for e in expected]
        return self._case(
            subject,
            "double",
            f"{first.name}+{second.name}",
            state,
            deeds,
            expected,
            [],
            causes(subject, faults, state),
            any(may_open(subject, row, value, state) for row, value, _ in faults),
            0.0,
            isolated=isolated,
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
        isolated: frozenset[int] = frozenset(),
    ) -> Case:
        self._number += 1
        last_s = max([deed.at_s for deed in deeds], default=0.0)
        latest_s = max(
            [max(e.detected_s, e.opened_s or 0.0, e.isolated_s or 0.0) for e in expected],
            default=1.0,
        )
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
            isolated,
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
        if step.where in ("all", "others"):
            count = fault_elements(BY_NAME[step.name], pack)
            return [i for i in range(count) if step.where == "all" or i != element]
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


def _soonest(expected: Sequence[Expected], hold_s: float) -> Expected:
    """What opens first at the latest; what isolates only where nothing opens."""
    opening = [e for e in expected if e.opened_s is not None]
    if not opening:
        isolating = (e for e in expected if e.reaction >= Reaction.ISOLATE)
        return min(isolating, key=lambda e: e.detected_s)
    soonest = min(opening, key=lambda e: e.opened_s or 0.0)
    return replace(soonest, opened_s=(soonest.opened_s or 0.0) + hold_s)


def _unless_disturbed(expected: Expected, rows: Sequence[Diagnosis]) -> Expected:
    """Without its element, where the other fault may cause the same diagnosis elsewhere."""
    is_disturbed = any(
        expected.name in PROVOCATIONS[row.name].also for row in rows if row.name != expected.name
    )
    return replace(expected, element=None) if is_disturbed else expected


def _bypassed(subject: Subject, expected: Sequence[Expected]) -> frozenset[int]:
    """Cells that go out of circuit with the elements that have to be isolated."""
    elements = {e.element for e in expected if e.isolated_s is not None}
    return frozenset(
        cell
        for bypass in subject.pack.switching.bypasses
        if elements & set(bypass.cells)
        for cell in bypass.cells
    )


def _ramp(provocation: Provocation, deed: Deed) -> list[Deed]:
    """The deed's value, approached in steps."""
    if not BY_NAME[deed.name].unit:
        return [deed]
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
