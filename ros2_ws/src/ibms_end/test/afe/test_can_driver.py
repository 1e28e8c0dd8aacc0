# SPDX-License-Identifier: Apache-2.0
"""The driver against a device on the local bus that answers as the contract says."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import can
import msgspec
import numpy as np
import pytest

from ibms_battery.clock import SystemClock
from ibms_battery.pack import Pack
from ibms_end.afe.can_driver import CanPackDriver
from ibms_end.afe.samples import PackSample, Scan
from ibms_end.can.bus import BusConfiguration, open_bus
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.mapping import LoadedMap

from .conftest import AfeDevice


def patient(loaded: LoadedMap, sensor_s: float = 5.0) -> LoadedMap:
    """The same map with freshness limits that a busy machine keeps."""
    replace = msgspec.structs.replace
    scan = loaded.map.scan
    frames = [replace(frame, freshness_s=5.0) for frame in scan.frames]
    sensor = replace(loaded.map.pack_sensor, freshness_s=sensor_s)
    redundant = loaded.map.redundant_pack_sensor
    if redundant is not None:
        redundant = replace(redundant, freshness_s=5.0)
    can_map = replace(
        loaded.map,
        scan=replace(scan, frames=frames),
        pack_sensor=sensor,
        redundant_pack_sensor=redundant,
    )
    return replace(loaded, map=can_map)


class RobotOnCan:
    """One AFE module with a ring, and a pack sensor; sends when the test says so."""

    def __init__(self, loaded: LoadedMap, pack: Pack, configuration: BusConfiguration) -> None:
        self.bus = open_bus(configuration)
        self.counter = 0
        self.ring: dict[int, None] = {}
        self.requests: list[tuple[int, int]] = []
        self.bleed_masks: list[int] = []
        self.answers = True
        self._live = AfeDevice(loaded, pack)
        self._past = AfeDevice(loaded, pack, "AfeHistory")
        self._sensor = FrameEncoder(find_message(loaded.database, "PackSensor"))
        self._redundant = FrameEncoder(find_message(loaded.database, "PackSensorRedundant"))
        self._identity = FrameEncoder(find_message(loaded.database, "PackIdentity"))
        find = loaded.database
        self._request = FrameDecoder(find_message(find, "AfeHistoryRequest"), protected=True)
        self._balancing = FrameDecoder(find_message(find, "AfeBalancing"), protected=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def scan(self, on_the_bus: bool = True) -> None:
        """Sample once; without ``on_the_bus`` the frame gets lost."""
        self.counter += 1
        self.ring[self.counter] = None
        frame = self._live.scan(self.counter)[0]
        if on_the_bus:
            self._send(*frame)

    def sample(self, current_a: float) -> None:
        """Send one sample of the pack sensor."""
        self.bus.send(self._sensor.encode({"Current": current_a, "PackVoltage": 44.0}))

    def sample_redundant(self, current_a: float) -> None:
        """Send one sample of the second current sensor."""
        self.bus.send(self._redundant.encode({"Current": current_a}))

    def introduce(self) -> None:
        """Say what it is built of."""
        self.bus.send(
            self._identity.encode({"SeriesCells": 12, "AfeModules": 1, "TemperatureSensors": 4})
        )

    def send_past(self, counter: int) -> None:
        """Send one past scan."""
        self._send(*self._past.scan(counter)[0])

    def _send(self, identifier: int, data: bytes) -> None:
        self.bus.send(
            can.Message(arbitration_id=identifier, is_extended_id=False, is_fd=True, data=data)
        )

    def _listen(self) -> None:
        while not self._stop.is_set():
            message = self.bus.recv(0.02)
            if message is None:
                continue
            if message.arbitration_id == self._request.message.frame_id:
                values = self._request.decode(message.data)
                assert values is not None
                first, count = int(values["FirstScan"]), int(values["ScanCount"])
                self.requests.append((first, count))
                for counter in range(first, first + count) if self.answers else ():
                    if counter in self.ring:
                        self.send_past(counter)
            elif message.arbitration_id == self._balancing.message.frame_id:
                values = self._balancing.decode(message.data)
                assert values is not None
                self.bleed_masks.append(int(values["BleedMask_00"]))

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join()
        self.bus.shutdown()


class Driven:
    """A running driver and what it delivered."""

    def __init__(
        self,
        pack: Pack,
        loaded: LoadedMap,
        bus: BusConfiguration,
        first_expected_scan: int | None = None,
    ) -> None:
        self.scans: list[Scan] = []
        self.samples: list[PackSample] = []
        self.driver = CanPackDriver(
            pack,
            loaded,
            bus,
            SystemClock(),
            self.scans.append,
            self.samples.append,
            first_expected_scan,
        )
        self.driver.open()
        self.driver.start()

    @property
    def live(self) -> list[int]:
        """Counters of live scans."""
        return [scan.scan_counter for scan in self.scans if not scan.late]

    @property
    def late(self) -> list[int]:
        """Counters of past scans."""
        return [scan.scan_counter for scan in self.scans if scan.late]

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until ``condition`` holds; fails after a while."""
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, (self.live, self.late, self.driver.health())
            time.sleep(0.001)


