# SPDX-License-Identifier: Apache-2.0
"""The node between topics and frames: in this process, on a virtual clock, with a model board."""

import os
from array import array
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import can
import msgspec
import pytest
from cantools.database.can import Database

from ibms_edge.switching.controller import SwitchController
from ibms_edge.switching.exchange import Reason
from ibms_edge.switching.node import SwitchControl
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message, load_databases
from ibms_msgs.msg import Event, PackMeasurement, ProtectionStatus, SwitchRequest, SwitchState
from ibms_msgs.srv import RequestSwitchConfiguration
from ibms_ros_common.diagnostics import ERROR, WARN, Status

MS = 1_000_000
NEGATIVE, POSITIVE, CLOSED = 0b001, 0b010, 0b011
Start = Callable[..., Any]


class World:
    """The node, and around it: a board that obeys, protection, supervisor, current sensor.

    Time passes in ticks of 10 ms; a status comes with every second one.
    """

    def __init__(self, start: Start, database: Database, config: Path, pack: str) -> None:
        self.alone = start(
            SwitchControl,
            pack=str(config / "packs" / f"{pack}.yaml"),
            # A bus of its own: whoever else runs on this machine has the role "bms" on another.
            **{"bus.channel": f"test_{os.getpid()}"},
        )
        self.node = self.alone.node
        assert self.node.is_active
        self.node._link.receiver.send = self._receive
        self._permit = FrameDecoder(find_message(database, "SwitchPermit"), protected=True)
        self._command = FrameDecoder(find_message(database, "SwitchCommand"), protected=True)
        self._feedback = FrameEncoder(find_message(database, "SwitchFeedback"))
        known = {signal.name for signal in self._feedback.message.signals}
        self.board = dict.fromkeys(known - {"Crc", "AliveCounter"}, 0.0) | {
            "DeadManLatched": 1,
            "InterlockClosed": 1,
            "ArmChallenge": 7,
            "PackVoltage": 44.0,
            "SwitchCount": 3,
        }
        self.commands: list[tuple[int, int]] = []  # closed, reason; repetitions left out
        self.command_ns = 0  # when the newest of them came
        self.permits: list[dict[str, float]] = []
        self.scan = 0
        self.status: dict[str, Any] = {"reaction": 0, "close_allowed": True}
        self.isolate: list[int] = []
        self.wish = ("open", 1, False)
        self.current_a: float | None = 0.0

    def _receive(self, message: can.Message) -> None:
        if message.arbitration_id == self._permit.message.frame_id:
            values = self._permit.decode(message.data)
            assert values is not None
            self.permits.append(values)
            return
        values = self._command.decode(message.data)
        assert values is not None
        if values["Arm"] and values["ArmChallenge"] == self.board["ArmChallenge"]:
            self.board |= {"Armed": 1, "DeadManLatched": 0}
        if self.board["Armed"]:
            closed = int(values["Closed"])
            self.board["Closed"] = closed
            if closed & 0b101 == 0b101 or closed & CLOSED == CLOSED:
                self.board["LinkVoltage"] = 44.0
        command = (int(values["Closed"]), int(values["Reason"]))
        if self.commands[-1:] != [command]:
            self.commands.append(command)
            self.command_ns = self.alone.clock.boot_ns()

    def tick(self, status: bool = True, feedback: bool = True) -> None:
        self.scan += 1
        if feedback:
            self.feed_back()
        if self.current_a is not None:
            self.measure(self.current_a)
        self.alone.hear(
            "switch/request",
            SwitchRequest(configuration=self.wish[0], sequence=self.wish[1], arm=self.wish[2]),
        )
        if status and self.scan % 2 == 0:
            self.judge()
        self.alone.advance(0.01)

    def run(self, ticks: int, **held_back: bool) -> None:
        for _ in range(ticks):
            self.tick(**held_back)

    def feed_back(self, **changed: float) -> None:
        """A feedback frame, now."""
        self.board |= changed
        self.node._on_frame(self._feedback.encode(self.board), self.alone.clock.boot_ns())

    def measure(self, current_a: float, **fields: Any) -> None:
        """A sample of the pack sensor, now."""
        valid = fields.pop("valid", PackMeasurement.VALID_CURRENT)
        sample = PackMeasurement(current_a=current_a, valid=valid, **fields)
        self.alone.hear("pack/measurement", sample)

    def judge(self) -> None:
        """A status of protection, now."""
        status = ProtectionStatus(
            scan_counter=self.scan, diagnoses_evaluated=9, diagnoses_total=9, **self.status
        )
        status.isolate_cells = array("i", self.isolate)
        self.alone.hear("protection/status", status)

    def demand(self) -> None:
        """Protection demands opening from now on."""
        self.status = {"reaction": ProtectionStatus.REACTION_OPEN_NOW, "close_allowed": False}
        self.judge()

    def ask(self, configuration: str, arm: bool = True) -> None:
        self.wish = (configuration, self.wish[1] + 1, arm)

    def close(self) -> None:
        self.run(6)
        self.ask("closed")
        self.run(40)
        assert self.state.configuration == "closed"
        self.commands.clear()
        self.alone.sent.clear()

    @property
    def state(self) -> Any:
        return self.alone.newest("switch/state")

    @property
    def states(self) -> list[Any]:
        return [message for topic, message in self.alone.sent if topic == "switch/state"]

    @property
    def events(self) -> list[Any]:
        return [message for topic, message in self.alone.sent if topic == "events"]


