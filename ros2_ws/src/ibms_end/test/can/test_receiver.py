# SPDX-License-Identifier: Apache-2.0
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import can
import pytest

from ibms_battery.clock import NS_PER_S, SystemClock, VirtualClock
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.receiver import CanReceiver

BUS_OFF, RESTARTED, CONTROLLER_PROBLEM = 0x40, 0x100, 0x04


class Listening:
    """A receiver and what it delivered."""

    def __init__(self, **options: Any) -> None:
        self.frames: list[tuple[can.Message, int]] = []
        self.idle = 0
        self.receiver = CanReceiver(
            options.pop("bus", BusConfiguration()),
            options.pop("identifiers", None),
            options.pop("clock", SystemClock()),
            options.pop(
                "on_frame", lambda message, boot_ns: self.frames.append((message, boot_ns))
            ),
            self._on_idle,
            idle_period_s=0.005,
            freshness_s=options.pop("freshness_s", 5.0),
            **options,
        )
        self.health = self.receiver.health

    def _on_idle(self, _boot_ns: int) -> None:
        self.idle += 1

    def wait(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until ``condition`` holds; fails after a while."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, dict(self.health.counts)
            time.sleep(0.001)

    def wait_idle(self) -> None:
        """Wait until the thread has gone round twice."""
        seen = self.idle
        self.wait(lambda: self.idle > seen + 1)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listening]]:
    """Builds receivers that are stopped in the end."""
    built: list[Listening] = []

    def build(**options: Any) -> Listening:
        built.append(Listening(**options))
        return built[-1]

    yield build
    for listening in built:
        listening.receiver.stop()


def now_frame(identifier: int = 0x10, **fields: Any) -> can.Message:
    return can.Message(
        arbitration_id=identifier, is_extended_id=False, timestamp=time.time(), **fields
    )


def error_frame(error_class: int) -> can.Message:
    return now_frame(error_class, is_error_frame=True, dlc=8, data=bytes(8))


def test_frames_arrive_with_their_boot_time_and_only_those_asked_for(
    listen: Any, bus_configuration: BusConfiguration, open_peer: Callable[[], can.BusABC]
) -> None:
    listening = listen(bus=bus_configuration, identifiers=[0x10, 0x80000010])
    listening.receiver.open()
    listening.receiver.start()
    peer, before_ns = open_peer(), SystemClock().boot_ns()
    for identifier, extended in ((0x10, False), (0x11, False), (0x10, True), (0x11, True)):
        peer.send(can.Message(arbitration_id=identifier, is_extended_id=extended))
    listening.wait(lambda: len(listening.frames) == 2)
    listening.wait_idle()
    assert [(m.arbitration_id, m.is_extended_id) for m, _ in listening.frames] == [
        (0x10, False),
        (0x10, True),
    ]
    assert all(before_ns - 1_000_000 <= ns <= SystemClock().boot_ns() for _, ns in listening.frames)
    assert listening.health.connected


def test_backlog_is_dropped_and_counted(
    listen: Any, bus_configuration: BusConfiguration, open_peer: Callable[[], can.BusABC]
) -> None:
    """As after SIGSTOP: frames wait in the socket until nobody may act on them any more."""
    listening = listen(bus=bus_configuration, freshness_s=0.1)
    listening.receiver.open()
    peer = open_peer()
    for i in range(50):
        peer.send(can.Message(arbitration_id=i))
    time.sleep(0.15)
    listening.receiver.start()
    listening.wait(lambda: listening.health.counts["stale"] == 50)
    assert listening.frames == []
    peer.send(can.Message(arbitration_id=0x99))
    listening.wait(lambda: len(listening.frames) == 1)


def test_poll_takes_what_waits_without_a_thread(
    listen: Any, bus_configuration: BusConfiguration, open_peer: Callable[[], can.BusABC]
) -> None:
    listening = listen(bus=bus_configuration)
    listening.receiver.open()
    peer = open_peer()
    listening.receiver.poll()
    assert (listening.frames, listening.idle) == ([], 1)
    for i in range(3):
        peer.send(can.Message(arbitration_id=i, is_extended_id=False))
    listening.receiver.poll()
    assert [message.arbitration_id for message, _ in listening.frames] == [0, 1, 2]
    assert listening.idle == 2


def test_poll_tells_a_step_of_wall_time_as_the_thread_does(
    listen: Any, clock: VirtualClock, bus_configuration: BusConfiguration
) -> None:
    """What has been polled empty cannot carry stamps of before the step."""
    listening = listen(clock=clock, bus=bus_configuration, freshness_s=0.1)
    listening.receiver.open()
    listening.receiver.poll()
    clock.set(clock.boot_ns() + 1_000_000, clock.wall_ns() + 3600 * NS_PER_S)
    listening.receiver.poll()
    assert listening.health.counts["wall_clock_step"] == 1
    clock.advance(0.5)
    listening.receiver.poll()
    stamp = clock.wall_ns() / NS_PER_S
    listening.receiver._take(can.Message(arbitration_id=1, timestamp=stamp))
    assert [boot_ns for _, boot_ns in listening.frames] == [clock.boot_ns()]