@pytest.fixture
def device(
    robot_map: LoadedMap, robot: Pack, bus_configuration: BusConfiguration
) -> Iterator[RobotOnCan]:
    robot_on_can = RobotOnCan(robot_map, robot, bus_configuration)
    yield robot_on_can
    robot_on_can.close()


@pytest.fixture
def drive(
    robot_map: LoadedMap, robot: Pack, bus_configuration: BusConfiguration
) -> Iterator[Callable[..., Driven]]:
    started: list[Driven] = []

    def start(**options: Any) -> Driven:
        started.append(Driven(robot, patient(robot_map), bus_configuration, **options))
        return started[-1]

    yield start
    for driven in started:
        driven.driver.stop()


def test_scans_and_samples_arrive(device: RobotOnCan, drive: Callable[..., Driven]) -> None:
    driven = drive()
    before_ns = SystemClock().boot_ns()
    for current_a in (1.0, -2.0, 3.0):
        device.scan()
        device.sample(current_a)
    driven.wait(lambda: len(driven.scans) == 3 and len(driven.samples) == 3)
    assert driven.live == [1, 2, 3]
    assert [sample.current_a for sample in driven.samples] == [1.0, -2.0, 3.0]
    assert all(0 <= scan.boot_ns - before_ns < 1e9 for scan in driven.scans)
    health = driven.driver.health()
    assert health.connected
    assert health.problem == ""
    assert health.reduced_integrity == []
    assert health.counts["scan_complete"] == 3
    assert health.counts["received"] == 6


def test_second_current_and_identity_come_with_samples_and_scans(
    device: RobotOnCan, drive: Callable[..., Driven]
) -> None:
    driven = drive()
    device.scan()
    device.sample(1.0)
    device.sample_redundant(1.25)
    device.introduce()
    device.sample(1.5)
    device.scan()
    driven.wait(lambda: len(driven.scans) == 2 and len(driven.samples) == 2)
    first, second = driven.samples
    assert np.isnan(first.redundant_current_a)
    assert first.redundant_boot_ns == 0
    assert second.redundant_current_a == pytest.approx(1.25)
    assert first.boot_ns <= second.redundant_boot_ns <= second.boot_ns
    assert [scan.hardware_series for scan in driven.scans] == [0, 12]
    assert driven.scans[1].hardware_modules == 1
    assert driven.scans[1].hardware_temperature_sensors == 4


def test_gap_while_running_is_fetched_late_and_once(
    device: RobotOnCan, drive: Callable[..., Driven]
) -> None:
    driven = drive()
    for number in range(1, 11):
        device.scan(on_the_bus=number not in (4, 5, 6))
        driven.wait(lambda: driven.live[-1:] == [device.counter] or device.counter in (4, 5, 6))
        time.sleep(0.002)
    driven.wait(lambda: len(driven.late) == 3)
    assert driven.live == [1, 2, 3, 7, 8, 9, 10]
    assert driven.late == [4, 5, 6]
    assert device.requests == [(4, 3)]
    by_counter = {scan.scan_counter: scan for scan in driven.scans}
    # Device time is 20 ms per scan: the age follows it, whenever the answer comes.
    anchor = max(s.boot_ns for s in driven.scans if not s.late)
    assert all(by_counter[c].boot_ns < anchor for c in (4, 5, 6))
    assert by_counter[5].boot_ns - by_counter[4].boot_ns in range(60_000_000)
    assert driven.driver.health().counts["history_fetched"] == 3


def test_restart_fetches_what_was_missed(device: RobotOnCan, drive: Callable[..., Driven]) -> None:
    for _ in range(20):
        device.scan(on_the_bus=False)
    driven = drive(first_expected_scan=11)
    device.scan()
    driven.wait(lambda: len(driven.late) == 10)
    assert driven.late == list(range(11, 21))
    assert driven.live == [21]
    first, last = (next(s for s in driven.scans if s.scan_counter == c) for c in (11, 20))
    live = next(s for s in driven.scans if not s.late)
    assert live.boot_ns - first.boot_ns == 10 * 20_000_000
    assert live.boot_ns - last.boot_ns == 20_000_000


