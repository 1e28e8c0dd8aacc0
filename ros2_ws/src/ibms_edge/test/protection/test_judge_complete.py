# SPDX-License-Identifier: Apache-2.0
"""A status says what was judged: one that left something out gets no permit."""

import pytest

from ibms_msgs.msg import ProtectionStatus

from .world import MS, World


def status_of(world: World) -> ProtectionStatus:
    return world.judge.status(world.history[-1])


def is_complete(status: ProtectionStatus) -> bool:
    """As switch control asks; ``test_permits`` holds that it sends no permit otherwise."""
    return bool(0 < status.diagnoses_total == status.diagnoses_evaluated)


@pytest.mark.parametrize("source", ["cells", "pack", "switch", "insulation", "environment"])
def test_a_judge_that_leaves_an_input_out_is_not_complete(
    world: World, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(0.2)
    assert is_complete(status_of(world))
    with monkeypatch.context() as skipping:
        skipping.setattr(world.judge, f"_{source}_signals", lambda message: None)
        world.run(0.2)
        assert not is_complete(status_of(world))
    world.run(0.01)  # what was left out is made up for
    assert is_complete(status_of(world))


def test_an_engine_that_leaves_a_group_out_is_not_complete(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = world.judge.engine
    groups = {source: group for source, group in engine._groups.items() if source != "clock"}
    monkeypatch.setattr(engine, "_groups", groups)
    world.run(0.01)
    assert not is_complete(status_of(world))


def test_the_status_carries_the_scan_that_was_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(0.2)
    before = status_of(world)
    monkeypatch.setattr(world.judge, "_cells_signals", lambda sample: None)
    world.run(0.2)
    after = status_of(world)
    assert (after.scan_counter, after.boot_ns) == (before.scan_counter, before.boot_ns)
    scan = world.cells()
    scan.boot_ns = world.now_ns + MS
    assert world.judge.take_cells(scan)
    assert status_of(world).boot_ns == before.boot_ns  # taken, not judged


@pytest.mark.parametrize("source", ["cells", "pack", "switch", "insulation", "environment"])
def test_silence_is_for_the_age_of_an_input(world: World, source: str) -> None:
    world.silent.add(source)
    world.run(1.0)
    assert is_complete(status_of(world))


def test_an_unmeasured_value_was_judged_as_well(world: World) -> None:
    world.change["insulation"] = lambda message: setattr(message, "valid", False)
    world.change["environment"] = lambda message: setattr(message, "valid", 0)
    world.run(1.0)
    assert is_complete(status_of(world))