def test_freshness_of_single_identifiers(listen: Any, clock: VirtualClock, fake_buses: Any) -> None:
    buses = fake_buses()
    listening = listen(clock=clock, freshness_s=0.1, freshness_of_s={0x20: 0.5})
    listening.receiver.open()
    stamp = clock.wall_ns() / NS_PER_S
    for identifier in (0x10, 0x20):
        buses[0].put(can.Message(arbitration_id=identifier, is_extended_id=False, timestamp=stamp))
    clock.advance(0.3)
    listening.receiver.start()
    listening.wait(lambda: listening.health.counts.total() == 2)
    assert [message.arbitration_id for message, _ in listening.frames] == [0x20]
    assert listening.health.counts["stale"] == 1


def test_step_of_wall_time_is_counted_and_changes_nothing(
    listen: Any, clock: VirtualClock, fake_buses: Any
) -> None:
    buses = fake_buses()
    listening = listen(clock=clock, freshness_s=0.1)
    listening.receiver.open()
    listening.receiver.start()
    for number, step_s in enumerate((0, 3600, -7200, 0), start=1):
        clock.set(clock.boot_ns() + 1_000_000, clock.wall_ns() + step_s * NS_PER_S)
        buses[0].put(
            can.Message(
                arbitration_id=1, is_extended_id=False, timestamp=clock.wall_ns() / NS_PER_S
            )
        )
        listening.wait(lambda number=number: len(listening.frames) == number)
    assert listening.health.counts["wall_clock_step"] == 2
    assert listening.health.counts["stale"] == 0


def test_remote_frames_are_no_measurement(
    listen: Any, bus_configuration: BusConfiguration, open_peer: Callable[[], can.BusABC]
) -> None:
    listening = listen(bus=bus_configuration)
    listening.receiver.open()
    listening.receiver.start()
    open_peer().send(can.Message(arbitration_id=0x10, is_remote_frame=True, dlc=8))
    listening.wait(lambda: listening.health.counts["remote_frame"] == 1)
    assert listening.frames == []


def test_what_passed_before_the_filters_were_set_goes_no_further(
    listen: Any, fake_buses: Any
) -> None:
    buses = fake_buses()
    listening = listen(identifiers=[0x10])
    listening.receiver.start()
    for identifier in (0x11, 0x10):
        buses[0].put(now_frame(identifier))
    listening.wait(lambda: listening.frames)
    assert [message.arbitration_id for message, _ in listening.frames] == [0x10]
    assert listening.health.counts["received"] == 1


def test_error_frames_are_counted_and_shown(listen: Any, fake_buses: Any) -> None:
    buses = fake_buses()
    listening = listen()
    listening.receiver.open()
    listening.receiver.start()
    buses[0].put(error_frame(CONTROLLER_PROBLEM))
    listening.wait(lambda: listening.health.counts["error_frame"] == 1)
    assert listening.health.connected
    now_ns = SystemClock().boot_ns()
    assert listening.health.recent_problem(now_ns) == "error frames on the bus"
    assert listening.health.recent_problem(now_ns + 11 * NS_PER_S) == ""
    assert listening.frames == []


@pytest.mark.parametrize("recovery", ["restarted", "frame"])
def test_bus_off_shows_until_the_controller_is_back(
    listen: Any, fake_buses: Any, recovery: str
) -> None:
    buses = fake_buses()
    listening = listen()
    listening.receiver.open()
    listening.receiver.start()
    buses[0].put(error_frame(BUS_OFF))
    listening.wait(lambda: listening.health.counts["bus_off"] == 1)
    assert not listening.health.connected
    assert "bus off" in listening.health.recent_problem(SystemClock().boot_ns() + 60 * NS_PER_S)
    buses[0].put(error_frame(RESTARTED) if recovery == "restarted" else now_frame())
    listening.wait(lambda: listening.health.connected)
    assert len(buses) == 1


