# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibms_battery.pack import Pack
from ibms_end.afe.samples import AFE_NOT_RECEIVED, Scan
from ibms_end.afe.scan_assembler import GatheringAssembler, NumberedAssembler
from ibms_end.afe.scan_decoder import build_decoders
from ibms_end.mapping import LoadedMap

from .conftest import AfeDevice

MS = 1_000_000
WRAP = 1 << 32


class Numbered:
    """An assembler of the car's six modules and what it handed on."""

    def __init__(self, loaded: LoadedMap, pack: Pack) -> None:
        self.scans: list[Scan] = []
        self.assembler = NumberedAssembler(
            pack, build_decoders(loaded, pack), self.scans.append, timeout_s=0.01
        )
        self.counts = self.assembler.counts

    def take(self, *frames: tuple[int, bytes], boot_ns: int = 0) -> None:
        for identifier, data in frames:
            assert self.assembler.take(identifier, data, boot_ns)


@pytest.fixture
def numbered(car_map: LoadedMap, car: Pack) -> Numbered:
    return Numbered(car_map, car)


def test_a_scan_is_handed_on_with_its_last_frame(numbered: Numbered, car_device: AfeDevice) -> None:
    frames = car_device.scan(5)
    numbered.take(*frames[:5], boot_ns=7)
    assert numbered.scans == []
    numbered.take(frames[5], boot_ns=9)
    (scan,) = numbered.scans
    assert (scan.scan_counter, scan.device_time_ms, scan.boot_ns) == (5, 100, 7)
    assert scan.voltage_valid.all()
    assert scan.temperature_valid.all()
    assert not scan.afe_status.any()
    assert (scan.frames_missing, scan.frames_rejected) == (0, 0)
    assert not scan.late
    assert not scan.reduced_integrity
    expected = [3.0 + module / 10 + i / 100 for module in range(6) for i in range(16)]
    np.testing.assert_allclose(scan.voltage_v, expected, atol=1e-6)


def test_frames_in_any_order(numbered: Numbered, car_device: AfeDevice) -> None:
    numbered.take(*reversed(car_device.scan(5)))
    assert len(numbered.scans) == 1


def test_other_identifiers_are_not_its_own(numbered: Numbered) -> None:
    assert not numbered.assembler.take(0x7FF, bytes(64), 0)
    assert not numbered.assembler.take(0x100 | 0x80000000, bytes(64), 0)  # extended


def test_a_missing_module_is_marked_when_the_next_scan_begins(
    numbered: Numbered, car_device: AfeDevice
) -> None:
    first, second = car_device.scan(1), car_device.scan(2)
    del first[3]
    numbered.take(*first, *second)
    lame, whole = numbered.scans
    assert lame.frames_missing == 1
    assert np.flatnonzero(np.isnan(lame.voltage_v)).tolist() == list(range(48, 64))
    assert lame.afe_status.tolist() == [0, 0, 0, AFE_NOT_RECEIVED, 0, 0]
    assert whole.frames_missing == 0
    assert numbered.counts == {"scan_incomplete": 1, "scan_complete": 1}


def test_a_missing_module_is_marked_after_the_time_limit(
    numbered: Numbered, car_device: AfeDevice
) -> None:
    frames = car_device.scan(1)
    numbered.take(*frames[:5], boot_ns=100 * MS)
    numbered.assembler.tick(110 * MS)
    assert numbered.scans == []
    numbered.assembler.tick(111 * MS)
    assert numbered.scans[0].frames_missing == 1
    numbered.take(frames[5], boot_ns=112 * MS)
    assert len(numbered.scans) == 1
    assert numbered.counts["frame_after_scan"] == 1


def test_a_corrupt_frame_is_missing_and_counted(numbered: Numbered, car_device: AfeDevice) -> None:
    frames = car_device.scan(1)
    identifier, data = frames[0]
    frames[0] = identifier, bytes([*data[:20], data[20] ^ 4, *data[21:]])
    numbered.take(*frames, *car_device.scan(2), *car_device.scan(3))
    assert [scan.frames_missing for scan in numbered.scans] == [1, 0, 0]
    assert [scan.frames_rejected for scan in numbered.scans] == [1, 0, 0]


def test_repeated_frames_are_rejected(numbered: Numbered, car_device: AfeDevice) -> None:
    frames = car_device.scan(1)
    numbered.take(frames[0], frames[0], *frames[1:])
    assert len(numbered.scans) == 1
    assert numbered.scans[0].frames_rejected == 1


def test_lost_scans_are_counted_over_the_wrap(numbered: Numbered, car_device: AfeDevice) -> None:
    numbered.take(*car_device.scan(WRAP - 2), *car_device.scan(WRAP + 3))
    assert [scan.scan_counter for scan in numbered.scans] == [WRAP - 2, 3]
    assert numbered.counts["scan_lost"] == 4