@pytest.fixture(scope="module")
def database(config: Path) -> Database:
    return load_databases([config / "can" / "ibms.dbc"])


@pytest.fixture
def make_world(start: Start, database: Database, config: Path) -> Callable[[str], World]:
    return lambda pack: World(start, database, config, pack)


@pytest.fixture
def world(make_world: Callable[[str], World]) -> World:
    return make_world("robot_12s")


@pytest.fixture
def closed(world: World) -> World:
    world.close()
    return world


def test_a_users_request_arms_and_closes_step_by_step(world: World) -> None:
    world.run(6)
    world.ask("closed")
    world.run(40)
    masks = list(dict.fromkeys(mask for mask, _ in world.commands))
    assert masks == [0, 0b101, 0b111, CLOSED]
    state = world.state
    assert list(state.closed) == [1, 1, 0]
    assert (state.configuration, state.requested_configuration) == ("closed", "closed")
    assert (state.armed, state.board_valid, state.in_transition) == (True, True, False)
    assert (state.hardware_switches, state.request_sequence) == (3, 2)
    assert list(state.isolated) == []
    assert state.wiring_boot_ns == 0
    assert state.waiting_for == ""
    commanded = world.alone.newest("switch/command")
    assert (commanded.configuration, list(commanded.closed)) == ("closed", [1, 1, 0])


def test_the_state_says_what_the_next_step_waits_for(world: World) -> None:
    world.status["close_allowed"] = False
    world.run(6)
    world.ask("closed")
    world.run(6)
    assert world.state.waiting_for == "permission of protection to close"


def test_healthy_frames_at_100_hz_make_20_states_per_second(closed: World) -> None:
    closed.run(100)
    assert 19 <= len(closed.states) <= 21


@pytest.mark.parametrize(
    ("changed", "field", "value"),
    [
        ({"InterlockClosed": 0}, "interlock_closed", False),
        ({"EmergencyStop": 1}, "emergency_stop", True),
        ({"CrashInput": 1}, "crash_input", True),
    ],
)
def test_each_frame_that_protection_counts_is_shown_at_once(
    closed: World, changed: dict[str, float], field: str, value: bool
) -> None:
    stamps = []
    for _ in range(5):
        closed.feed_back(**changed)
        assert getattr(closed.state, field) is value
        assert closed.state.boot_ns == closed.alone.clock.boot_ns()
        stamps.append(closed.state.boot_ns)
        closed.alone.advance(0.01)
    assert len(set(stamps)) == 5
    closed.alone.sent.clear()
    closed.board |= {"InterlockClosed": 1, "EmergencyStop": 0, "CrashInput": 0}
    closed.run(20)
    assert len(closed.states) >= 4  # and the usual rate goes on


def test_above_the_break_current_the_hold_is_shown_in_every_way(closed: World) -> None:
    closed.current_a = -300.0
    closed.tick()
    closed.demand()
    assert closed.commands == [(CLOSED, Reason.BREAK_CURRENT_HOLD)]
    assert closed.state.break_current_hold
    assert closed.state.open_reason == Reason.BREAK_CURRENT_HOLD
    event = closed.events[-1]
    assert (event.kind, event.severity) == (Event.KIND_SWITCHED, Event.SEVERITY_WARNING)
    assert event.value == -300.0
    status = Status()
    closed.node._report_switches(status)
    assert status.level == ERROR
    closed.permits.clear()
    closed.run(10)
    assert len(closed.permits) >= 4
    assert not any(permit["CloseAllowed"] for permit in closed.permits)
    closed.measure(-10.0)  # the fuse has cleared: no step of the loop is waited for
    assert closed.commands[-1] == (NEGATIVE, Reason.PROTECTION)
    assert not closed.state.break_current_hold
    closed.current_a = 0.0
    closed.run(4)
    assert closed.commands[-1] == (0, Reason.PROTECTION)


