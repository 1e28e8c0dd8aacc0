# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ibms_battery.clock import SystemClock
from ibms_battery.pack import Pack, load_pack
from ibms_end.afe.samples import DriverHealth, PackSample, Scan
from ibms_end.serial_bms.driver import JbdDriver

from .conftest import JbdDevice

BASIC_INFO, CELL_VOLTAGES = 3, 4


class Driven:
    """A running driver and what it delivered."""

    def __init__(self, pack: Pack, port: Path) -> None:
        self.scans: list[Scan] = []
        self.samples: list[PackSample] = []
        self.driver = JbdDriver(
            pack, str(port), SystemClock(), self.scans.append, self.samples.append
        )

    def start(self) -> None:
        self.driver.open()
        self.driver.start()

    @property
    def health(self) -> DriverHealth:
        return self.driver.health()

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until ``condition`` holds; fails after a while."""
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, self.health
            time.sleep(0.002)

    def wait_for_scans(self, number: int) -> None:
        """Wait for so many more scans."""
        before = len(self.scans)
        self.wait(lambda: len(self.scans) >= before + number)


@pytest.fixture
def pack(config: Path) -> Pack:
    described = load_pack(config / "packs" / "jbd_4s.yaml")
    return msgspec.structs.replace(described, scan_period_s=0.005)


@pytest.fixture
def driven(pack: Pack, device: JbdDevice) -> Iterator[Driven]:
    running = Driven(pack, device.port)
    running.start()
    yield running
    running.driver.stop()


def once(mangle: Callable[[int, bytes], bytes], wanted: int) -> Callable[[int, bytes], bytes]:
    """Spoil only the first answer to ``wanted``."""
    done = threading.Event()

    def mangled(command: int, answer: bytes) -> bytes:
        if command != wanted or done.is_set():
            return answer
        done.set()
        return mangle(command, answer)

    return mangled


def test_scans_and_samples_with_their_honest_integrity(
    pack: Pack, device: JbdDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibms_end.serial_bms.driver._ANSWER_TIMEOUT_S", 5.0)  # a busy machine
    driven = Driven(pack, device.port)
    driven.start()
    driven.wait_for_scans(3)
    driven.driver.stop()
    scan, sample = driven.scans[0], driven.samples[0]
    np.testing.assert_allclose(scan.voltage_v, [3.430, 3.425, 3.432, 3.417], atol=1e-6)
    np.testing.assert_allclose(scan.temperature_c, [22.4, 22.3, 21.7], atol=1e-4)
    assert scan.voltage_valid.all()
    assert scan.temperature_valid.all()
    assert scan.bleed_active.tolist() == [1, 0, 1, 0]
    assert scan.afe_status.tolist() == [0]
    assert scan.module_voltage_v[0] == pytest.approx(13.70)
    assert (scan.frames_missing, scan.frames_rejected) == (0, 0)
    assert scan.reduced_integrity
    assert sample.reduced_integrity
    assert sample.current_a == pytest.approx(-2.87)
    assert sample.voltage_v == pytest.approx(13.70)
    assert np.isnan([sample.link_voltage_v, sample.charge_c]).all()
    assert [s.scan_counter for s in driven.scans[:3]] == [1, 2, 3]
    times = [s.boot_ns for s in driven.scans]
    assert times == sorted(set(times))
    assert driven.health.problem == ""
    assert driven.health.reduced_integrity == ["JBD serial line"]


def test_a_scan_is_dated_back_to_its_request(driven: Driven, device: JbdDevice) -> None:
    driven.wait_for_scans(1)
    asked: list[int] = []

    def note(command: int, answer: bytes) -> bytes:
        if command == CELL_VOLTAGES:
            asked.append(SystemClock().boot_ns())
            device.cells_mv = [3000 + len(asked)] * 4
        return answer

    device.mangle = note
    driven.wait_for_scans(3)
    scan = driven.scans[-1]
    sent_at = asked[round(float(scan.voltage_v[0]) * 1000) - 3000]
    assert scan.boot_ns <= sent_at


Mangling = Callable[[int, bytes], bytes]


@pytest.mark.parametrize(
    ("mangle", "counted"),
    [
        (lambda _c, _a: b"", "no_answer"),
        (lambda _c, answer: answer[:-4], "truncated"),
        (lambda _c, answer: answer[:-3] + b"\0\0\x77", "checksum"),
        (lambda _c, answer: bytes([answer[0], 5]) + answer[2:], "answer_to_another_request"),
        (lambda _c, _a: bytes(range(1, 60)), "garbage_bytes"),
    ],
    ids=["lost", "truncated", "wrong checksum", "to another request", "garbage"],
)
def test_a_bad_answer_is_counted_and_never_passed_on(
    driven: Driven, device: JbdDevice, mangle: Mangling, counted: str
) -> None:
    driven.wait_for_scans(1)
    good = set(np.array([3.430, 3.425, 3.432, 3.417], np.float32).tolist())
    device.mangle = once(mangle, CELL_VOLTAGES)
    driven.wait(lambda: driven.health.counts.get(counted))
    driven.wait_for_scans(2)
    assert {value for scan in driven.scans for value in scan.voltage_v.tolist()} == good
    answers = device.requests[CELL_VOLTAGES]
    assert len(driven.scans) < answers
    assert driven.health.problem != ""
    assert driven.health.connected


def test_garbage_in_front_of_a_good_answer_is_left_out(driven: Driven, device: JbdDevice) -> None:
    driven.wait_for_scans(1)
    device.mangle = once(lambda _c, answer: b"\x00\xdd\x13" + answer, CELL_VOLTAGES)
    driven.wait(lambda: driven.health.counts.get("garbage_bytes", 0) >= 1)
    driven.wait_for_scans(2)
    assert all(scan.voltage_valid.all() for scan in driven.scans)


def test_a_late_answer_is_not_taken_for_the_next(driven: Driven, device: JbdDevice) -> None:
    """An old voltage comes when its request was given up already."""
    driven.wait_for_scans(1)

    def late(_command: int, answer: bytes) -> bytes:
        device.cells_mv = [2000] * 4  # what is asked for from now on
        time.sleep(0.35)
        return answer

    device.mangle = once(late, CELL_VOLTAGES)
    driven.wait(lambda: driven.health.counts.get("late_bytes"))
    before = len(driven.scans)
    driven.wait_for_scans(2)
    assert all(scan.voltage_v.max() == np.float32(2.0) for scan in driven.scans[before:])


def test_missing_basic_information_leaves_its_part_unmeasured(
    driven: Driven, device: JbdDevice
) -> None:
    driven.wait_for_scans(1)
    device.mangle = once(lambda _c, _a: b"", BASIC_INFO)
    driven.wait(lambda: any(scan.frames_missing for scan in driven.scans))
    scan = next(scan for scan in driven.scans if scan.frames_missing)
    assert scan.voltage_valid.all()
    assert not scan.temperature_valid.any()
    assert np.isnan(scan.temperature_c).all()
    assert scan.afe_status.tolist() == [128]


def test_absurd_voltage_is_unmeasured(driven: Driven, device: JbdDevice) -> None:
    device.cells_mv = [3430, 65535, 6501, 3417]
    driven.wait(lambda: driven.scans and not driven.scans[-1].voltage_valid.all())
    assert driven.scans[-1].voltage_valid.tolist() == [1, 0, 0, 1]
    assert np.isnan(driven.scans[-1].voltage_v[1:3]).all()


def test_another_number_of_cells_gives_no_scan(driven: Driven, device: JbdDevice) -> None:
    device.cells_mv = [3430] * 5
    driven.wait(lambda: driven.health.counts.get("wrong_number_of_cells", 0) >= 2)
    assert "measures 5 cells, pack 'jbd_4s' has 4" in driven.health.problem


def test_refused_command(driven: Driven, device: JbdDevice) -> None:
    device.status = 0x80
    driven.wait(lambda: driven.health.counts.get("refused", 0) >= 2)
    assert "refuses command" in driven.health.problem


def test_what_the_bms_reports_is_shown(driven: Driven, device: JbdDevice) -> None:
    device.protection_bits, device.switches = 1 << 0 | 1 << 11, 0b10
    driven.wait(lambda: driven.scans and driven.scans[-1].afe_status[0] == 1)
    assert driven.health.problem == (
        "the BMS reports: cell overvoltage, front end failure, its switch for charging is off"
    )


def test_balancing_is_not_commanded(driven: Driven) -> None:
    driven.driver.command_balancing(np.zeros(4, np.uint8))
    assert "balancing_not_supported" not in driven.health.counts
    driven.driver.command_balancing(np.ones(4, np.uint8))
    assert driven.health.counts["balancing_not_supported"] == 1


def test_unplugged_and_plugged_in_again(driven: Driven, device: JbdDevice) -> None:
    driven.wait_for_scans(1)
    device.unplug()
    driven.wait(lambda: driven.health.counts.get("line_failed"))
    driven.wait(lambda: "does not open" in driven.health.problem)
    assert not driven.health.connected
    device.cells_mv = [3100] * 4
    device.plug_in()
    driven.wait_for_scans(2)
    health = driven.health
    assert driven.scans[-1].voltage_v[0] == np.float32(3.1)
    assert health.connected
    assert health.counts["line_reopened"] == 1


def test_silence_shows(pack: Pack, device: JbdDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibms_end.serial_bms.driver._SILENT_NS", 100_000_000)
    device.mangle = lambda _c, _a: b""
    driven = Driven(pack, device.port)
    driven.start()
    driven.wait(lambda: driven.health.counts.get("no_answer"))
    assert not driven.health.connected
    driven.driver.stop()
    assert driven.scans == []
    assert driven.samples == []


def test_port_that_does_not_open_is_an_error_with_its_name(pack: Pack, tmp_path: Path) -> None:
    driven = Driven(pack, tmp_path / "ttyUSB7")
    with pytest.raises(OSError, match=r"ttyUSB7 does not open: .*'serial_port'"):
        driven.driver.open()


def test_port_must_be_given(pack: Pack) -> None:
    with pytest.raises(ValueError, match="'serial_port' is empty"):
        JbdDriver(pack, "", SystemClock(), lambda _: None, lambda _: None)


def test_stop_and_start_again(driven: Driven) -> None:
    driven.wait_for_scans(1)
    driven.driver.stop()
    driven.driver.stop()
    number = len(driven.scans)
    time.sleep(0.1)
    assert len(driven.scans) == number
    driven.driver.start()
    driven.wait_for_scans(1)
