# SPDX-License-Identifier: Apache-2.0
"""The node as it stands between messages and engine: in this process, on a virtual clock."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rclpy.parameter import Parameter

from ibms_battery.clock import VirtualClock
from ibms_battery.pack import Pack
from ibms_edge.protection.node import Protection
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    Event,
    InsulationMeasurement,
    PackMeasurement,
    PackState,
    ProtectionLockouts,
    ProtectionStatus,
    SwitchState,
)
from ibms_msgs.srv import ClearFaults

MS = 1_000_000
START_NS = 50_000 * MS


class Chain:
    """A protection node and the inputs around it."""

    def __init__(self, pack: Pack, file: Path) -> None:
        self.pack = pack
        self.clock = VirtualClock(START_NS)
        self.sent: list[tuple[str, Any]] = []
        self.node = Protection(
            clock=self.clock,
            sink=lambda topic, message: self.sent.append((topic, message)),
            parameter_overrides=[Parameter("pack", value=str(file))],
        )
        self.node.trigger_configure()
        self.node.trigger_activate()
        assert self.node.is_active
        self.counter = 0
        self.hear("protection/lockouts", ProtectionLockouts(boot_ns=START_NS))

    def scan(
        self, voltage_v: float = 3.7, voltages: "array[float] | None" = None, **fields: Any
    ) -> None:
        self.counter += 1
        message = CellMeasurement(boot_ns=self.clock.boot_ns(), scan_counter=self.counter)
        message.voltage_v = voltages or array("f", [voltage_v] * self.pack.series)
        message.voltage_valid = array("B", [1] * self.pack.series)
        message.open_wire = array("B", bytes(self.pack.series))
        message.temperature_c = array("f", [25.0] * self.pack.temperature_sensors)
        message.temperature_valid = array("B", [1] * self.pack.temperature_sensors)
        message.afe_status = array("B", bytes(self.pack.modules))
        message.module_voltage_v = array("f", [sum(message.voltage_v)])
        for name, value in fields.items():
            setattr(message, name, value)
        self.hear("cells/measurement", message)

    def sample(self) -> None:
        self.hear(
            "pack/measurement",
            PackMeasurement(boot_ns=self.clock.boot_ns(), current_a=0.0, voltage_v=44.4, valid=31),
        )

    def switches(self, closed: int = 0, board_valid: bool = True, boot_ns: int = -1) -> None:
        message = SwitchState(
            boot_ns=self.clock.boot_ns() if boot_ns < 0 else boot_ns,
            board_valid=board_valid,
            interlock_closed=True,
        )
        count = len(self.pack.switching.switches)
        message.closed = array("B", [closed >> i & 1 for i in range(count)])
        message.mismatch = array("B", bytes(count))
        self.hear("switch/state", message)

    def others(self) -> None:
        now_ns = self.clock.boot_ns()
        self.hear(
            "insulation/measurement",
            InsulationMeasurement(boot_ns=now_ns, resistance_ohm=5e6, valid=True),
        )
        self.hear("environment/measurement", EnvironmentMeasurement(boot_ns=now_ns, valid=31))
        self.hear("pack/state", PackState(boot_ns=now_ns, state=PackState.STATE_STANDBY))

    def hear(self, topic: str, message: Any) -> None:
        self.node.receive(self.node.inputs[topic], message)

    def run(self, ticks: int = 1, **scan: Any) -> None:
        for _ in range(ticks):
            self.node.advance(self.clock.boot_ns() + 20 * MS)
            self.switches()
            self.others()
            self.sample()
            self.scan(**scan)

    @property
    def statuses(self) -> list[ProtectionStatus]:
        return [message for topic, message in self.sent if topic == "protection/status"]

    @property
    def active(self) -> list[int]:
        return list(self.statuses[-1].active_diagnosis)

    @property
    def events(self) -> list[Event]:
        return [message for topic, message in self.sent if topic == "events"]

    def clear(self, *diagnoses: int) -> ClearFaults.Response:
        request = ClearFaults.Request(diagnosis=array("H", diagnoses))
        return self.node._on_clear_faults(request, ClearFaults.Response())


@pytest.fixture
def chain(ros: None, pack: Pack, config: Path) -> Iterator[Chain]:
    chain = Chain(pack, config / "packs" / "robot_12s.yaml")
    yield chain
    chain.node.stop()
    chain.node.destroy_node()


def test_each_scan_gives_one_complete_status_with_its_counter_and_time(chain: Chain) -> None:
    chain.run(10)
    assert [status.scan_counter for status in chain.statuses][-10:] == list(range(1, 11))
    last = chain.statuses[-1]
    assert last.boot_ns == chain.clock.boot_ns()
    assert last.diagnoses_evaluated == last.diagnoses_total > 20
    assert last.reaction == ProtectionStatus.REACTION_NONE
    assert last.close_allowed
    assert last.configuration_crc != 0


def test_time_alone_gives_no_status(chain: Chain) -> None:
    chain.run(3)
    count = len(chain.statuses)
    chain.node.advance(chain.clock.boot_ns() + 100 * MS)
    assert len(chain.statuses) == count


def test_a_scan_of_another_size_is_rejected_and_its_absence_opens(chain: Chain) -> None:
    chain.run(3)
    chain.run(11, voltage_v=3.7, open_wire=array("B"))
    assert chain.statuses[-1].scan_counter == 3
    assert chain.active == [181]
    assert chain.node._rejected["cells"] == 11


def test_a_repeated_scan_counts_once(chain: Chain) -> None:
    chain.run(3)
    count = len(chain.statuses)
    chain.scan(voltage_v=9.0)
    chain.scan(voltage_v=9.0)
    assert len(chain.statuses) == count
    assert chain.node._rejected["cells"] == 2


def test_silent_inputs_open_from_the_start_on(chain: Chain) -> None:
    chain.node.advance(START_NS + 2_000 * MS)
    assert not chain.statuses or chain.active == []
    chain.node.advance(START_NS + 2_700 * MS)
    assert set(chain.active) == {181, 182, 183, 184, 185, 188}
    assert chain.statuses[-1].reaction == ProtectionStatus.REACTION_OPEN_NOW
    assert chain.statuses[-1].boot_ns == 0  # no scan was judged, so nobody takes it for fresh


def test_a_board_that_never_answered_is_given_its_time_to_start(chain: Chain) -> None:
    for _ in range(50):
        chain.node.advance(chain.clock.boot_ns() + 20 * MS)
        chain.switches(board_valid=False, boot_ns=0)
        chain.others()
        chain.sample()
        chain.scan()
    assert chain.active == []
    for _ in range(80):
        chain.node.advance(chain.clock.boot_ns() + 20 * MS)
        chain.switches(board_valid=False, boot_ns=0)
        chain.others()
        chain.sample()
        chain.scan()
    assert chain.active == [185]


def test_after_a_pause_of_the_node_old_inputs_are_forgotten(chain: Chain) -> None:
    chain.run(3)
    chain.node.trigger_deactivate()
    chain.clock.advance(60.0)
    chain.node.trigger_activate()
    chain.node.advance(chain.clock.boot_ns() + 100 * MS)
    chain.run(5)
    assert chain.active == []


def test_faults_are_cleared_only_while_all_switches_are_known_to_be_open(chain: Chain) -> None:
    chain.run(3)
    chain.run(3, voltage_v=4.5)
    assert 101 in chain.active
    chain.run(100)
    chain.switches(closed=0b011)
    assert chain.clear().code == ClearFaults.Response.CODE_CONTACTORS_CLOSED
    chain.switches(board_valid=False)
    assert chain.clear().code == ClearFaults.Response.CODE_CONTACTORS_CLOSED
    chain.switches(boot_ns=chain.clock.boot_ns() - 600 * MS)
    assert chain.clear().code == ClearFaults.Response.CODE_CONTACTORS_CLOSED
    chain.switches()
    chain.run(1)
    chain.sent.clear()
    answer = chain.clear()
    assert answer.success
    assert list(answer.cleared) == [101]
    assert [event.text for event in chain.events] == [
        "acknowledged: a cell voltage is too high",
        "somebody asks to clear faults (all): 1 faults cleared",
    ]
    chain.run(1)
    assert chain.active == []


def test_what_still_stands_is_not_told_to_be_over(chain: Chain) -> None:
    chain.run(3)
    voltages = array("f", [3.7] * chain.pack.series)
    voltages[7] = 4.5
    chain.run(3, voltages=voltages)
    voltages[7] = 4.22  # above the operating limit alone
    chain.run(100, voltages=voltages)
    chain.sent.clear()
    answer = chain.clear()
    assert (list(answer.cleared), list(answer.standing)) == ([], [101, 104])
    over = [event for event in chain.events if event.kind == Event.KIND_FAULT_CLEARED]
    assert [event.text for event in over] == ["acknowledged: a cell voltage is too high"]
    chain.run(1, voltages=voltages)
    assert set(chain.active) == {101, 104}  # it lies far from the others as well


def test_each_request_to_clear_faults_is_told_with_its_answer(chain: Chain) -> None:
    chain.run(3)
    chain.run(3, voltage_v=4.5)
    chain.sent.clear()
    chain.clear(101)
    chain.clear(*range(60_000, 60_030))
    chain.switches(closed=0b011)
    chain.clear()
    assert {event.kind for event in chain.events} == {Event.KIND_REQUEST}
    assert {event.severity for event in chain.events} == {Event.SEVERITY_WARNING}
    stands, unknown, closed = (event.text for event in chain.events)
    assert stands == "somebody asks to clear faults (101): 1 faults still stand: [101]"
    assert "60019 and more): the table of diagnoses holds no identifier 60000" in unknown
    assert "all switches open" in closed


def test_a_trip_names_cell_and_value_in_status_and_event(chain: Chain) -> None:
    chain.run(3)
    voltages = array("f", [3.7] * chain.pack.series)
    voltages[7] = 4.5
    chain.sent.clear()
    chain.run(3, voltages=voltages)
    status = chain.statuses[-1]
    assert (status.first_cause, status.first_cause_element) == (101, 7)
    assert status.active_value[0] == pytest.approx(4.5)
    assert not status.close_allowed
    events = chain.events
    assert "a cell voltage is too high: 4.5 (element 7)" in [event.text for event in events]