@pytest.mark.parametrize(
    ("sample", "held"),
    [
        ({"current_a": nan}, False),
        ({"current_a": -300.0, "valid": 0}, False),
        ({"current_a": -300.0, "status": PackMeasurement.SENSOR_SELF_TEST_FAILED}, False),
        # Over its range the sensor shows less than flows.
        ({"current_a": -300.0, "status": PackMeasurement.SENSOR_OVERRANGE}, True),
    ],
)
def test_only_a_measured_current_holds(closed: World, sample: dict[str, Any], held: bool) -> None:
    closed.current_a = None
    closed.tick()
    closed.measure(**sample)
    closed.demand()
    assert closed.state.break_current_hold is held


def test_a_contradiction_is_shown_with_its_sense(closed: World) -> None:
    closed.run(10)
    closed.board["Closed"] = NEGATIVE  # main_positive drops out
    closed.run(2)
    assert list(closed.state.mismatch) == [0, 0, 0]
    closed.run(1)
    assert closed.commands[-1] == (0, Reason.FEEDBACK)
    closed.board["Closed"] = CLOSED  # and bounces back; only then the board obeys
    closed.feed_back()
    assert list(closed.state.mismatch) == [0, SwitchState.MISMATCH_STAYS_OPEN, 0]
    closed.board["Closed"] = 0
    closed.run(20)
    assert list(closed.state.closed) == [0, 0, 0]
    assert list(closed.state.mismatch) == [0, SwitchState.MISMATCH_STAYS_OPEN, 0]
    status = Status()
    closed.node._report_switches(status)
    assert (status.level, status.message) == (ERROR, "feedback contradicts the command")
    closed.run(100)
    assert list(closed.state.mismatch) == [0, 0, 0]


def test_inputs_that_the_loop_does_not_fetch_are_lost_but_counted(
    closed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed.node, "_step", lambda _woken_ns: None)
    monkeypatch.setattr(closed.node, "_notify", lambda: None)
    for _ in range(40):
        closed.node._on_frame(closed._feedback.encode(closed.board), closed.alone.clock.boot_ns())
        closed.node._on_current(PackMeasurement())
    for _ in range(10):
        closed.node._on_status(ProtectionStatus())
        closed.node._on_request(SwitchRequest())
    status = Status()
    closed.node._report_switches(status)
    lost = {name: value for name, value in status.values.items() if name.endswith("_lost")}
    assert lost == {
        "verdicts_lost": "2",
        "requests_lost": "2",
        "feedbacks_lost": "32",
        "currents_lost": "8",
    }


def test_a_pack_with_slow_scans_says_that_it_is_only_monitored(world: World) -> None:
    slow = msgspec.structs.replace(world.node._pack, scan_period_s=0.1)
    world.node._controller = SwitchController(slow)
    world.run(6)
    world.ask("closed")
    world.run(40)
    assert {mask for mask, _ in world.commands} == {0}
    assert not world.board["Armed"]
    why = "a scan each 0.1 s is too slow for closing, the pack is monitored only"
    assert world.state.waiting_for == f"faster scans: {why}"
    answer = call(world, "closed", validate_only=True)
    assert (answer.success, answer.code, answer.message) == (False, answer.CODE_FORBIDDEN, why)
    status = Status()
    world.node._report_switches(status)
    assert (status.level, status.message) == (WARN, why)


def test_each_opening_is_an_event_with_switch_and_current(closed: World) -> None:
    closed.current_a = -20.0
    closed.run(10)
    closed.demand()
    closed.current_a = 0.0
    closed.run(6)
    assert closed.commands[-2:] == [(NEGATIVE, Reason.PROTECTION), (0, Reason.PROTECTION)]
    opened = [event for event in closed.events if event.element >= 0]
    assert [(event.kind, event.element) for event in opened] == [
        (Event.KIND_SWITCHED, 1),
        (Event.KIND_SWITCHED, 0),
    ]
    assert opened[0].value == -20.0


def test_cells_are_isolated_as_protection_wants(make_world: Callable[[str], World]) -> None:
    world = make_world("robot_12s_modular")
    world.close()
    world.run(6)
    assert list(world.state.isolated) == [0] * 12
    before_ns = world.state.wiring_boot_ns
    world.isolate = [6]
    world.run(10)
    state = world.state
    assert list(state.isolated) == [0] * 4 + [1] * 4 + [0] * 4
    assert state.configuration == "closed"
    assert state.wiring_boot_ns > before_ns
    assert Reason.ISOLATE in [reason for _, reason in world.commands]


