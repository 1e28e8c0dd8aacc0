# SPDX-License-Identifier: Apache-2.0
"""What has to follow a provocation: what trips, until when, and what may stand as its cause."""

import math
from collections.abc import Sequence
from itertools import pairwise

from ibms_battery.pack import Pack
from ibms_edge.protection.signals import SIGNALS, Source
from ibms_edge.protection.table import Diagnosis, Level, Reaction
from ibms_tools.campaign.case import Expected
from ibms_tools.campaign.provocations import PROVOCATIONS
from ibms_tools.campaign.subject import Subject

_SLACK_S = 0.06  # three scans: phase of the scan, hops, the loop's own period
_OPENING_S = 0.06  # command, contactor, margin
_SWITCH_SAMPLE_S = 0.02
_SLOW_SAMPLE_S = 0.1
_OPENING_ZERO_S = 0.4  # the supervisor's and the contactor's part after zero current


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
        opened_s = detected_s + _OPENING_S + hold_s(subject, row, value)
    elif reaction is Reaction.OPEN_AFTER_ZERO_CURRENT:
        opened_s = detected_s + row.zero_current_s + _OPENING_ZERO_S
    if provocation.opened_s is not None:
        opened_s = min(opened_s or math.inf, begin_s + provocation.opened_s)
    return [Expected(row.id, row.name, int(level), int(reaction), detected_s, opened_s)], []


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


def causes(subject: Subject, pairs: Sequence[tuple[Diagnosis, float]]) -> frozenset[int]:
    """Identifiers that may stand as first cause."""
    found: set[int] = set()
    for row, value in pairs:
        names = PROVOCATIONS[row.name].also
        found |= {row.id}
        found |= {other.id for other in subject.table.diagnoses if other.name in names}
        found |= {other.id for other, _ in subject.passed(row, value)}
    return frozenset(found)


def may_open(subject: Subject, row: Diagnosis, value: float, state: str) -> bool:
    """Whether something that the provocation causes may open the pack."""
    provocation = PROVOCATIONS[row.name]
    return (
        provocation.may_open
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
