# SPDX-License-Identifier: Apache-2.0
"""What a transition of the topology waits for. No ROS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ibms_battery.pack import Pack, StringVoltage, Transition

SAMPLES = 3  # in succession have to hold a condition on voltages: a single one may be wrong


@dataclass(frozen=True, slots=True)
class Wait:
    """A condition that does not hold."""

    text: str  # what it waits for, one sentence for people; without values, which change
    is_usual: bool = False  # part of each closing: not worth an event


class LinkVoltages(NamedTuple):
    """Both sides of the contactors, measured at once [V]."""

    pack_v: float
    link_v: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What conditions are judged by: the newest samples; NaN where it is not measured."""

    link: Sequence[LinkVoltages]  # since feedback has shown the source
    string_voltage_v: Sequence[Sequence[float]]  # per verdict the voltage of each string
    source_verified_s: float  # for how long feedback has shown the source


def unmet_condition(pack: Pack, way: Transition, present: Surroundings) -> Wait | None:
    """First condition of ``way`` that does not hold. What is not measured holds nothing."""
    asks_for_link = way.requires_link_discharged or way.requires_precharged or way.requires_string
    if asks_for_link and len(present.link) < SAMPLES:
        return Wait(f"{way.target}: {SAMPLES} samples of the link's voltage", is_usual=True)
    if way.requires_string and len(present.string_voltage_v) < SAMPLES:
        return Wait(f"{way.target}: {SAMPLES} samples of the strings' voltages", is_usual=True)
    if way.requires_link_discharged and not _holds(present.link, pack.link_is_discharged):
        cause = ": a contactor may be welded" if pack.switching.configurations[way.source] else ""
        return Wait(
            f"{way.target}: link voltage below {pack.precharge.discharged_ratio:.0%} of the pack's"
            f"{cause}"
        )
    if present.source_verified_s < way.after_s:
        return Wait(f"{way.target}: {way.after_s:g} s in {way.source}", is_usual=True)
    if way.requires_precharged and not _holds(present.link, pack.precharge_is_complete):
        return Wait(f"{way.target}: precharge of the link", is_usual=True)
    if way.requires_string is not None and not _string_fits(pack, way.requires_string, present):
        wanted = way.requires_string
        return Wait(
            f"{way.target}: voltage of string {wanted.name} within {wanted.tolerance_v:g} V "
            "of the link"
        )
    return None


def _holds(link: Sequence[LinkVoltages], condition: Callable[[float, float], bool]) -> bool:
    return all(condition(*sample) for sample in link)


def _string_fits(pack: Pack, wanted: StringVoltage, present: Surroundings) -> bool:
    place = next(i for i, string in enumerate(pack.strings) if string.name == wanted.name)
    # A comparison with NaN is false: unmeasured never fits.
    return all(
        place < len(known) and abs(known[place] - sample.link_v) <= wanted.tolerance_v
        for known in present.string_voltage_v
        for sample in present.link
    )