def test_device_that_vanishes_is_opened_anew(
    listen: Any, fake_buses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibms_end.can.receiver._REOPEN_PAUSE_S", 0.02)
    gone = can.CanInitializationError("No such device")
    buses = fake_buses(None, gone, gone)
    listening = listen()
    listening.receiver.open()
    listening.receiver.start()
    buses[0].put(OSError(100, "Network is down"))
    listening.wait(lambda: listening.health.counts["bus_failed"] == 1)
    assert not listening.health.connected or listening.health.counts["bus_reopened"]
    listening.wait(lambda: listening.health.counts["bus_reopened"] == 1)
    assert buses[0].is_closed
    assert listening.health.problem == "No such device"
    buses[1].put(now_frame())
    listening.wait(lambda: len(listening.frames) == 1)
    assert listening.health.connected


def test_idle_goes_on_while_the_device_is_missing(
    listen: Any, fake_buses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibms_end.can.receiver._REOPEN_PAUSE_S", 0.005)
    buses = fake_buses(None, *[can.CanInitializationError("No such device")] * 1000)
    listening = listen()
    listening.receiver.open()
    listening.receiver.start()
    buses[0].put(can.CanOperationError("gone"))
    listening.wait(lambda: not listening.health.connected)
    listening.wait_idle()


def test_missing_device_is_an_error_at_opening(listen: Any) -> None:
    listening = listen(bus=BusConfiguration(interface="socketcan", channel="can_missing"))
    with pytest.raises(
        can.CanInitializationError, match=r"socketcan:can_missing does not open.*ip link"
    ):
        listening.receiver.open()
    with pytest.raises(can.CanInitializationError):
        listening.receiver.start()


def test_bus_without_descriptor_is_refused(listen: Any) -> None:
    listening = listen(bus=BusConfiguration(interface="virtual", channel="test"))
    with pytest.raises(can.CanInitializationError, match="no file descriptor"):
        listening.receiver.open()


def test_sending_is_counted_whether_it_works_or_not(listen: Any, fake_buses: Any) -> None:
    buses = fake_buses()
    listening = listen()
    assert not listening.receiver.send(now_frame())
    listening.receiver.open()
    assert listening.receiver.send(now_frame())
    for error in (can.CanOperationError("no buffer space"), OSError("down"), ValueError("closed")):
        buses[0].send_error = error
        assert not listening.receiver.send(now_frame())
        assert str(error) in listening.health.problem
    assert listening.health.counts == {"sent": 1, "send_failed": 4}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failing_handler_ends_the_thread_visibly(listen: Any, fake_buses: Any) -> None:
    def fail(_message: can.Message, _boot_ns: int) -> None:
        raise KeyError("Voltage")

    buses = fake_buses()
    listening = listen(on_frame=fail)
    listening.receiver.open()
    listening.receiver.start()
    buses[0].put(now_frame())
    listening.wait(lambda: not listening.health.connected)
    assert "KeyError" in listening.health.recent_problem(SystemClock().boot_ns())


def test_stop_closes_and_start_opens_again(listen: Any, fake_buses: Any) -> None:
    buses = fake_buses()
    listening = listen()
    for number in (1, 2):
        listening.receiver.start()
        buses[-1].put(now_frame())
        listening.wait(lambda number=number: len(listening.frames) == number)
        listening.receiver.stop()
        listening.receiver.stop()
        assert buses[-1].is_closed
        assert not listening.health.connected
    assert len(buses) == 2
    assert not [t for t in threading.enumerate() if t.name == "can_receiver"]


def test_malformed_packets_of_the_local_bus_are_counted(
    listen: Any, bus_configuration: BusConfiguration, open_peer: Callable[[], can.BusABC]
) -> None:
    listening = listen(bus=bus_configuration)
    listening.receiver.open()
    listening.receiver.start()
    peer: Any = open_peer()
    peer._socket.sendto(b"\x01\x02\x03\x04\x00\x00\x00\x10\x08\x00\x00\x00short", peer._address)
    listening.wait(lambda: listening.health.counts["malformed"] == 1)
    assert listening.frames == []


STOPPED = """
import sys
from ibms_battery.clock import SystemClock
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.receiver import CanReceiver
def on_frame(message, _boot_ns):
    print(message.arbitration_id, receiver.health.counts["stale"], flush=True)

receiver = CanReceiver(BusConfiguration(channel=sys.argv[1]), None, SystemClock(), on_frame)
receiver.open()
receiver.start()
print("ready", flush=True)
sys.stdin.readline()
receiver.stop()
"""


def test_a_stopped_process_drops_what_it_missed(
    bus_configuration: BusConfiguration, open_peer: Callable[[], can.BusABC]
) -> None:
    command = [sys.executable, "-c", STOPPED, bus_configuration.channel]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        peer = open_peer()
        for i in range(50):
            peer.send(can.Message(arbitration_id=i, is_extended_id=False))
        time.sleep(0.3)
        process.send_signal(signal.SIGCONT)
        for _ in range(200):  # each may be late by itself on a busy machine
            peer.send(can.Message(arbitration_id=0x99, is_extended_id=False))
            if select.select([process.stdout], [], [], 0.05)[0]:
                break
        first = process.stdout.readline()
        process.communicate("\n")
    identifier, stale = first.split()
    assert int(identifier) == 0x99
    assert int(stale) >= 50
