# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator

import can
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibms_end.can.local_bus import GROUP, LocalBus


@pytest.fixture
def pair(free_channel: str) -> Iterator[tuple[LocalBus, LocalBus]]:
    """Two participants."""
    with LocalBus(free_channel) as sender, LocalBus(free_channel) as receiver:
        yield sender, receiver


FRAMES = [
    can.Message(arbitration_id=0x123, is_extended_id=False, data=b"\x01\x02"),
    can.Message(arbitration_id=0x123, is_extended_id=True, data=b""),
    can.Message(arbitration_id=0x1FFFFFFF, is_extended_id=True, data=bytes(range(8))),
    can.Message(
        arbitration_id=0x7FF, is_extended_id=False, is_fd=True, bitrate_switch=True, data=bytes(64)
    ),
    can.Message(
        arbitration_id=1,
        is_extended_id=False,
        is_fd=True,
        error_state_indicator=True,
        data=bytes(12),
    ),
    can.Message(arbitration_id=5, is_extended_id=False, is_remote_frame=True, dlc=8),
    can.Message(arbitration_id=0x40, is_extended_id=False, is_error_frame=True, data=bytes(8)),
]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_a_frame_arrives_as_it_was_sent(
    pair: tuple[LocalBus, LocalBus], frame: can.Message
) -> None:
    sender, receiver = pair
    before = time.time()
    sender.send(frame)
    received = receiver.recv(1.0)
    assert received is not None
    assert received.equals(frame, timestamp_delta=None, check_channel=False, check_direction=False)
    assert before - 0.001 <= received.timestamp <= time.time() + 0.001


def test_the_sender_does_not_hear_itself(pair: tuple[LocalBus, LocalBus]) -> None:
    pair[0].send(FRAMES[0])
    assert pair[1].recv(1.0) is not None
    assert pair[0].recv(0.05) is None


def test_other_channels_are_other_buses(free_channel: str) -> None:
    with LocalBus(free_channel) as one, LocalBus(str(int(free_channel) ^ 1)) as other:
        one.send(FRAMES[0])
        assert other.recv(0.05) is None


def test_filters_tell_standard_from_extended_and_let_errors_through(free_channel: str) -> None:
    filters: list[can.typechecking.CanFilter] = [
        {"can_id": 0x123, "can_mask": 0x7FF, "extended": False}
    ]
    with (
        LocalBus(free_channel) as sender,
        LocalBus(free_channel, can_filters=filters) as receiver,
    ):
        for frame in FRAMES:
            sender.send(frame)
        received = []
        while (frame_or_none := receiver.recv(0.05)) is not None:
            received.append(frame_or_none)
    assert [(m.arbitration_id, m.is_extended_id, m.is_error_frame) for m in received] == [
        (0x123, False, False),
        (0x40, False, True),
    ]


def test_no_other_frame_passes_while_a_bus_is_opened(free_channel: str) -> None:
    filters: list[can.typechecking.CanFilter] = [
        {"can_id": 0x7FF, "can_mask": 0x7FF, "extended": False}
    ]
    stop = threading.Event()

    def send() -> None:
        with LocalBus(free_channel) as sender:
            while not stop.is_set():
                sender.send(FRAMES[0])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        passed = []
        for _ in range(300):
            with LocalBus(free_channel, can_filters=filters) as receiver:
                passed += [frame for _ in range(3) if (frame := receiver.recv(0)) is not None]
    finally:
        stop.set()
        thread.join()
    assert passed == []


@pytest.mark.parametrize("channel", ["can0", "", "80", "70000", "-1"])
def test_channel_must_be_a_port(channel: str) -> None:
    with pytest.raises(can.CanInitializationError, match="UDP port from 1024 to 65535"):
        LocalBus(channel)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packet=st.binary(max_size=100))
def test_random_packets_give_a_sound_frame_or_none(
    pair: tuple[LocalBus, LocalBus], packet: bytes
) -> None:
    message = pair[0]._parse(packet, 0.0)
    if message is not None:
        assert len(packet) == 12 + len(message.data)
        assert len(message.data) <= 64
        message._check()


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("!IIBB2x", 1, 0x10, 8, 0) + bytes(7),
        struct.pack("!IIBB2x", 1, 0x10, 8, 0) + bytes(9),
        struct.pack("!IIBB2x", 1, 0x10, 64, 0) + bytes(64),
        struct.pack("!IIBB2x", 1, 0x10, 65, 4) + bytes(65),
        struct.pack("!IIBB2x", 1, 0x800, 0, 0),
        struct.pack("!IIBB2x", 1, 0x10 | 0x40000000, 8, 0) + bytes(8),
    ],
    ids=[
        "truncated",
        "too long",
        "long without FD",
        "longer than FD",
        "12 bits",
        "remote with data",
    ],
)
def test_malformed_packets(pair: tuple[LocalBus, LocalBus], packet: bytes) -> None:
    sender, receiver = pair
    sender._socket.sendto(packet, sender._address)
    sender.send(FRAMES[0])
    received = receiver.recv(1.0)
    assert received is not None
    assert received.arbitration_id == FRAMES[0].arbitration_id
    assert receiver.malformed == 1


def test_a_burst_of_frames_is_kept_in_order(pair: tuple[LocalBus, LocalBus]) -> None:
    sender, receiver = pair
    for i in range(200):
        sender.send(can.Message(arbitration_id=i, is_extended_id=False, is_fd=True, data=bytes(64)))
    received = [receiver.recv(1.0) for _ in range(200)]
    assert [m.arbitration_id for m in received if m is not None] == list(range(200))


# Nothing leaves the machine, nothing comes in -----------------------------------------------------


