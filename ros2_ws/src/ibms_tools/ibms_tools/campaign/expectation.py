# SPDX-License-Identifier: Apache-2.0
"""What has to follow a provocation: what trips, until when, and what may stand as its cause."""

import math
from collections.abc import Sequence
from itertools import pairwise

from ibms_battery.pack import Pack
from ibms_edge.protection.signals import SIGNALS, Source, element_count
from ibms_edge.protection.table import Diagnosis, Level, Reaction
from ibms_sim.faults import BY_NAME, NO_ELEMENT
from ibms_tools.campaign.case import Expected
from ibms_tools.campaign.provocations import CONNECTED, EARLIER_FAULT, PROVOCATIONS
from ibms_tools.campaign.subject import Subject

_SLACK_S = 0.06  # three scans: phase of the scan, hops, the loop's own period
_OPENING_S = 0.06  # command, contactor, margin
_SWITCH_SAMPLE_S = 0.02
_SLOW_SAMPLE_S = 0.1
_OPENING_ZERO_S = 0.4  # the supervisor's and the contactor's part after zero current
_LATER_S = 0.5


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


def outcome(
    subject: Subject,
    row: Diagnosis,
    level: Level,
    state: str,
    value: float,
    element: int,
    begin_s: float = 0.0,
) -> tuple[list[Expected], list[int]]:
    """What has to trip, and what must not."""
    if not applies(row, state):
        return [], [row.id]
    provocation = PROVOCATIONS[row.name]
    reaction = row.demand_at(level)
    if reaction is Reaction.ISOLATE and not isolates(subject, row):
        reaction = Reaction.OPEN_NOW
    detected_s = debounce_s(subject.pack, row, value) + provocation.delay_s + _SLACK_S
    detected_s += begin_s + provocation.steps[-1].after_s
    if state == "precharge" and row.states and "precharge" not in row.states:
        detected_s += 1.0
    if provocation.target_s is not None and level is Level.SAFETY:
        detected_s = min(detected_s, begin_s + provocation.target_s)
    opened_s = isolated_s = None
    if reaction is Reaction.ISOLATE and state in CONNECTED:
        isolated_s = detected_s + row.isolate_s
    if reaction is Reaction.OPEN_NOW:
        opened_s = detected_s + _OPENING_S + hold_s(subject, row, value)
    elif reaction is Reaction.OPEN_AFTER_ZERO_CURRENT:
        opened_s = detected_s + row.zero_current_s + _OPENING_ZERO_S
    if provocation.opened_s is not None:
        opened_s = min(opened_s or math.inf, begin_s + provocation.opened_s)
    expected = Expected(
        row.id,
        row.name,
        int(level),
        int(reaction),
        detected_s,
        opened_s,
        named_element(subject, row, element),
        isolated_s,
    )
    return [expected], []


def named_element(subject: Subject, row: Diagnosis, element: int) -> int | None:
    """The element that a diagnosis has to name; ``None`` where the provocation concerns several."""
    kind = SIGNALS[row.signal].element
    if element_count(kind, subject.pack) == 1:
        return NO_ELEMENT
    is_provoked = any(
        step.action == "inject" and step.where == "same" and BY_NAME[step.name].element == kind
        for step in PROVOCATIONS[row.name].steps
    )
    return element if is_provoked else None


def absent_s(subject: Subject, row: Diagnosis, value: float) -> float:
    """How long after the last deed something must not have tripped, so that it never will [s]."""
    return debounce_s(subject.pack, row, value) + PROVOCATIONS[row.name].delay_s + _LATER_S


def spike_s(subject: Subject, row: Diagnosis) -> float:
    """How long disturbed samples may still act on what opens by the same input [s].

    Inverse-time curves add up over minutes what one sample hardly moves.
    """
    source = SIGNALS[row.signal].source
    debounces_s = [
        debounce_s(subject.pack, other, _worst(other))
        for other in subject.table.diagnoses
        if other.demand >= Reaction.ISOLATE
        and SIGNALS[other.signal].source == source
        and not other.curve
    ]
    return max(debounces_s) + _LATER_S


def hold_s(subject: Subject, row: Diagnosis, value: float) -> float:
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


def causes(
    subject: Subject, faults: Sequence[tuple[Diagnosis, float, float]], state: str
) -> frozenset[int]:
    """Identifiers that may stand as first cause of opening.

    What passes a limit trips for sure. Whatever cannot trip before the first of that comes too late
    to be the cause.

    Args:
        subject: the pack.
        faults: what is provoked: diagnosis, value, and when [s].
        state: the pack state.
    """
    if state == "error":  # what the pack opened for before
        return frozenset(r.id for r in subject.table.diagnoses if r.name == EARLIER_FAULT)
    earliest_s: dict[int, float] = {}
    latest_s = math.inf
    for row, value, begin_s in faults:
        provocation = PROVOCATIONS[row.name]
        delay_s = provocation.steps[-1].after_s + provocation.delay_s + _SLACK_S
        passed = [
            other
            for other, level in subject.passed(row, value)
            if other.demand_at(level) >= Reaction.ISOLATE and applies(other, state)
        ]
        caused = [
            other
            for other in subject.table.diagnoses
            if other.name in provocation.also
            and other.demand >= Reaction.ISOLATE
            and applies(other, state)
        ]
        for other in (*passed, *caused):
            worst = value if other in passed else _worst(other)
            at_s = begin_s + debounce_s(subject.pack, other, worst)
            earliest_s[other.id] = min(at_s, earliest_s.get(other.id, math.inf))
            if other in passed and not isolates(subject, other):
                latest_s = min(latest_s, at_s + delay_s)
    return frozenset(identifier for identifier, at_s in earliest_s.items() if at_s <= latest_s)


def _worst(row: Diagnosis) -> float:
    """A value at which it trips as soon as it ever does."""
    return row.curve[-1][0] if row.curve else row.limits.safety


def isolates(subject: Subject, row: Diagnosis) -> bool:
    """Whether it takes an element out of circuit and the pack stays closed."""
    return row.demand is Reaction.ISOLATE and bool(subject.pack.switching.bypasses)


def may_open(subject: Subject, row: Diagnosis, value: float, state: str) -> bool:
    """Whether something that the provocation causes may open the pack."""
    provocation = PROVOCATIONS[row.name]
    return (
        state == "error"  # it is open, and demands it
        or provocation.may_open
        or provocation.opened_s is not None
        or any(
            other.demand_at(level) >= Reaction.ISOLATE and applies(other, state)
            for other, level in subject.passed(row, value)
        )
    )


def collide(one: Diagnosis, other: Diagnosis) -> bool:
    """Whether both are provoked by the same fault, so that the second would replace the first."""
    steps = [{step.name for step in PROVOCATIONS[row.name].steps} for row in (one, other)]
    return bool(steps[0] & steps[1])


def hides(one: Diagnosis, other: Diagnosis) -> bool:
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
