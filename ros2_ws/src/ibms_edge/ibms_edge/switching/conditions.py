# SPDX-License-Identifier: Apache-2.0
"""What a transition of the topology waits for. No ROS."""

from collections.abc import Sequence
from dataclasses import dataclass

from ibms_battery.pack import Pack, Transition


@dataclass(frozen=True, slots=True)
class Wait:
    """A condition that does not hold."""

    text: str  # what it waits for, one sentence for people; without values, which change
    is_usual: bool = False  # part of each closing: not worth an event


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What conditions are judged by; NaN where it is not measured."""

    pack_voltage_v: float
    link_voltage_v: float
    string_voltage_v: Sequence[float]
    source_verified_s: float  # for how long feedback has shown the source


def unmet_condition(pack: Pack, way: Transition, present: Surroundings) -> Wait | None:
    """First condition of ``way`` that does not hold. What is not measured holds nothing."""
    pack_v, link_v = present.pack_voltage_v, present.link_voltage_v
    if way.requires_link_discharged and not pack.link_is_discharged(pack_v, link_v):
        cause = ": a contactor may be welded" if pack.switching.configurations[way.source] else ""
        return Wait(
            f"{way.target}: link voltage below {pack.precharge.discharged_ratio:.0%} of the pack's"
            f"{cause}"
        )
    if present.source_verified_s < way.after_s:
        return Wait(f"{way.target}: {way.after_s:g} s in {way.source}", is_usual=True)
    if way.requires_precharged and not pack.precharge_is_complete(pack_v, link_v):
        return Wait(f"{way.target}: precharge of the link", is_usual=True)
    if way.requires_string is not None:
        wanted = way.requires_string
        place = next(i for i, string in enumerate(pack.strings) if string.name == wanted.name)
        known = place < len(present.string_voltage_v)
        # A comparison with NaN is false: unmeasured never fits.
        if not (known and abs(present.string_voltage_v[place] - link_v) <= wanted.tolerance_v):
            return Wait(
                f"{way.target}: voltage of string {wanted.name} within {wanted.tolerance_v:g} V "
                "of the link"
            )
    return None