def test_socket_options_keep_it_on_loopback(free_channel: str) -> None:
    with LocalBus(free_channel) as bus:
        ip = socket.IPPROTO_IP
        assert bus._socket.getsockopt(ip, socket.IP_MULTICAST_TTL) == 0
        interface = bus._socket.getsockopt(ip, socket.IP_MULTICAST_IF, 4)
        assert interface == socket.inet_aton("127.0.0.1")
        assert bus._socket.getsockopt(ip, 49) == 0  # IP_MULTICAST_ALL
        assert bus._socket.getsockname()[0] == GROUP


INSIDE, OUTSIDE = f"ibmsi{os.getpid()}", f"ibmso{os.getpid()}"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def two_machines() -> Iterator[None]:
    """Two network namespaces, joined by a cable; each with multicast routed over it."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2 for network namespaces")
    with contextlib.ExitStack() as undo:
        try:
            for name in (INSIDE, OUTSIDE):
                ip("netns", "add", name)
                undo.callback(ip, "netns", "delete", name)
            ip(
                "link", "add", "cable", "netns", INSIDE, "type", "veth",
                "peer", "name", "cable", "netns", OUTSIDE,
            )  # fmt: skip
            for name, address in ((INSIDE, "10.77.0.1/24"), (OUTSIDE, "10.77.0.2/24")):
                for command in (
                    ["link", "set", "lo", "up"],
                    ["link", "set", "cable", "up"],
                    ["address", "add", address, "dev", "cable"],
                    ["route", "add", "224.0.0.0/4", "dev", "cable"],
                ):
                    ip("-n", name, *command)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted: {error.stderr.decode()}")
        yield


class Machine:
    """A Python process in a network namespace."""

    def __init__(self, name: str, script: str) -> None:
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", textwrap.dedent(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.says() == "ready"

    def says(self) -> object:
        """Next line of its output."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self) -> object:
        """Let it go on and say what it saw."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.says()

    def end(self) -> None:
        """End it."""
        self._process.communicate("\n", timeout=10)


@pytest.fixture
def machine(two_machines: None) -> Iterator[Callable[[str, str], Machine]]:
    """Starts processes on either machine."""
    started: list[Machine] = []

    def start(name: str, script: str) -> Machine:
        started.append(Machine(name, script))
        return started[-1]

    yield start
    for process in started:
        process.end()


# Hears everything that reaches the interface, below the multicast membership of any socket.
SNIFFER = """
    import json, socket, time
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind(("cable", 0))
    sock.settimeout(0.1)
    print('"ready"', flush=True)
    input()
    seen, end = 0, time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            packet = sock.recv(2048)
        except TimeoutError:
            continue
        seen += b"SECRET" in packet
    print(seen, flush=True)
    input()
"""
# A listener on the group at the interface, as an ordinary program would be.
LISTENER = """
    import json, socket
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", 43557))
    sock.setsockopt(socket.IPPROTO_IP, 49, 0)
    member = socket.inet_aton("239.255.67.78") + socket.inet_aton("{address}")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    sock.settimeout(0.3)
    print('"ready"', flush=True)
    input()
    seen = 0
    try:
        while True:
            seen += b"SECRET" in sock.recv(2048)
    except TimeoutError:
        print(seen, flush=True)
    input()
"""
SEND = """
    import can, time
    with can.Bus(**{options}) as bus:
        for _ in range(20):
            bus.send(can.Message(arbitration_id=0x10, data=b"SECRET"))
            time.sleep(0.002)
    print('"ready"', flush=True)
    input()
"""
OURS = {"interface": "ibms_local", "channel": "43557"}
PYTHON_CANS = {"interface": "udp_multicast", "channel": "239.255.67.78", "port": 43557, "fd": True}


@pytest.mark.parametrize(
    ("options", "leaves"),
    [(OURS, False), (PYTHON_CANS, True)],
    ids=["the local bus stays", "python-can's udp_multicast with its default hop limit leaves"],
)
def test_frames_stay_on_the_machine(
    machine: Callable[[str, str], Machine], options: dict[str, object], leaves: bool
) -> None:
    listeners = [
        machine(OUTSIDE, SNIFFER),
        machine(OUTSIDE, LISTENER.format(address="10.77.0.2")),
        machine(INSIDE, SNIFFER),
        machine(INSIDE, LISTENER.format(address="10.77.0.1")),
    ]
    machine(INSIDE, SEND.format(options=options))
    seen = [listener.ask() for listener in listeners]
    assert seen == ([20, 20, 20, 20] if leaves else [0, 0, 0, 0])


RECEIVER = """
    import can, json
    bus = can.Bus(**{options})
    print('"ready"', flush=True)
    input()
    seen = 0
    while bus.recv(0.2) is not None:
        seen += 1
    print(seen, flush=True)
    input()
    bus.shutdown()
"""
INTRUDE = """
    import socket, struct
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
    for target in ("239.255.67.78", "10.77.0.1"):
        for _ in range(10):
            sock.sendto(struct.pack("!IIBB2x", 7, 0x10, 6, 0) + b"SECRET", (target, 43557))
    print('"ready"', flush=True)
    input()
"""


def test_nothing_comes_in_from_outside(machine: Callable[[str, str], Machine]) -> None:
    receiver = machine(INSIDE, RECEIVER.format(options=OURS))
    arrived = machine(INSIDE, SNIFFER)
    machine(OUTSIDE, INTRUDE)
    assert int(str(arrived.ask())) >= 20  # they did reach the machine
    assert receiver.ask() == 0


def test_inside_the_machine_it_works(machine: Callable[[str, str], Machine]) -> None:
    receiver = machine(INSIDE, RECEIVER.format(options=OURS))
    machine(INSIDE, SEND.format(options=OURS))
    assert receiver.ask() == 20