def budget_ms(world: World, lost: dict[str, bool]) -> float:
    """From the last good sign to the open command."""
    last_ns: int = world.alone.clock.boot_ns()
    world.tick()
    if world.scan % 2:  # the last sign was not a status
        world.tick()
        last_ns = world.alone.clock.boot_ns() - 10 * MS
    for _ in range(40):
        world.tick(**lost)
        if world.commands and world.commands[-1][0] == 0:
            break
    return float(world.command_ns - last_ns) / MS


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ({"feedback": False}, Reason.FEEDBACK),
        ({"status": False}, Reason.STATUS_STALE),
        ({"feedback": False, "status": False}, Reason.STATUS_STALE),
    ],
)
def test_what_is_lost_opens_within_the_budget_of_300_ms(
    closed: World, lost: dict[str, bool], reason: Reason
) -> None:
    # The contactors need 15 ms of it, the auxiliary contact's frame 10 ms.
    assert 170 < budget_ms(closed, lost) <= 300 - 25
    assert closed.commands[-1] == (0, reason)


def test_a_second_publisher_opens_with_its_own_reason(closed: World) -> None:
    closed.node.inputs["pack/measurement"].publishers_alive = 2
    closed.run(2)
    assert closed.commands == [(0, Reason.PUBLISHERS)]
    status = Status()
    closed.node._report_switches(status)
    assert "second publisher on pack/measurement" in status.message


def test_deactivating_the_node_opens(closed: World) -> None:
    closed.node.stop()
    assert closed.commands == [(0, Reason.SHUTDOWN)]


def test_a_damaged_frame_is_no_feedback(closed: World) -> None:
    message = closed._feedback.encode(closed.board)
    message.data[-1] ^= 1
    before = closed.node._controller.last_feedback
    closed.node._on_frame(message, closed.alone.clock.boot_ns())
    assert closed.node._controller.last_feedback is before
    status = Status()
    closed.node._report_link(status)
    assert "1" in status.values.values()


def test_silence_of_the_board_is_an_error(closed: World) -> None:
    closed.run(30, feedback=False)
    status = Status()
    closed.node._report_link(status)
    assert (status.level, status.message) == (ERROR, "the switch board is silent")
    assert not closed.state.board_valid
    assert closed.state.configuration == "unknown"
    assert list(closed.state.closed) == [0, 0, 0]


# The service


def call(world: World, configuration: str, validate_only: bool = False) -> Any:
    request = RequestSwitchConfiguration.Request(
        configuration=configuration, validate_only=validate_only
    )
    return world.node._on_service(request, RequestSwitchConfiguration.Response())


def test_the_service_opens_and_a_new_request_is_needed_to_close(closed: World) -> None:
    assert call(closed, "open", validate_only=True).success
    closed.run(2)
    assert closed.commands == []
    assert call(closed, "open").success
    assert closed.commands == [(0, Reason.NOT_ARMED)]
    closed.run(30)
    assert closed.state.configuration == "open"
    assert "a new request" in closed.state.waiting_for
    closed.ask("closed")
    closed.run(40)
    assert closed.state.configuration == "closed"


def test_the_service_closes_nothing_and_says_what_stands_in_the_way(world: World) -> None:
    world.status["close_allowed"] = False
    world.run(6)
    world.ask("closed")
    world.run(6)
    answer = call(world, "closed")
    assert (answer.success, answer.code) == (False, answer.CODE_NOT_PERMITTED)
    assert "waits for permission of protection" in answer.message
    assert call(world, "sideways").code == answer.CODE_UNKNOWN_CONFIGURATION
    world.status["close_allowed"] = True
    world.run(40)
    assert call(world, "precharge").code == answer.CODE_FORBIDDEN
    world.node.stop()
    assert call(world, "open").code == answer.CODE_NOT_ACTIVE


def test_every_request_to_the_service_is_told(closed: World) -> None:
    def told() -> list[tuple[int, str]]:
        events = [message for topic, message in closed.alone.sent if topic == "events"]
        return [(e.severity, e.text) for e in events if e.kind == Event.KIND_REQUEST]

    call(closed, "open", validate_only=True)
    call(closed, "sideways")
    call(closed, "open")
    (checked, refused, opened) = told()
    reachable = "somebody asks whether it may ask for configuration 'open': can be reached"
    assert checked == (Event.SEVERITY_INFO, reachable)
    assert refused[0] == Event.SEVERITY_WARNING
    assert refused[1].startswith("somebody asks for configuration 'sideways': no configuration is")
    assert opened == (Event.SEVERITY_INFO, "somebody asks for configuration 'open': opening")
