# SPDX-License-Identifier: Apache-2.0
"""What contactors, fuse and bypasses do when much more flows than they are made for."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from ibms_battery.pack import Pack, StringOfCells, StringVoltage, Switch, Transition
from ibms_sim.faults import InjectCode

from .conftest import Bench

MAIN = 0b011
SHORT_OHM = 0.001


def with_break_current(limit_a: float, fuse: bool) -> Callable[[Pack], Pack]:
    """The pack with other main contactors, and with or without its fuse."""

    def change(pack: Pack) -> Pack:
        switches = [
            msgspec.structs.replace(switch, maximum_break_current_a=limit_a)
            if switch.maximum_break_current_a is not None
            else switch
            for switch in pack.switching.switches
        ]
        switching = msgspec.structs.replace(pack.switching, switches=switches)
        return msgspec.structs.replace(pack, switching=switching, fuse=pack.fuse if fuse else None)

    return change


def current_a(bench: Bench) -> float:
    return bench.last["SimulationLink"]["Current"]


@pytest.fixture
def short_a(make_bench: Callable[..., Bench]) -> float:
    """What a low-impedance short draws from this pack without a fuse, when the switches move."""
    bench = make_bench("robot_12s", change=with_break_current(1e6, fuse=False))
    bench.connect()
    bench.inject("link_short", value=SHORT_OHM)
    bench.run(0.03)
    return -current_a(bench)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_current_below_the_break_current_is_broken(
    make_bench: Callable[..., Bench], short_a: float, share: float
) -> None:
    bench = make_bench("robot_12s", change=with_break_current(short_a / share, fuse=False))
    bench.connect()
    bench.inject("link_short", value=SHORT_OHM)
    bench.inject("emergency_stop")
    bench.run(0.05)
    assert bench.last["SwitchFeedback"]["Closed"] == 0
    assert current_a(bench) == 0.0
    bench.inject("link_short", remove=True)
    bench.inject("emergency_stop", remove=True)
    bench.connect()  # nothing has suffered


@pytest.mark.parametrize("share", [1.1, 2.0, 20.0])
def test_a_current_above_the_break_current_arcs_and_welds_visibly(
    make_bench: Callable[..., Bench], short_a: float, share: float
) -> None:
    bench = make_bench("robot_12s", change=with_break_current(short_a / share, fuse=False))
    bench.connect()
    bench.inject("link_short", value=SHORT_OHM)
    bench.inject("emergency_stop")
    bench.run(0.1)
    feedback = bench.last["SwitchFeedback"]
    assert (feedback["Closed"], feedback["EmergencyStop"]) == (MAIN, 1)
    assert -current_a(bench) > short_a / share
    # The weld stays when the current is gone, until the contactor is replaced.
    bench.inject("link_short", remove=True)
    bench.run(0.2)
    assert bench.last["SwitchFeedback"]["Closed"] == MAIN
    bench.inject("weld", 0, remove=True)
    bench.run(0.1)
    assert bench.last["SwitchFeedback"]["Closed"] == 0b010


def test_the_fuse_ends_what_the_contactors_cannot_break(
    make_bench: Callable[..., Bench], short_a: float
) -> None:
    bench = make_bench("robot_12s", change=with_break_current(short_a / 20.0, fuse=True))
    bench.connect()
    cells_v = bench.last["AfeMeasurement_00"]["ModuleVoltage"]
    bench.inject("link_short", value=SHORT_OHM)
    assert bench.pack.fuse is not None
    bench.run(bench.pack.fuse.melting_time_s(short_a) + 0.05)
    assert current_a(bench) == 0.0
    assert bench.last["SwitchFeedback"]["Closed"] == MAIN  # nobody asked them to open
    assert bench.last["PackSensor"]["PackVoltage"] < 1.0
    assert bench.last["PackSensor"]["LinkVoltage"] < 1.0
    assert bench.last["AfeMeasurement_00"]["ModuleVoltage"] > 0.9 * cells_v
    # Now nothing flows, and opening is harmless.
    bench.inject("emergency_stop")
    bench.run(0.05)
    assert bench.last["SwitchFeedback"]["Closed"] == 0


def test_contacts_that_a_dead_board_drops_break_only_what_they_can(
    make_bench: Callable[..., Bench], short_a: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench("robot_12s", change=with_break_current(short_a / 2, fuse=True))
    bench.connect()
    bench.inject("link_short", value=10.0)  # about 5 A more than the load
    bench.run(0.1)
    monkeypatch.setattr(bench.board, "run_due", lambda wait_s: None)
    bench.run(0.2)
    assert current_a(bench) == 0.0

    bench = make_bench("robot_12s", change=with_break_current(10.0, fuse=False))
    bench.connect()
    bench.inject("link_short", value=1.0)
    bench.run(0.1)
    monkeypatch.setattr(bench.board, "run_due", lambda wait_s: None)
    bench.run(0.2)
    assert -current_a(bench) > 40.0


def test_a_cleared_fuse_leaves_the_link_to_discharge(bench: Bench) -> None:
    bench.connect()
    link_v = bench.last["PackSensor"]["LinkVoltage"]
    bench.inject("fuse_open")
    # The constant load of 6 A empties 2 mF in 15 ms.
    bench.run(0.1)
    sensor = bench.last["PackSensor"]
    assert link_v > 40.0
    assert sensor["LinkVoltage"] < 1.0
    assert sensor["PackVoltage"] < 1.0
    bench.inject("fuse_open", remove=True)
    bench.run(0.1)
    assert bench.last["PackSensor"]["PackVoltage"] == pytest.approx(link_v, abs=1.0)


def test_precharge_does_not_get_past_a_cleared_fuse(bench: Bench) -> None:
    bench.run(0.2)
    bench.inject("fuse_open")
    bench.command(0, arm=True)
    bench.command(0b101)
    bench.run(0.5)
    assert bench.last["PackSensor"]["LinkVoltage"] < 1.0
    assert bench.last["AfeMeasurement_00"]["ModuleVoltage"] > 40.0


def test_the_sensor_tells_when_it_cannot_measure_the_short(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench("ev_96s", change=with_break_current(1e6, fuse=False))
    bench.connect()
    bench.inject("link_short", value=SHORT_OHM)
    bench.run(0.05)
    assert -current_a(bench) > 5000.0
    assert bench.last["PackSensor"]["OverRange"] == 1
    assert bench.last["PackSensorRedundant"]["OverRange"] == 1


# Bypasses of robot_12s_modular.


def bits(bench: Bench, *names: str) -> int:
    return bench.pack.switching.mask_of(names)


@pytest.fixture
def modular(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench("robot_12s_modular")
    bench.connect()
    return bench


def charge_of(bench: Bench, cell: int) -> float:
    return float(bench.device._plant.stack.bank.soc[cell])  # type: ignore[attr-defined]


def test_a_bypassed_module_adds_no_voltage_and_carries_no_current(modular: Bench) -> None:
    full_v = modular.last["PackSensor"]["PackVoltage"]
    closed = modular.pack.switching.mask("closed")
    between = closed & ~bits(modular, "series_2")
    modular.command(between)
    # Both open: the path is interrupted.
    assert modular.last["PackSensor"]["Current"] == pytest.approx(0.0, abs=0.3)
    modular.command(between | bits(modular, "bypass_2"))
    modular.run(0.2)
    assert modular.last["PackSensor"]["PackVoltage"] == pytest.approx(full_v * 2 / 3, abs=0.5)
    assert modular.last["PackSensor"]["Current"] == pytest.approx(-6.0, abs=0.5)
    assert modular.last["AfeMeasurement_00"]["CellVoltage_05"] > 3.5  # still measured
    outside, inside = charge_of(modular, 0), charge_of(modular, 5)
    modular.run(3.0)
    assert outside - charge_of(modular, 0) > 1e-4
    assert inside - charge_of(modular, 5) < 1e-6


def test_both_switches_of_a_module_closed_short_it(modular: Bench) -> None:
    before_v = modular.last["AfeMeasurement_00"]["CellVoltage_05"]
    assert modular.inject("weld", modular.pack.switching.index("bypass_2")) is InjectCode.OK
    modular.run(0.1)
    group_a = modular.device._plant._wiring.group_a
    assert -group_a[5] > 500.0  # through the module and its two switches, not through the load
    assert modular.last["PackSensor"]["Current"] == pytest.approx(-6.0, abs=1.0)
    assert modular.last["AfeMeasurement_00"]["CellVoltage_05"] < before_v - 1.0
    assert modular.last["AfeMeasurement_00"]["CellVoltage_00"] > before_v - 0.2
    lost = charge_of(modular, 5)
    modular.run(1.0)
    assert lost - charge_of(modular, 5) > 0.01
    # The series switch is a transistor without a break current: it ends the short.
    closed = modular.pack.switching.mask("closed")
    modular.command(closed & ~bits(modular, "series_2"))
    assert modular.device._plant._wiring.group_a[5] == 0.0


def two_strings(pack: Pack) -> Pack:
    """The robot's cells as two strings of six; the right one has a switch of its own."""
    mains = pack.switching.configurations["closed"]
    switching = msgspec.structs.replace(
        pack.switching,
        switches=[*pack.switching.switches, Switch("right_string")],
        configurations=pack.switching.configurations | {"both": [*mains, "right_string"]},
        transitions=[
            *pack.switching.transitions,
            Transition("closed", "both", requires_string=StringVoltage("right", 0.5)),
        ],
    )
    strings = [StringOfCells("left", 0, 6), StringOfCells("right", 6, 6)]
    return msgspec.structs.replace(pack, switching=switching, strings=strings)


