# SPDX-License-Identifier: Apache-2.0
"""What a step waits for: precharge, weld test, voltage of a string."""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ibms_battery.pack import Pack, StringOfCells, StringVoltage, Transition, load_pack
from ibms_edge.switching.conditions import LinkVoltages, Surroundings, unmet_condition

Bench = Any  # of conftest.py
HEALTHY = Surroundings([LinkVoltages(44.0, 43.9)] * 3, (), 1.0)


@pytest.fixture(scope="session")
def modular(config: Path) -> Pack:
    return load_pack(config / "packs" / "robot_12s_modular.yaml")


@pytest.fixture
def bench(modular: Pack, make_bench: Callable[[Pack], Bench]) -> Bench:
    """A pack with a weld test, whose link is discharged."""
    bench = make_bench(modular)
    bench.board = replace(bench.board, link_voltage_v=0.0)
    return bench


def until_the_weld_test(bench: Bench) -> None:
    bench.run(3)
    bench.ask("closed")
    while bench.controller.commanded != "precharge_only":
        bench.tick()
    bench.tick()
    assert bench.controller.verified(bench.now_ns) == "precharge_only"


def test_the_way_to_closed_leads_over_the_weld_test(bench: Bench, modular: Pack) -> None:
    way = ["precharge_only", "precharge", "closing", "closed"]
    assert modular.switching.route("open", "closed") == way
    bench.close()
    masks = [modular.switching.mask(name) for name in ["open", *way]]
    assert bench.commands == masks


def test_main_negative_waits_until_a_weld_would_have_shown(bench: Bench) -> None:
    until_the_weld_test(bench)
    began_ns = bench.now_ns
    waits = []
    while bench.controller.commanded == "precharge_only":
        waits.append(bench.controller.waiting_for)
        bench.tick()
    assert list(dict.fromkeys(waits)) == [
        "precharge: 3 samples of the link's voltage",
        "precharge: 0.1 s in precharge_only",
    ]
    assert bench.told == ["arming the switch board"]
    assert bench.now_ns - began_ns >= 100_000_000
    assert bench.controller.commanded == "precharge"


def test_a_link_that_rises_without_main_negative_stops_the_closing(bench: Bench) -> None:
    until_the_weld_test(bench)
    bench.board = replace(bench.board, link_voltage_v=30.0)
    bench.run(100)
    assert bench.controller.commanded == "precharge_only"
    assert "a contactor may be welded" in bench.controller.waiting_for
    assert sum("may be welded" in text for text in bench.told) == 1
    bench.ask("open", arm=False)
    bench.run(3)
    assert bench.board.closed == 0


@pytest.mark.parametrize("link_v", [nan, 44.0])
def test_a_link_that_is_not_known_to_be_low_stops_the_closing(bench: Bench, link_v: float) -> None:
    until_the_weld_test(bench)
    bench.board = replace(bench.board, link_voltage_v=link_v)
    bench.run(20)
    assert bench.controller.commanded == "precharge_only"


# Parallel strings

JOIN = Transition("closed", "both", requires_string=StringVoltage("right", 0.5))


@pytest.fixture
def strings(pack: Pack) -> Pack:
    """The pack with its cells in two strings, of which the right one joins last."""
    extra = msgspec.structs.replace(pack.switching.switches[0], name="right_string")
    configurations = pack.switching.configurations
    switching = msgspec.structs.replace(
        pack.switching,
        switches=[*pack.switching.switches, extra],
        configurations=configurations | {"both": [*configurations["closed"], "right_string"]},
        transitions=[*pack.switching.transitions, JOIN],
    )
    halves = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    return msgspec.structs.replace(pack, switching=switching, strings=halves)


@pytest.mark.parametrize(
    ("link_v", "strings_v", "fits"),
    [
        (22.0, (22.0, 22.5), True),
        (22.0, (30.0, 21.5), True),
        (22.0, (22.0, 22.6), False),
        (22.0, (22.0, 21.4), False),
        (22.0, (22.0, nan), False),
        (nan, (22.0, 22.0), False),
        (22.0, (22.0,), False),
        (22.0, (), False),
    ],
)
def test_a_string_joins_only_where_its_measured_voltage_fits(
    strings: Pack, link_v: float, strings_v: tuple[float, ...], fits: bool
) -> None:
    present = Surroundings([LinkVoltages(22.0, link_v)] * 3, [strings_v] * 3, 1.0)
    wait = unmet_condition(strings, JOIN, present)
    assert (wait is None) is fits
    assert wait is None or wait.text == "both: voltage of string right within 0.5 V of the link"


def test_a_string_that_does_not_fit_is_told_once_and_may_join_later(
    strings: Pack, make_bench: Callable[[Pack], Bench]
) -> None:
    bench = make_bench(strings)
    bench.close()
    bench.sent.clear()
    bench.ask("both")
    bench.healthy = replace(bench.healthy, string_voltage_v=(44.0, 41.0))
    bench.run(50)
    assert bench.controller.commanded == "closed"
    assert "string right" in bench.controller.waiting_for
    assert bench.told == [f"waits for {bench.controller.waiting_for}"]
    bench.healthy = replace(bench.healthy, string_voltage_v=(44.0, 43.8))
    bench.run(2)
    assert bench.controller.commanded == "closed"
    bench.run(2)
    assert bench.controller.verified(bench.now_ns) == "both"
    assert bench.controller.waiting_for == ""


def test_what_is_usual_is_not_told(pack: Pack) -> None:
    way = Transition("precharge", "closing", requires_precharged=True)
    wait = unmet_condition(pack, way, replace(HEALTHY, link=[LinkVoltages(44.0, 20.0)] * 3))
    assert wait is not None
    assert wait.is_usual
    assert unmet_condition(pack, way, HEALTHY) is None


@pytest.mark.parametrize(
    ("way", "fits", "wrong"),
    [
        (Transition("a", "b", requires_precharged=True), (44.0, 43.9), (44.0, 20.0)),
        (Transition("open", "b", requires_link_discharged=True), (44.0, 1.0), (44.0, 40.0)),
        (JOIN, (44.0, 22.0), (44.0, 21.0)),
    ],
)
def test_three_samples_in_succession_have_to_hold(
    strings: Pack, way: Transition, fits: tuple[float, float], wrong: tuple[float, float]
) -> None:
    good, bad = LinkVoltages(*fits), LinkVoltages(*wrong)
    present = Surroundings([good] * 3, [(22.0, 22.0)] * 3, 1.0)
    assert unmet_condition(strings, way, present) is None
    for link in ([bad, good, good], [good, bad, good], [good, good, bad]):
        wait = unmet_condition(strings, way, replace(present, link=link))
        assert wait is not None
        assert "samples" not in wait.text
    wait = unmet_condition(strings, way, replace(present, link=[good] * 2))
    assert wait is not None
    assert (wait.text, wait.is_usual) == (
        f"{way.target}: 3 samples of the link's voltage",
        True,
    )


def test_a_string_fits_only_by_three_verdicts(strings: Pack) -> None:
    link = [LinkVoltages(44.0, 22.0)] * 3
    few = unmet_condition(strings, JOIN, Surroundings(link, [(22.0, 22.0)] * 2, 1.0))
    assert few is not None
    assert few.is_usual
    one_off = [(22.0, 22.0), (22.0, 23.0), (22.0, 22.0)]
    wait = unmet_condition(strings, JOIN, Surroundings(link, one_off, 1.0))
    assert wait is not None
    assert not wait.is_usual
