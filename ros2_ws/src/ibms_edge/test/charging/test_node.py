# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the session: frames, their times, and what is published."""

from array import array
from collections.abc import Callable
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import can
import pytest

from ibms_edge.charging.node import ChargerInterface
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.receiver import CanReceiver
from ibms_msgs.msg import ChargerState, Event, PackLimits, PackState, SwitchState
from ibms_ros_common.diagnostics import ERROR, Status

Start = Callable[..., Any]
MAXIMUM_V = 12 * 4.2


class Plugged:
    """The node with a charger that reports once a second and the inputs of a pack in charge."""

    def __init__(self, alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alone = alone
        self.frames: list[tuple[int, bytes]] = []
        self.limit_a = 9.0
        self.output_a = 0.0
        self.state = PackState.STATE_CHARGE
        monkeypatch.setattr(alone.node._receiver, "send", self._sent)
        self._steps = 0

    def _sent(self, frame: can.Message) -> bool:
        assert (frame.arbitration_id, frame.is_extended_id) == (0x1806E5F4, True)
        self.frames.append((self.alone.clock.boot_ns(), bytes(frame.data)))
        return True

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            if self._steps % 10 == 0:
                raw = round(self.output_a * 10).to_bytes(2, "big")
                data = round(44.4 * 10).to_bytes(2, "big") + raw + bytes(4)
                report = can.Message(arbitration_id=0x18FF50E5, is_extended_id=True, data=data)
                self.alone.node._on_frame(report, self.alone.clock.boot_ns())
            self._steps += 1
            self.alone.hear_all(voltage_v=3.7, current_a=self.output_a)
            self.alone.hear("pack/state", PackState(state=self.state))
            limits = PackLimits(charge_current_a=self.limit_a, charge_voltage_v=MAXIMUM_V)
            self.alone.hear("pack/limits", limits)
            self.alone.advance(0.1)

    def events(self) -> list[tuple[int, str]]:
        return [(e.severity, e.text) for topic, e in self.alone.sent if topic == "events"]


@pytest.fixture
def plugged(start: Start, monkeypatch: pytest.MonkeyPatch) -> Plugged:
    return Plugged(start(ChargerInterface), monkeypatch)


def test_requests_go_out_each_second_and_at_once_when_the_pack_takes_less(
    plugged: Plugged,
) -> None:
    plugged.run(5.0)
    assert plugged.frames[-1][1] == (504).to_bytes(2, "big") + (90).to_bytes(2, "big") + bytes(4)
    times = [time_ns for time_ns, _ in plugged.frames]
    assert all(0 < after - before <= 1.01e9 for before, after in pairwise(times))
    count = len(plugged.frames)
    plugged.limit_a = 4.0
    plugged.run(0.1)
    assert len(plugged.frames) == count + 1
    assert plugged.frames[-1][1][2:5] == (40).to_bytes(2, "big") + bytes(1)
    plugged.state = PackState.STATE_ERROR
    plugged.run(0.1)
    assert plugged.frames[-1][1] == bytes.fromhex("0000 0000 0100 0000")


def test_the_state_is_published_five_times_per_second(plugged: Plugged) -> None:
    plugged.output_a = 8.9
    plugged.run(5.0)
    states = [message for topic, message in plugged.alone.sent if topic == "charger/state"]
    assert len(states) in (25, 26)
    newest = states[-1]
    assert newest.state == ChargerState.STATE_CHARGING
    assert newest.requested_current_a == pytest.approx(9.0)
    assert newest.requested_voltage_v == pytest.approx(MAXIMUM_V)
    assert newest.output_voltage_v == pytest.approx(44.4)
    assert newest.output_current_a == pytest.approx(8.9)
    assert newest.text.startswith("charging, at most 9.0 A")


def test_over_delivery_is_an_error_event_and_an_error_in_diagnostics(plugged: Plugged) -> None:
    plugged.output_a = 9.0
    plugged.run(5.0)
    plugged.output_a = 12.0
    plugged.run(1.0)
    assert plugged.events()[-1][0] == Event.SEVERITY_ERROR
    assert plugged.alone.newest("charger/state").over_delivery
    status = Status()
    plugged.alone.node._report(status)
    assert status.level == ERROR


def test_only_a_cell_that_is_shown_bypassed_now_counts_for_nothing(
    plugged: Plugged, monkeypatch: pytest.MonkeyPatch
) -> None:
    highest: list[float] = []
    session = plugged.alone.node._session
    monkeypatch.setattr(session, "take_cells", lambda cells: highest.append(cells.highest_cell_v))
    high = array("f", [4.3] * 4 + [3.7] * 8)
    bypassed = SwitchState(pack_voltage_v=29.6, isolated=array("B", [1] * 4 + [0] * 8))
    plugged.alone.hear("switch/state", bypassed)
    plugged.alone.hear_all(voltage_v=3.7)
    for _ in range(2):
        cells = plugged.alone.healthy()[0][1]
        cells.voltage_v = high
        plugged.alone.hear("cells/state", cells)
        plugged.alone.advance(1.0)
    assert highest == [pytest.approx(3.7), pytest.approx(3.7), pytest.approx(4.3)]


def test_before_a_charger_is_heard_its_values_are_unknown(start: Start) -> None:
    alone = start(ChargerInterface)
    alone.advance(1.0)
    state = alone.newest("charger/state")
    assert state.state == ChargerState.STATE_UNPLUGGED
    assert isnan(state.output_voltage_v)
    assert isnan(state.output_current_a)


def test_deactivation_asks_the_charger_to_stop(plugged: Plugged) -> None:
    plugged.run(3.0)
    plugged.alone.node.trigger_deactivate()
    assert plugged.frames[-1][1][4] == 1


def test_a_charger_may_have_a_bus_of_its_own(
    start: Start, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elcon chargers speak classic CAN, which frames of CAN FD disturb."""
    opened: list[BusConfiguration] = []

    def receiver(bus: BusConfiguration, *arguments: Any, **options: Any) -> CanReceiver:
        opened.append(bus)
        return CanReceiver(bus, *arguments, **options)

    monkeypatch.setattr("ibms_edge.charging.node.CanReceiver", receiver)
    text = (config / "packs" / "robot_12s.yaml").read_text()
    (tmp_path / "packs").mkdir()
    file = tmp_path / "packs" / "robot_12s.yaml"
    file.write_text(
        text.replace("maximum_current_a: 12", "maximum_current_a: 12, bus_channel: can1")
    )
    for folder in ("cells", "can"):
        (tmp_path / folder).symlink_to(config / folder)
    start(ChargerInterface)
    start(ChargerInterface, pack=str(file))
    assert [bus.protocol for bus in opened] == ["fd", "classic"]
    assert (opened[1].channel, opened[1].interface) == ("can1", opened[0].interface)


def test_a_pack_without_charger_leaves_the_node_idle(start: Start, config: Path) -> None:
    alone = start(ChargerInterface, pack=str(config / "packs" / "ev_192s.yaml"))
    alone.advance(2.0)
    assert alone.newest("charger/state").text == "the pack's description names no charger"
    assert list(alone.node.inputs) == []
    status = Status()
    alone.node._report(status)
    assert status.message == "the pack's description names no charger"
