# SPDX-License-Identifier: Apache-2.0
"""The bus in memory: order, filters, stamps."""

from collections.abc import Iterator

import can
import pytest

from ibms_battery.clock import NS_PER_S, VirtualClock
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_tools.campaign.memory_bus import INTERFACE, create_channel, remove_channel

CLOCK = VirtualClock(0, 5 * NS_PER_S)


@pytest.fixture
def bus() -> Iterator[BusConfiguration]:
    create_channel("test", CLOCK)
    yield BusConfiguration(INTERFACE, "test")
    remove_channel("test")


def frame(identifier: int, data: bytes = b"") -> can.Message:
    return can.Message(arbitration_id=identifier, is_extended_id=False, data=data)


def test_frames_arrive_in_order_at_all_others_with_the_time_of_the_clock(
    bus: BusConfiguration,
) -> None:
    sender, first, second = open_bus(bus), open_bus(bus), open_bus(bus)
    sender.send(frame(1, b"a"))
    CLOCK.advance(0.5)
    sender.send(frame(2, b"b"))
    for reader in (first, second):
        got = [reader.recv(0), reader.recv(0)]
        assert [(m.arbitration_id, bytes(m.data), m.timestamp) for m in got if m] == [
            (1, b"a", 5.0),
            (2, b"b", 5.5),
        ]
        assert reader.recv(0) is None
    assert sender.recv(0) is None


def test_a_reader_gets_what_it_asked_for_and_error_frames(bus: BusConfiguration) -> None:
    sender, reader, deaf = open_bus(bus), open_bus(bus, [0x20]), open_bus(bus, [0x30])
    for message in (frame(0x10), frame(0x20), can.Message(is_error_frame=True)):
        sender.send(message)
    got = [reader.recv(0), reader.recv(0), reader.recv(0)]
    assert [m.is_error_frame if m else None for m in got] == [False, True, None]
    error = deaf.recv(0)
    assert error is not None
    assert error.is_error_frame


def test_the_two_kinds_of_identifier_are_told_apart(bus: BusConfiguration) -> None:
    sender, standard, extended = open_bus(bus), open_bus(bus, [0x20]), open_bus(bus, [0x80000020])
    sender.send(can.Message(arbitration_id=0x20, is_extended_id=True))
    assert standard.recv(0) is None
    assert extended.recv(0) is not None


def test_who_has_left_gets_nothing(bus: BusConfiguration) -> None:
    sender, reader = open_bus(bus), open_bus(bus)
    reader.shutdown()
    reader.shutdown()
    sender.send(frame(1))
    assert reader.recv(0) is None


def test_a_channel_exists_once_and_only_when_created(bus: BusConfiguration) -> None:
    with pytest.raises(ValueError, match="is there already"):
        create_channel("test", CLOCK)
    with pytest.raises(can.CanInitializationError, match="has no channel 'other'"):
        open_bus(BusConfiguration(INTERFACE, "other"))