def test_a_restarted_device_is_taken_up(
    numbered: Numbered, car_map: LoadedMap, car: Pack, car_device: AfeDevice
) -> None:
    for counter in range(1000, 1020):
        numbered.take(*car_device.scan(counter))
    restarted = AfeDevice(car_map, car)
    for counter in range(3):
        numbered.take(*restarted.scan(counter))
    counters = [scan.scan_counter for scan in numbered.scans]
    assert counters == [*range(1000, 1020), 1, 2]  # its first frames break the alive counter
    assert numbered.counts["device_restarted"] == 1


def test_only_what_was_sent_in_order_and_once(car_map: LoadedMap, car: Pack) -> None:
    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        start=st.sampled_from([0, 1000, WRAP - 20]),
        loss=st.floats(0, 0.6),
        duplication=st.floats(0, 0.5),
        shuffle=st.integers(0, 30),
        restart=st.booleans(),
        damage=st.floats(0, 0.3),
    )
    def run(**conditions: Any) -> None:
        send_and_check(car_map, car, **conditions)

    run()


def send_and_check(
    car_map: LoadedMap,
    car: Pack,
    seed: int,
    start: int,
    loss: float,
    duplication: float,
    shuffle: int,
    restart: bool,
    damage: float,
) -> None:
    """Send 40 scans over a bad line; ``start`` 1000 restarts the device's counter at 0."""
    random = Random(seed)
    sent: dict[int, list[np.ndarray[Any, Any]]] = {}
    stream: list[tuple[int, bytes]] = []
    device = AfeDevice(car_map, car)
    for number in range(40):
        if restart and number == 20:
            device, start = AfeDevice(car_map, car), -20
        counter = (start + number) % WRAP
        voltages = {f"CellVoltage_{i:02d}": random.randint(0, 65000) / 1e4 for i in range(16)}
        sent.setdefault(counter, []).append(np.tile(list(voltages.values()), 6))
        stream += device.scan(counter, **voltages)
    order = sorted(range(len(stream)), key=lambda i: i + random.uniform(0, shuffle))
    numbered = Numbered(car_map, car)
    clock_ns = 0
    for i in order:
        if random.random() < loss:
            continue
        identifier, data = stream[i]
        if random.random() < damage:
            position = random.randrange(64)
            data = bytes([*data[:position], random.randrange(256), *data[position + 1 :]])
        for _ in range(2 if random.random() < duplication else 1):
            clock_ns += random.choice([0, MS, 4 * MS])
            numbered.take((identifier, data), boot_ns=clock_ns)
            numbered.assembler.tick(clock_ns)
    falls, last = 0, None
    for scan in numbered.scans:
        if last is not None and not 0 < (scan.scan_counter - last) % WRAP < WRAP // 2:
            falls += 1
        last = scan.scan_counter
        valid = scan.voltage_valid == 1
        assert any(
            np.allclose(scan.voltage_v[valid], voltages[valid], atol=1e-5)
            for voltages in sent[scan.scan_counter]
        )
        assert np.isnan(scan.voltage_v[~valid]).all()
    assert falls == numbered.counts["device_restarted"] <= (1 if restart else 0)


# Foreign devices ----------------------------------------------------------------------------------


def cells(group: int, *numbers: int) -> tuple[int, bytes]:
    """CellData by its documented layout."""
    data = bytes([group]) + b"".join(n.to_bytes(2, "big") for n in numbers)
    return 0x98982414, data.ljust(8, b"\0")


def flags(bleeding: int, wire_open: int, fault: int) -> tuple[int, bytes]:
    """Group 3 of CellData."""
    return 0x98982414, bytes([3, bleeding, wire_open, fault, 0, 0, 0, 0])


def temperatures(first: int, second: int, hot: int = 0) -> tuple[int, bytes]:
    """TemperatureData by its documented layout."""
    data = first.to_bytes(2, "big", signed=True) + second.to_bytes(2, "big", signed=True)
    return 0x98982514, data + bytes([hot, 0, 0, 0])


class Gathering:
    """An assembler of the foreign pack and what it handed on."""

    def __init__(self, loaded: LoadedMap, pack: Pack) -> None:
        self.scans: list[Scan] = []
        self.assembler = GatheringAssembler(pack, build_decoders(loaded, pack), self.scans.append)

    def take(self, at_ms: int, frame: tuple[int, bytes]) -> None:
        assert self.assembler.take(*frame, at_ms * MS)

    def tick(self, at_ms: int) -> Scan:
        """The scan that is handed on now."""
        before = len(self.scans)
        self.assembler.tick(at_ms * MS)
        assert len(self.scans) == before + 1
        return self.scans[-1]


@pytest.fixture
def gathering(foreign_map: LoadedMap, foreign_pack: Pack) -> Gathering:
    return Gathering(foreign_map, foreign_pack)


