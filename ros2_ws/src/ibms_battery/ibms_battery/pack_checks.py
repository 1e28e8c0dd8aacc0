# SPDX-License-Identifier: Apache-2.0
"""What a pack description must fulfil beyond its schema: references, orders, coordination."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ibms_battery.configuration import Document

if TYPE_CHECKING:
    from ibms_battery.pack import Pack


def check_pack(document: Document, pack: "Pack") -> None:
    """Raise ``ConfigurationError`` where a value or a reference inside the file is wrong."""
    _check_switches(document, pack)
    _check_configurations(document, pack)
    _check_bypasses(document, pack)
    _check_strings(document, pack)
    _check_transitions(document, pack)
    _check_fuse(document, pack)
    _check_precharge(document, pack)
    _check_sensors(document, pack)


def _check_switches(document: Document, pack: "Pack") -> None:
    names = [switch.name for switch in pack.switching.switches]
    for index, switch in enumerate(pack.switching.switches):
        within: list[str | int] = ["switching", "switches", index]
        if switch.name in names[:index]:
            raise document.error(within, f"a second switch is called {switch.name!r}")
        for number, (before, after) in enumerate(pairwise(switch.life_curve)):
            if after.current_a <= before.current_a or after.operations >= before.operations:
                raise document.error(
                    [*within, "life_curve", number + 1],
                    "current must rise and operations fall from point to point, found "
                    f"{after.current_a:g} A, {after.operations:g} after "
                    f"{before.current_a:g} A, {before.operations:g}",
                )


def _check_known(
    document: Document, pack: "Pack", path: Sequence[str | int], switches: Sequence[str]
) -> None:
    names = [switch.name for switch in pack.switching.switches]
    for index, switch in enumerate(switches):
        if switch not in names:
            raise document.error(
                [*path, index],
                f"no switch is called {switch!r}, expected one of {', '.join(names)}",
            )
        if switch in switches[:index]:
            raise document.error([*path, index], f"{switch!r} stands twice, remove one")


def _check_configurations(document: Document, pack: "Pack") -> None:
    name_of_set: dict[frozenset[str], str] = {}
    for name, closed in pack.switching.configurations.items():
        within = ["switching", "configurations", name]
        _check_known(document, pack, within, closed)
        twin = name_of_set.setdefault(frozenset(closed), name)
        if twin != name:
            raise document.error(
                within, f"closes the same switches as {twin!r}; feedback could not tell them apart"
            )
    if pack.switching.configurations.get("open") != []:
        raise document.error(
            ["switching", "configurations"], "must hold 'open: []', the state with nothing closed"
        )


def _check_bypasses(document: Document, pack: "Pack") -> None:
    """Bypasses must be independent of each other, and never close what a configuration closes.

    Then feedback tells each configuration with each set of bypasses apart from all others.
    """
    user_of: dict[str, int] = {}
    cell_of: dict[int, int] = {}
    for index, bypass in enumerate(pack.switching.bypasses):
        within: list[str | int] = ["switching", "bypasses", index]
        _check_known(document, pack, [*within, "opens"], bypass.opens)
        _check_known(document, pack, [*within, "closes"], bypass.closes)
        for switch in bypass.opens + bypass.closes:
            if switch in user_of:
                raise document.error(
                    within, f"moves {switch!r}, which bypass {user_of[switch]} moves already"
                )
            user_of[switch] = index
        for number, cell in enumerate(bypass.cells):
            if not 0 <= cell < pack.series:
                raise document.error(
                    [*within, "cells", number],
                    f"found cell {cell}, expected 0 to {pack.series - 1}",
                )
            if cell in cell_of:
                raise document.error(
                    [*within, "cells", number],
                    f"cell {cell} is bypassed twice, also by bypass {cell_of[cell]}",
                )
            cell_of[cell] = index
        for name, closed in pack.switching.configurations.items():
            if taken := set(bypass.closes) & set(closed):
                raise document.error(
                    [*within, "closes"],
                    f"{sorted(taken)[0]!r} is closed in configuration {name!r} already",
                )
            if 0 < len(set(bypass.opens) & set(closed)) < len(bypass.opens):
                raise document.error(
                    [*within, "opens"],
                    f"configuration {name!r} closes only some of them; it must close all or none",
                )


def _check_strings(document: Document, pack: "Pack") -> None:
    names: set[str] = set()
    next_cell = 0
    for index, string in enumerate(pack.strings):
        within: list[str | int] = ["strings", index]
        if string.name in names:
            raise document.error(within, f"a second string is called {string.name!r}")
        names.add(string.name)
        if string.first_cell != next_cell:
            raise document.error(
                [*within, "first_cell"],
                f"found {string.first_cell}, expected {next_cell}: strings follow each other",
            )
        if string.cells != pack.strings[0].cells:
            raise document.error(
                [*within, "cells"],
                f"found {string.cells}, expected {pack.strings[0].cells} as in the first: parallel "
                "strings need the same voltage",
            )
        next_cell += string.cells
    if pack.strings and next_cell != pack.series:
        raise document.error(
            ["strings"], f"hold {next_cell} cells together, expected series: {pack.series}"
        )


def _check_transitions(document: Document, pack: "Pack") -> None:
    ways: set[tuple[str, str]] = set()
    for index, way in enumerate(pack.switching.transitions):
        here: list[str | int] = ["switching", "transitions", index]
        for end in (way.source, way.target):
            if end not in pack.switching.configurations:
                raise document.error(here, f"no configuration is called {end!r}")
        if way.source == way.target:
            raise document.error(here, f"leads from {way.source!r} to itself, remove it")
        if (way.source, way.target) in ways:
            raise document.error(here, f"{way.source!r} to {way.target!r} stands twice, remove one")
        ways.add((way.source, way.target))
        if way.requires_precharged and way.requires_link_discharged:
            raise document.error(here, "a link cannot be precharged and discharged, remove one")
        strings = [string.name for string in pack.strings]
        if way.requires_string is not None and way.requires_string.name not in strings:
            raise document.error(
                [*here, "requires_string", "name"],
                f"no string is called {way.requires_string.name!r}, expected one of "
                f"{', '.join(strings) or '(the pack has no strings)'}",
            )
        if way.requires_link_discharged and pack.switching.configurations[way.source]:
            # What is closed must have had the time to lift the link if there is a weld.
            needed_s = -math.log(1.0 - pack.precharge.discharged_ratio) * _link_time_s(pack)
            if way.after_s <= needed_s:
                raise document.error(
                    [*here, "after_s"],
                    f"found {way.after_s:g} s, but through a welded contactor the link takes "
                    f"{needed_s:.2g} s to reach discharged_ratio; give more",
                )


def _check_fuse(document: Document, pack: "Pack") -> None:
    fuse = pack.fuse
    if fuse is None:
        return
    for index, (before, after) in enumerate(pairwise(fuse.melting_curve)):
        if after.current_a <= before.current_a or after.time_s >= before.time_s:
            raise document.error(
                ["fuse", "melting_curve", index + 1],
                "current must rise and time fall from point to point, found "
                f"{after.current_a:g} A, {after.time_s:g} s after {before.current_a:g} A, "
                f"{before.time_s:g} s",
            )
    if fuse.melting_curve[0].current_a <= fuse.rated_current_a:
        raise document.error(
            ["fuse", "melting_curve", 0],
            f"melts at {fuse.melting_curve[0].current_a:g} A, which the rated current of "
            f"{fuse.rated_current_a:g} A does not exceed",
        )
    for index, switch in enumerate(pack.switching.switches):
        limit_a = switch.maximum_break_current_a
        # Holding must lead somewhere: at twice what the contactor breaks the fuse has to be faster.
        if limit_a is not None and fuse.melting_time_s(2 * limit_a) > fuse.clearing_time_s:
            raise document.error(
                ["switching", "switches", index, "maximum_break_current_a"],
                f"found {limit_a:g} A, but at twice that the fuse does not clear within "
                f"clearing_time_s ({fuse.clearing_time_s:g} s): holding would not help",
            )


def _link_time_s(pack: "Pack") -> float:
    return pack.precharge.resistor_ohm * pack.precharge.link_capacitance_f


def _check_precharge(document: Document, pack: "Pack") -> None:
    needed_s = -math.log(1.0 - pack.precharge.complete_ratio) * _link_time_s(pack)
    if pack.precharge.timeout_s <= needed_s:
        raise document.error(
            ["precharge", "timeout_s"],
            f"found {pack.precharge.timeout_s:g} s, but resistor and capacitance take "
            f"{needed_s:.2g} s to reach complete_ratio; give more",
        )


def _check_sensors(document: Document, pack: "Pack") -> None:
    if pack.sensor_of_cell and len(pack.sensor_of_cell) != pack.series:
        raise document.error(
            ["sensor_of_cell"],
            f"has {len(pack.sensor_of_cell)} entries, expected one per cell group: {pack.series}",
        )
    for index, sensor in enumerate(pack.sensor_of_cell):
        if not 0 <= sensor < pack.temperature_sensors:
            raise document.error(
                ["sensor_of_cell", index],
                f"found sensor {sensor}, expected 0 to {pack.temperature_sensors - 1}",
            )
