# SPDX-License-Identifier: Apache-2.0
"""Isolation of a faulty cell in drive: the modular pack, the whole chain, real bypass switches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from rclpy.context import Context

from ibms_edge.protection.table import load_table
from ibms_msgs.msg import PackLimits, PackState, ProtectionStatus
from ibms_sim.configuration import Constant, load_simulation
from ibms_tools.campaign.closed_loop import ClosedLoop

from .conftest import CONFIG

PACK = CONFIG / "packs" / "robot_12s_modular.yaml"
CELLS_PER_MODULE = 4
CELL, MODULE = 5, 2
LOAD_A = 6.0
# From the demand: the loops of both nodes and what the slowest contactor takes.
OPENING_S = 0.1
BLANK_S = 0.3  # of the sum of cells after a change of the wiring
SUM_OF_CELLS, FUSE_OPEN, GAS = 131, 133, 161
CONTACTORS = ("main_negative", "main_positive")


@dataclass
class Seen:
    """What happened since the fault was injected; times in seconds since the loop's start."""

    demanded_s: float | None = None  # protection wants a cell isolated
    shown_s: float | None = None  # feedback shows one isolated
    opened_s: float | None = None  # the pack is open
    conducting: set[int] = field(default_factory=set)  # every set of contacts there was


class Robot:
    """The modular pack in drive."""

    def __init__(self, loop: ClosedLoop) -> None:
        self.loop = loop
        self.seen = Seen()
        self.mask = loop.pack.switching.mask_of
        loop.run(3.0)
        self.drive()
        loop.run(5.0)  # until the limits allow the load

    def drive(self) -> None:
        loop = self.loop
        assert loop.request(PackState.STATE_DRIVE).success
        assert loop.run(
            5.0, until=lambda: bool(loop.newest["pack/state"].state == PackState.STATE_DRIVE)
        )

    def run(self, duration_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        return self.loop.run(duration_s, lambda: self._look() or until())

    @property
    def status(self) -> ProtectionStatus:
        return self.loop.newest["protection/status"]

    def isolated(self) -> list[int]:
        return [i for i, shown in enumerate(self.loop.newest["switch/state"].isolated) if shown]

    @property
    def is_open(self) -> bool:
        return self.loop.conducting & self.mask(CONTACTORS) == 0

    def _look(self) -> bool:
        seen, loop = self.seen, self.loop
        seen.conducting.add(loop.conducting)
        if seen.demanded_s is None and len(self.status.isolate_cells):
            seen.demanded_s = loop.now_s
        if seen.shown_s is None and self.isolated():
            seen.shown_s = loop.now_s
        if seen.opened_s is None and self.is_open:
            seen.opened_s = loop.now_s
        return False


def empty_cell(robot: Robot, cell: int) -> None:
    """It has nothing left: its voltage falls truly."""
    robot.loop.device._plant.stack.bank.soc[cell] = 0.0  # type: ignore[attr-defined]


def break_sense_wire(robot: Robot, cell: int) -> None:
    """The cell and its upper neighbour read wrong."""
    robot.loop.inject("open_wire", cell)


@pytest.fixture
def robot(context: Context) -> Iterator[Robot]:
    simulation = msgspec.structs.replace(
        load_simulation(CONFIG / "simulation" / "robot.yaml"), load=Constant(-LOAD_A)
    )
    robot = Robot(ClosedLoop(PACK, simulation, CONFIG / "simulation", context))
    yield robot
    robot.loop.close()


@pytest.fixture
def isolate_s(robot: Robot) -> float:
    """T, the same for all rows that isolate."""
    table = load_table(CONFIG / "diagnoses" / robot.loop.pack.diagnoses)
    (isolate_s,) = {row.isolate_s for row in table.diagnoses if row.reaction == "isolate"}
    return isolate_s


def isolate(robot: Robot) -> None:
    empty_cell(robot, CELL)
    assert robot.run(0.5, lambda: bool(robot.isolated()))


@pytest.mark.parametrize(
    ("fault", "cell"),
    [(empty_cell, 0), (empty_cell, 5), (empty_cell, 11), (break_sense_wire, 5)],
)
def test_exactly_the_module_of_a_faulty_cell_is_bypassed_and_the_pack_drives_on(
    robot: Robot, isolate_s: float, fault: Callable[[Robot, int], None], cell: int
) -> None:
    loop, seen = robot.loop, robot.seen
    loop.run(5.0)  # until the limits are at their height
    before: PackLimits = loop.newest["pack/limits"]
    pack_v = loop.newest["pack/measurement"].voltage_v
    module = cell // CELLS_PER_MODULE
    series, bypass = (robot.mask([f"{kind}_{module + 1}"]) for kind in ("series", "bypass"))
    cells = list(range(module * CELLS_PER_MODULE, (module + 1) * CELLS_PER_MODULE))

    fault(robot, cell)
    robot.run(3.0)
    assert seen.demanded_s is not None
    assert seen.shown_s is not None
    assert seen.shown_s - seen.demanded_s < isolate_s
    assert robot.isolated() == cells
    assert loop.conducting == robot.loop.pack.switching.mask("closed") & ~series | bypass
    assert not any(contacts & series and contacts & bypass for contacts in seen.conducting)
    assert loop.device._plant._wiring.group_a[cells] == pytest.approx([0.0] * len(cells))

    # It drives on, with less.
    assert seen.opened_s is None
    assert loop.newest["pack/state"].state == PackState.STATE_DRIVE
    assert robot.status.reaction == ProtectionStatus.REACTION_ISOLATE
    assert robot.status.first_cause == 0
    measured = loop.newest["pack/measurement"]
    assert -measured.current_a == pytest.approx(LOAD_A, abs=0.5)
    after: PackLimits = loop.newest["pack/limits"]
    assert 0.0 < after.discharge_current_a < before.discharge_current_a - 1.0
    assert 0.0 < after.discharge_power_w < 0.66 * before.discharge_power_w
    assert after.discharge_voltage_v == pytest.approx(before.discharge_voltage_v * 2 / 3)

    # The sum of cells follows the wiring.
    assert measured.voltage_v == pytest.approx(pack_v * 2 / 3, abs=0.5)
    if fault is empty_cell:
        assert robot.status.string_voltage_v[0] == pytest.approx(measured.voltage_v, abs=0.2)
    assert not {SUM_OF_CELLS, FUSE_OPEN} & set(robot.status.active_diagnosis)


@pytest.mark.parametrize(
    ("fault", "element", "value", "diagnosis", "latest_s"),
    [
        ("cell_temperature", 1, 70.0, 111, 2.0),
        ("gas", -1, 900.0, GAS, 0.6),
        # The monitor averages, and zero current is waited for.
        ("insulation_resistance", -1, 1000.0, 151, 3.0),
    ],
)
def test_a_bypassed_cell_keeps_its_temperature_gas_and_insulation(
    robot: Robot, fault: str, element: int, value: float, diagnosis: int, latest_s: float
) -> None:
    assert robot.loop.pack.temperature_sensor_of_cell()[CELL] == 1
    isolate(robot)
    robot.run(0.5)
    assert not robot.is_open
    injected_s = robot.loop.now_s
    robot.loop.inject(fault, element, value)
    robot.run(4.0)
    assert robot.seen.opened_s is not None
    assert robot.seen.opened_s - injected_s < latest_s
    assert diagnosis in robot.status.active_diagnosis
    assert robot.loop.newest["pack/state"].state == PackState.STATE_ERROR


@pytest.mark.parametrize(
    ("fault", "switch"),
    [("does_not_close", "bypass_2"), ("weld", "series_2")],
)
def test_a_bypass_whose_switches_do_not_follow_opens_the_pack_in_time(
    robot: Robot, isolate_s: float, fault: str, switch: str
) -> None:
    robot.loop.inject(fault, robot.loop.pack.switching.index(switch))
    empty_cell(robot, CELL)
    robot.run(1.0)
    seen = robot.seen
    assert seen.demanded_s is not None
    assert seen.opened_s is not None
    assert seen.opened_s - seen.demanded_s <= isolate_s + OPENING_S
    assert seen.shown_s is None
    series, bypass = robot.mask(["series_2"]), robot.mask(["bypass_2"])
    assert not any(contacts & series and contacts & bypass for contacts in seen.conducting)
    assert robot.is_open
    assert robot.loop.newest["pack/state"].state == PackState.STATE_ERROR
    assert not robot.loop.request(PackState.STATE_DRIVE).success


def test_an_isolation_that_nobody_carries_out_opens_after_its_time(
    robot: Robot, isolate_s: float
) -> None:
    """The cell contradicts its module's voltage, so that nothing may be closed, and no bypass."""
    robot.loop.inject("cell_voltage", CELL, 2.2)
    robot.run(1.0)
    seen = robot.seen
    assert seen.shown_s is None
    assert seen.demanded_s is not None
    assert seen.opened_s is not None
    assert isolate_s <= seen.opened_s - seen.demanded_s <= isolate_s + OPENING_S


def test_the_sum_of_cells_is_blank_for_its_time_after_a_change_and_no_longer(
    robot: Robot,
) -> None:
    isolate(robot)
    shown_s = robot.seen.shown_s
    assert shown_s is not None
    robot.loop.inject("fuse_open")

    def is_told() -> bool:
        return FUSE_OPEN in robot.status.active_diagnosis

    assert robot.run(2.0, is_told)
    debounce_s = 5 * robot.loop.pack.scan_period_s
    assert BLANK_S < robot.loop.now_s - shown_s < BLANK_S + debounce_s + 0.05
    robot.run(0.2)
    assert robot.is_open


def test_what_opens_a_pack_with_a_bypassed_cell_is_its_cause(robot: Robot) -> None:
    isolate(robot)
    robot.run(0.5)
    robot.loop.inject("gas", -1, 900.0)
    robot.run(1.0)
    assert robot.is_open
    assert robot.status.first_cause == GAS
    assert robot.loop.newest["pack/state"].cause == GAS


def test_a_pack_with_a_bypassed_cell_is_opened_and_closed_again_on_request(robot: Robot) -> None:
    isolate(robot)
    loop: Any = robot.loop
    assert loop.request(PackState.STATE_STANDBY).success
    robot.run(3.0)
    assert robot.is_open
    assert loop.newest["pack/state"].state == PackState.STATE_STANDBY
    loop.inject("link_short", value=50.0)  # the consumer discharges its link
    robot.run(2.0)
    loop.inject("link_short", remove=True)
    robot.drive()
    cells = list(range((MODULE - 1) * CELLS_PER_MODULE, MODULE * CELLS_PER_MODULE))
    assert robot.isolated() == cells