ALL_CELLS = [cells(0, 3001, 3002, 3003), cells(1, 3004, 3005, 3006), cells(2, 3007, 3008, 24036)]


def test_groups_of_a_multiplexed_message_make_one_scan(gathering: Gathering) -> None:
    for at_ms, frame in enumerate([*ALL_CELLS, flags(0b11, 0, 0), temperatures(251, -52)]):
        gathering.take(at_ms, frame)
    scan = gathering.tick(100)
    np.testing.assert_allclose(scan.voltage_v, np.linspace(3.001, 3.008, 8), atol=1e-5)
    assert scan.voltage_valid.all()
    np.testing.assert_allclose(scan.temperature_c, [25.1, -5.2], atol=1e-5)
    assert scan.bleed_active.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert scan.afe_status.tolist() == [0]
    assert scan.boot_ns == 0
    assert (scan.scan_counter, scan.frames_missing) == (1, 0)
    assert scan.reduced_integrity


def test_each_group_keeps_its_own_freshness(gathering: Gathering) -> None:
    """Limit 300 ms: group 0 stops, groups 1 and 2 go on."""
    gathering.take(0, ALL_CELLS[0])
    gathering.take(0, flags(0b1, 0b10000000, 1))
    for at_ms in range(50, 600, 50):
        gathering.take(at_ms, ALL_CELLS[1])
        gathering.take(at_ms, ALL_CELLS[2])
    at = {round(scan.boot_ns / MS): scan for scan in gathering.scans}
    fresh, stale = at[200], at[400]
    assert fresh.voltage_valid.tolist() == [1, 1, 1, 1, 1, 1, 1, 0]  # the wire of cell 7 is open
    assert fresh.open_wire.tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert fresh.bleed_active[0] == 1
    assert fresh.afe_status[0] == 1
    assert stale.voltage_valid.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert np.isnan(stale.voltage_v[:3]).all()
    assert not stale.open_wire.any()
    assert not stale.bleed_active.any()
    assert stale.afe_status[0] == 0
    assert stale.module_voltage_v[0] == 24036


def test_flags_of_several_messages_of_a_module_add_up(gathering: Gathering) -> None:
    gathering.take(0, flags(0, 0, 1))
    gathering.take(0, temperatures(250, 250, hot=1))
    assert gathering.tick(100).afe_status.tolist() == [1 | 2]


def test_a_message_that_never_came_is_missing(gathering: Gathering) -> None:
    for frame in ALL_CELLS:
        gathering.take(0, frame)
    scan = gathering.tick(100)
    assert scan.frames_missing == 1
    assert np.isnan(scan.temperature_c).all()
    assert not scan.temperature_valid.any()


def test_a_value_that_becomes_absurd_is_lost_at_once(gathering: Gathering) -> None:
    gathering.take(0, ALL_CELLS[0])
    gathering.take(1, cells(0, 3001, 65535, 3003))
    assert gathering.tick(100).voltage_valid.tolist() == [1, 0, 1, 0, 0, 0, 0, 0]


def test_silence_gives_no_scans(gathering: Gathering) -> None:
    gathering.take(0, ALL_CELLS[0])
    gathering.tick(100)
    for at_ms in range(110, 1000, 10):
        gathering.assembler.tick(at_ms * MS)
    assert len(gathering.scans) == 1


def test_one_scan_per_period_also_after_a_pause(gathering: Gathering) -> None:
    for start_ms in (0, 5000):
        for at_ms in range(start_ms, start_ms + 1000, 7):
            gathering.take(at_ms, ALL_CELLS[0])
    times = [scan.boot_ns / MS for scan in gathering.scans]
    assert 18 <= len(times) <= 20
    assert min(b - a for a, b in pairwise(times)) >= 90
    assert [scan.scan_counter for scan in gathering.scans] == list(range(1, len(times) + 1))


def test_rejected_frames_are_told_with_the_next_scan(gathering: Gathering) -> None:
    gathering.take(0, (0x98982414, b"\0\1"))
    gathering.take(0, (0x98982414, b"\7" + bytes(7)))
    gathering.take(1, ALL_CELLS[0])
    assert gathering.tick(101).frames_rejected == 2


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0, 1]), st.binary(max_size=10))))
def test_random_frames_never_crash_the_gathering(
    foreign_map: LoadedMap, foreign_pack: Pack, frames: list[tuple[int, int, bytes]]
) -> None:
    gathering = Gathering(foreign_map, foreign_pack)
    at_ms = 0
    for step_ms, which, data in frames:
        at_ms += step_ms
        gathering.take(at_ms, ((0x98982414, 0x98982514)[which], data))
    for scan in gathering.scans:
        assert (np.isnan(scan.voltage_v) == (scan.voltage_valid == 0)).all()
