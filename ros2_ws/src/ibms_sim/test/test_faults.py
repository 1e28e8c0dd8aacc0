# SPDX-License-Identifier: Apache-2.0
"""How faults end, their ranges and elements, and which device answers for them."""

from pathlib import Path

import can
import pytest

from ibms_battery.pack import load_pack
from ibms_sim.faults import (
    BY_NAME,
    FAULTS,
    NO_ELEMENT,
    Fault,
    FaultSet,
    InjectCode,
    check,
    element_count,
)

from .conftest import Bench


def test_a_fault_ends_by_itself(bench: Bench) -> None:
    bench.run(0.1)
    bench.inject("cell_voltage", 0, 2.0, duration_s=0.3)
    bench.run(0.2)
    assert bench.last["AfeMeasurement_00"]["CellVoltage_00"] == pytest.approx(2.0)
    bench.run(0.2)
    assert bench.last["AfeMeasurement_00"]["CellVoltage_00"] > 3.0


# Exactly so many, no more and no less: what proves that one or two spikes do not trip.


def record(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, signal: str) -> list[float]:
    """Every value of a signal that is received from now on."""
    values: list[float] = []
    receive = bench._receive

    def keep(message: can.Message) -> None:
        before = bench.seen[name]
        receive(message)
        if bench.seen[name] > before:
            values.append(bench.last[name][signal])

    monkeypatch.setattr(bench, "_receive", keep)
    return values


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("fault", "element", "value", "name", "signal"),
    [
        ("cell_voltage", 3, 4.9, "AfeMeasurement_00", "CellVoltage_03"),
        ("cell_temperature", 1, 120.0, "AfeMeasurement_00", "Temperature_01"),
        ("current_value", NO_ELEMENT, -900.0, "PackSensor", "Current"),
        ("interlock_glitch", NO_ELEMENT, 0.0, "SwitchFeedback", "InterlockClosed"),
    ],
)
def test_a_counted_spike_shows_exactly_so_often(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    element: int,
    value: float,
    name: str,
    signal: str,
    count: int,
) -> None:
    bench.connect()
    values = record(bench, monkeypatch, name, signal)
    assert bench.inject(fault, element, value, count=count) is InjectCode.OK
    bench.run(0.3)
    assert sum(v == pytest.approx(value) for v in values) == count
    assert bench.last["SwitchFeedback"]["Closed"] == 0b011


@pytest.mark.parametrize("count", [1, 5])
def test_counted_corruption_hits_exactly_so_many_frames(bench: Bench, count: int) -> None:
    bench.run(0.1)
    before = bench.rejected("AfeMeasurement_00").total()
    bench.inject("afe_corruption", 0, 2, count=count)
    bench.run(0.4)
    assert bench.rejected("AfeMeasurement_00").total() - before == count


def test_what_cannot_be_counted_is_refused(bench: Bench) -> None:
    assert bench.inject("gas", value=100.0, count=2) is InjectCode.OUT_OF_RANGE


def test_a_count_ends_with_its_fault(config: Path) -> None:
    faults = FaultSet(load_pack(config / "packs" / "ev_96s.yaml"), "plant")
    number = BY_NAME["cell_voltage"].number
    faults.inject(number, 1, 4.0, 0.0, False, 0, count=2)
    faults.inject(number, 1, 4.1, 0.0, False, 0)  # not counted any more
    for _ in range(5):
        faults.passed("scan")
    assert faults.of("cell_voltage") == {1: 4.1}
    faults.inject(number, 1, 4.1, 0.0, False, 0, count=2)
    faults.passed("sample")
    faults.passed("scan")
    assert faults.of("cell_voltage") == {1: 4.1}
    faults.passed("scan")
    assert faults.of("cell_voltage") == {}


# The table and the set of active faults.


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_ranges_are_enforced(config: Path, fault: Fault) -> None:
    pack = load_pack(config / "packs" / "ev_96s.yaml")
    count = element_count(fault, pack)
    good = count - 1 if count else NO_ELEMENT
    assert check(fault, good, fault.maximum, pack) is InjectCode.OK
    wrong = [count, -2] + ([NO_ELEMENT] if count else [0])
    for element in wrong:
        assert check(fault, element, fault.maximum, pack) is InjectCode.OUT_OF_RANGE
    if fault.unit:
        above = fault.maximum + max(1e-6, abs(fault.maximum) * 1e-6)
        assert check(fault, good, above, pack) is InjectCode.OUT_OF_RANGE
        assert check(fault, good, float("nan"), pack) is InjectCode.OUT_OF_RANGE


def test_devices_answer_for_their_own_faults_only(config: Path) -> None:
    pack = load_pack(config / "packs" / "ev_96s.yaml")
    plant, board = FaultSet(pack, "plant"), FaultSet(pack, "switch_board")
    weld_number = BY_NAME["weld"].number
    assert plant.inject(weld_number, 0, 0.0, 0.0, False, 0) is None
    assert board.inject(weld_number, 0, 0.0, 0.0, False, 0) is InjectCode.OK
    assert plant.inject(9999, 0, 0.0, 0.0, False, 0) is InjectCode.UNKNOWN_FAULT
    assert board.inject(9999, 0, 0.0, 0.0, False, 0) is None


def test_removal_without_element_removes_all(config: Path) -> None:
    faults = FaultSet(load_pack(config / "packs" / "ev_96s.yaml"), "plant")
    number = BY_NAME["cell_voltage"].number
    for index in (1, 5):
        faults.inject(number, index, 4.0, 1.0, False, 0)
    assert faults.of("cell_voltage") == {1: 4.0, 5: 4.0}
    faults.inject(number, NO_ELEMENT, 0.0, 0.0, True, 0)
    assert faults.of("cell_voltage") == {}
    assert faults.next_end_ns() is None
