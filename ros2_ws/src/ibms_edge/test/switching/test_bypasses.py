# SPDX-License-Identifier: Apache-2.0
"""Cells that protection wants isolated: break before make, each step seen in feedback."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ibms_battery.pack import Pack, load_pack
from ibms_edge.switching.bypasses import Bypasses
from ibms_edge.switching.contradictions import STAYS_CLOSED, STAYS_OPEN
from ibms_edge.switching.exchange import Reason

Bench = Any  # of conftest.py
MS = 1_000_000
CELL, MODULE = 5, 1  # a cell of the second module


@pytest.fixture(scope="session")
def modular(config: Path) -> Pack:
    return load_pack(config / "packs" / "robot_12s_modular.yaml")


@pytest.fixture
def bypasses(modular: Pack) -> Bypasses:
    return Bypasses(modular)


@pytest.fixture
def closed(modular: Pack, make_bench: Callable[[Pack], Bench]) -> Bench:
    bench = make_bench(modular)
    bench.board = replace(bench.board, link_voltage_v=0.0)
    bench.close()
    bench.sent.clear()
    return bench


@pytest.fixture
def masks(modular: Pack) -> dict[str, int]:
    """Masks of closed, of closed without module 2, and of closed around it."""
    closed = modular.switching.mask("closed")
    series = modular.switching.mask_of(["series_2"])
    bypass = modular.switching.mask_of(["bypass_2"])
    return {
        "closed": closed,
        "broken": closed & ~series,
        "around": closed & ~series | bypass,
        "series": series,
        "bypass": bypass,
    }


def isolate(bench: Bench, *cells: int) -> None:
    bench.healthy = replace(bench.healthy, isolate_cells=frozenset(cells))


# The masks


def test_every_configuration_with_every_set_of_bypasses_is_told_apart(
    modular: Pack, bypasses: Bypasses
) -> None:
    seen: dict[int, tuple[str, tuple[int, ...]]] = {}
    for name in modular.switching.configurations:
        mask = modular.switching.mask(name)
        for count in range(4):
            for chosen in combinations(range(3), count):
                closed = bypasses.lay_over(mask, chosen)
                if name != "open":
                    assert bypasses.shown(closed) == frozenset(chosen)
                assert seen.setdefault(closed, (name, chosen))[0] == name


def test_a_bypass_is_shown_only_with_its_series_switch_open(
    bypasses: Bypasses, masks: dict[str, int]
) -> None:
    assert bypasses.shown(masks["around"]) == {MODULE}
    assert not bypasses.shown(masks["closed"])
    assert not bypasses.shown(masks["broken"])
    assert not bypasses.shown(masks["around"] | masks["series"])
    assert bypasses.isolated(masks["around"]) == [0] * 4 + [1] * 4 + [0] * 4
    assert bypasses.isolated(masks["broken"]) == [0] * 12


def test_a_pack_without_bypasses_isolates_nothing(pack: Pack) -> None:
    bypasses = Bypasses(pack)
    assert not bypasses.around([3])
    assert bypasses.isolated(0b011) == []


# The controller


def test_a_cell_is_bypassed_break_before_make(closed: Bench, masks: dict[str, int]) -> None:
    isolate(closed, CELL)
    closed.run(5)
    assert closed.commands == [masks["broken"], masks["around"]]
    assert closed.reasons[0] is Reason.ISOLATE
    controller = closed.controller
    assert controller.verified(closed.now_ns) == "closed"
    assert controller.commanded == "closed"
    assert controller.isolated(closed.now_ns) == [0] * 4 + [1] * 4 + [0] * 4
    assert controller.reason is Reason.REQUEST
    assert "cells 4, 5, 6, 7 are bypassed" in closed.told
    assert controller.mismatch(closed.now_ns) == 0


def test_nothing_is_made_before_feedback_shows_the_break(
    closed: Bench, masks: dict[str, int]
) -> None:
    isolate(closed, CELL)
    closed.follows = False
    closed.tick()
    closed.tick()
    assert closed.commands == [masks["broken"]]
    assert closed.controller.isolated(closed.now_ns) == [0] * 12
    assert closed.controller.verified(closed.now_ns) == "closed"
    closed.board = replace(closed.board, closed=masks["broken"])
    closed.tick()
    assert closed.commands == [masks["broken"], masks["around"]]
    assert closed.controller.verified(closed.now_ns) == "transition"
    assert closed.controller.isolated(closed.now_ns) == [0] * 12


@pytest.mark.parametrize("step", ["closed", "broken"])
def test_a_step_that_is_not_seen_in_its_time_opens_the_pack(
    closed: Bench, masks: dict[str, int], step: str
) -> None:
    isolate(closed, CELL)
    if step == "broken":
        closed.tick()
    closed.follows = False
    closed.run(5)
    assert closed.controller.commanded == "open"
    assert closed.controller.reason is Reason.FEEDBACK
    shown = closed.controller.shown_mismatch(closed.now_ns)
    names = {
        switch.name: kind
        for switch, kind in zip(closed.pack.switching.switches, shown, strict=True)
        if kind
    }
    stays = {"closed": {"series_2": STAYS_CLOSED}, "broken": {"bypass_2": STAYS_OPEN}}
    assert names == stays[step]


def test_the_times_of_the_wiring_are_those_of_command_and_feedback(closed: Bench) -> None:
    closed.run(3)
    before_ns = closed.controller.wiring_ns
    assert before_ns < closed.now_ns - 40 * MS
    isolate(closed, CELL)
    closed.tick()
    assert closed.controller.wiring_ns == closed.now_ns
    closed.run(2)
    assert closed.controller.wiring_ns == closed.now_ns  # seen around
    seen_ns = closed.now_ns
    closed.run(5)
    assert closed.controller.wiring_ns == seen_ns


def test_without_permission_to_close_the_circuit_is_not_broken(closed: Bench) -> None:
    isolate(closed, CELL)
    closed.healthy = replace(closed.healthy, close_allowed=False)
    closed.run(20)
    assert set(closed.commands) <= {closed.controller.commanded_mask}
    assert closed.controller.verified(closed.now_ns) == "closed"
    assert "permission" in closed.controller.waiting_for


def test_a_permission_that_ends_between_the_steps_opens_the_pack(
    closed: Bench, masks: dict[str, int]
) -> None:
    isolate(closed, CELL)
    closed.tick()
    closed.healthy = replace(closed.healthy, close_allowed=False)
    closed.run(20)
    assert closed.commands == [masks["broken"], 0]
    assert any("cannot be bypassed" in text for text in closed.told)


def test_opening_is_never_delayed_by_a_bypass(closed: Bench, masks: dict[str, int]) -> None:
    isolate(closed, CELL)
    closed.tick()
    assert closed.controller.commanded_mask == masks["broken"]
    closed.demand()
    assert closed.controller.commanded_mask == 0
    closed.run(20)
    assert closed.commands[-1] == 0


def test_bypasses_stay_until_the_pack_is_open_and_nobody_demands_them(
    closed: Bench, modular: Pack, masks: dict[str, int]
) -> None:
    isolate(closed, CELL)
    closed.run(5)
    isolate(closed)
    closed.run(20)
    assert closed.board.closed == masks["around"]  # not demanded, but the pack is closed
    isolate(closed, CELL)
    closed.ask("open", arm=False)
    closed.run(5)
    assert closed.board.closed == 0
    assert closed.controller.verified(closed.now_ns) == "open"
    assert closed.controller.isolated(closed.now_ns) == [0] * 12
    closed.board = replace(closed.board, link_voltage_v=0.0)
    closed.sent.clear()
    closed.ask("closed")
    closed.run(20)
    series, bypass = masks["series"], masks["bypass"]
    assert closed.board.closed == masks["around"]  # demanded: closed around it
    assert closed.controller.verified(closed.now_ns) == "closed"
    assert all(mask & series == 0 for mask in closed.commands)
    assert all(mask & bypass for mask in closed.commands if mask)
    isolate(closed)
    closed.ask("open", arm=False)
    closed.run(5)
    closed.board = replace(closed.board, link_voltage_v=0.0)
    closed.ask("closed")
    closed.run(20)
    assert closed.board.closed == masks["closed"]


def test_several_modules_are_bypassed_one_after_the_other(closed: Bench) -> None:
    isolate(closed, 0, 11)
    closed.run(10)
    assert closed.controller.isolated(closed.now_ns) == [1] * 4 + [0] * 4 + [1] * 4
    assert len(closed.commands) == 4


def test_a_cell_without_a_bypass_changes_nothing(
    pack: Pack, make_bench: Callable[[Pack], Bench]
) -> None:
    bench = make_bench(pack)
    bench.close()
    bench.sent.clear()
    isolate(bench, CELL)
    bench.run(10)
    assert bench.commands == [0b011]
    assert bench.told == []


@pytest.mark.parametrize("current_a", [-60.0, 60.0, nan, None], ids=str)
def test_more_current_than_its_switch_breaks_or_an_unmeasured_one_delays_a_bypass(
    modular: Pack, make_bench: Callable[[Pack], Bench], current_a: float | None
) -> None:
    switches = [
        msgspec.structs.replace(s, maximum_break_current_a=50.0) if s.name == "series_2" else s
        for s in modular.switching.switches
    ]
    switching = msgspec.structs.replace(modular.switching, switches=switches)
    bench = make_bench(msgspec.structs.replace(modular, switching=switching))
    bench.board = replace(bench.board, link_voltage_v=0.0)
    bench.close()
    bench.current_a = current_a
    bench.tick()
    bench.sent.clear()
    isolate(bench, CELL)
    bench.run(10)
    assert len(bench.commands) == 1
    assert "less current" in bench.controller.waiting_for
    bench.current_a = -40.0
    bench.run(5)
    assert bench.controller.isolated(bench.now_ns)[CELL] == 1


def test_isolation_goes_before_the_next_step_of_closing(closed: Bench, modular: Pack) -> None:
    closed.ask("open", arm=False)
    closed.run(5)
    closed.board = replace(closed.board, link_voltage_v=0.0)
    closed.ask("closed")
    while closed.controller.commanded != "precharge":
        closed.tick()
    isolate(closed, CELL)
    closed.run(20)
    assert closed.controller.verified(closed.now_ns) == "closed"
    assert closed.controller.isolated(closed.now_ns)[CELL] == 1
    both = modular.switching.mask_of(["series_2", "bypass_2"])
    assert all(mask & both != both for mask in closed.commands)


def test_closing_with_a_cell_to_isolate_never_closes_its_way(
    modular: Pack, make_bench: Callable[[Pack], Bench], masks: dict[str, int]
) -> None:
    """From the user's opening on nothing shows as bypassed; the demand alone has to be enough."""
    bench = make_bench(modular)
    bench.board = replace(bench.board, link_voltage_v=0.0)
    isolate(bench, CELL)
    bench.close()
    closings = [mask for mask in bench.commands if mask]
    assert len(closings) == 4  # each step of the way, none more
    assert all(mask & masks["bypass"] and not mask & masks["series"] for mask in closings)
    assert bench.controller.isolated(bench.now_ns) == [0] * 4 + [1] * 4 + [0] * 4
    assert bench.controller.mismatch(bench.now_ns) == 0
    assert Reason.ISOLATE not in bench.reasons


def test_a_demand_that_ends_during_closing_changes_nothing_any_more(
    closed: Bench, masks: dict[str, int]
) -> None:
    isolate(closed, CELL)
    closed.ask("open", arm=False)
    closed.run(5)
    closed.board = replace(closed.board, link_voltage_v=0.0)
    closed.sent.clear()
    closed.ask("closed")
    while closed.controller.commanded != "precharge_only":
        closed.tick()
    isolate(closed)
    closed.run(20)
    assert closed.board.closed == masks["around"]
    assert all(mask & masks["series"] == 0 for mask in closed.commands)