def left_v(bench: Bench) -> float:
    return sum(bench.last["AfeMeasurement_00"][f"CellVoltage_{k:02d}"] for k in range(6))


def test_strings_in_parallel_share_the_current(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("robot_12s", change=two_strings)
    bench.connect()
    bench.run(0.1)
    assert bench.last["PackSensor"]["PackVoltage"] == pytest.approx(left_v(bench), abs=0.1)
    group_a = bench.device._plant._wiring.group_a
    assert group_a[0] == pytest.approx(-6.0, abs=0.1)
    assert group_a[6] == 0.0
    bench.command(bench.pack.switching.mask("both"))
    shares = []
    for _ in range(50):
        bench.run(0.01)
        shares.append((group_a[0], group_a[6]))
    assert np.sum(shares, axis=1) == pytest.approx(np.full(50, -6.0), abs=0.1)
    # The left one has been drained, so the right one carries more at first; nothing swings.
    assert all(-12.0 < right < left < 6.0 for left, right in shares)
    assert np.abs(np.diff(shares, axis=0)[10:]).max() < 0.1
    assert bench.last["PackSensor"]["Current"] == pytest.approx(-6.0, abs=0.5)
    assert bench.last["PackSensor"]["PackVoltage"] == pytest.approx(left_v(bench), abs=0.1)


def test_an_open_modular_pack_shows_no_voltage_at_its_terminals(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench("robot_12s_modular")
    bench.run(0.2)
    assert bench.last["PackSensor"]["PackVoltage"] < 0.5
    assert bench.last["AfeMeasurement_00"]["ModuleVoltage"] > 40.0