def test_past_scans_that_nobody_asked_for_are_not_delivered(
    device: RobotOnCan, drive: Callable[..., Driven]
) -> None:
    driven = drive()
    device.scan()
    for counter in range(2, 6):
        device.send_past(counter)
    driven.wait(lambda: driven.driver.health().counts.get("history_not_asked_for") == 4)
    assert driven.late == []
    assert driven.live == [1]


def test_answer_that_does_not_come_is_asked_for_again(
    device: RobotOnCan, drive: Callable[..., Driven]
) -> None:
    device.answers = False
    driven = drive(first_expected_scan=0)
    device.scan()
    driven.wait(lambda: len(device.requests) == 1)
    device.ring[0] = None
    device.answers = True
    driven.wait(lambda: driven.late == [0])
    assert device.requests == [(0, 1), (0, 1)]


def test_balancing_masks_follow_the_cells(device: RobotOnCan, drive: Callable[..., Driven]) -> None:
    driven = drive()
    bleed = np.zeros(12, np.uint8)
    bleed[[0, 3, 11]] = 1
    driven.driver.command_balancing(bleed)
    driven.wait(lambda: device.bleed_masks == [0b1000_0000_1001])


def test_balancing_masks_of_several_modules(
    car_map: LoadedMap,
    car: Pack,
    bus_configuration: BusConfiguration,
    open_peer: Callable[[], can.BusABC],
) -> None:
    peer = open_peer()
    driver = CanPackDriver(
        car, car_map, bus_configuration, SystemClock(), lambda _: None, lambda _: None
    )
    driver.open()
    bleed = np.zeros(96, np.uint8)
    bleed[[15, 16, 95]] = 1
    driver.command_balancing(bleed)
    message = peer.recv(1.0)
    driver.stop()
    assert message is not None
    decoder = FrameDecoder(find_message(car_map.database, "AfeBalancing"), protected=True)
    values = decoder.decode(message.data)
    assert values is not None
    masks = [values[f"BleedMask_{module:02d}"] for module in range(16)]
    assert masks == [1 << 15, 1, 0, 0, 0, 1 << 15, *[0] * 10]


def test_foreign_pack_shows_its_reduced_integrity(
    foreign_map: LoadedMap,
    foreign_pack: Pack,
    bus_configuration: BusConfiguration,
    open_peer: Callable[[], can.BusABC],
) -> None:
    driven = Driven(foreign_pack, patient(foreign_map), bus_configuration)
    peer = open_peer()
    frames = [
        (0x18982414, "000bb90bba0bbb00"),
        (0x18982414, "010bbc0bbd0bbe00"),
        (0x18982414, "020bbf0bc05de400"),
        (0x18982514, "00fa00fb00000000"),
        (0x18982614, "007b0a8c00000000"),
        (0x18982614, "007b"),
    ]
    for identifier, data in frames:
        peer.send(can.Message(arbitration_id=identifier, data=bytes.fromhex(data)))
    # The same number as a standard identifier is a stranger.
    peer.send(can.Message(arbitration_id=0x414, is_extended_id=False, data=bytes(8)))
    driven.wait(lambda: driven.scans)
    (scan,) = driven.scans
    driven.driver.command_balancing(np.ones(8, np.uint8))
    health = driven.driver.health()
    driven.driver.stop()
    np.testing.assert_allclose(scan.voltage_v, np.linspace(3.001, 3.008, 8), atol=1e-5)
    assert scan.reduced_integrity
    assert [sample.reduced_integrity for sample in driven.samples] == [True]
    assert driven.samples[0].current_a == pytest.approx(-12.3)
    assert health.reduced_integrity == ["CellData", "TemperatureData", "PackData"]
    assert health.counts["pack sensor frames rejected: length"] == 1
    assert health.counts["balancing_not_supported"] == 1


def test_stale_frames_of_the_map_are_dropped(
    robot_map: LoadedMap, robot: Pack, bus_configuration: BusConfiguration, device: RobotOnCan
) -> None:
    driven = Driven(robot, patient(robot_map, sensor_s=0.05), bus_configuration)
    driven.driver.stop()
    driven.driver.open()
    device.scan()
    device.sample(1.0)
    time.sleep(0.07)
    driven.driver.start()
    driven.wait(lambda: driven.scans)
    assert driven.samples == []
    assert driven.driver.health().counts["stale"] == 1
    driven.driver.stop()
