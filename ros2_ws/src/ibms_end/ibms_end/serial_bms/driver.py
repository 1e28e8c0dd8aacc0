# SPDX-License-Identifier: Apache-2.0
"""Pack driver over a serial line to a JBD BMS, which it polls. No ROS."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import serial

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import Pack
from ibms_battery.threads import start_thread
from ibms_end.afe.driver import SampleHandler, ScanHandler
from ibms_end.afe.samples import AFE_FLAGS, DriverHealth, PackSample, Scan
from ibms_end.bus_health import BusHealth
from ibms_end.serial_bms import jbd

T = TypeVar("T")

_ANSWER_TIMEOUT_S = 0.3
_QUIET_S = 0.1  # silence after which nothing late is expected any more
_LONGEST_DRAIN_S = 1.0
_REOPEN_PAUSE_S = 0.5
_SILENT_NS = 2 * NS_PER_S
_CELL_LIMITS_V = (0.0, 6.5)
_TEMPERATURE_LIMITS_C = (-60.0, 200.0)


class JbdDriver:
    """Delivers one scan and one pack sample per scan period.

    Its answers carry a checksum but no alive counter, so everything is marked as of reduced
    integrity. A scan counts as sampled when its voltages were asked for; temperatures are one
    request older. After a missing answer the line is drained until it is quiet, so that a late one
    is not taken for the next.
    """

    def __init__(
        self,
        pack: Pack,
        port: str,
        clock: Clock,
        on_scan: ScanHandler,
        on_sample: SampleHandler,
    ) -> None:
        if not port:
            raise ValueError("parameter 'serial_port' is empty; name a device, e.g. /dev/ttyUSB0")
        self._pack = pack
        self._port = port
        self._clock = clock
        self._on_scan = on_scan
        self._on_sample = on_sample
        self._health = BusHealth()
        self._reader = jbd.AnswerReader()
        self._line: serial.Serial | None = None
        self._scan_counter = self._sample_counter = 0
        self._answered_ns = 0
        self._rejected_in_scan = self._rejected_in_sample = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open the port; raises ``OSError`` with its name and the reason."""
        try:
            self._line = serial.Serial(
                self._port,
                jbd.BAUD_RATE,
                timeout=_ANSWER_TIMEOUT_S,
                write_timeout=_ANSWER_TIMEOUT_S,
                exclusive=True,
            )
        except (OSError, ValueError) as error:  # serial.SerialException is an OSError
            raise OSError(
                f"serial port {self._port} does not open: {error}. Check parameter 'serial_port', "
                f"the cable and the permission (group dialout)"
            ) from error
        self._reader.clear()

    def start(self) -> None:
        """Begin to poll; opens the port if it is closed."""
        if self._line is None:
            self.open()
        self._stop.clear()
        self._thread = start_thread("jbd_driver", self._run)

    def stop(self) -> None:
        """End polling and close the port; without effect if that is done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=3.0)
            self._thread = None
        self._close()

    def command_balancing(self, bleed: npt.NDArray[np.uint8]) -> None:
        """The BMS balances by itself; a command to bleed is counted."""
        if bleed.any():
            self._health.counts["balancing_not_supported"] += 1

    def health(self) -> DriverHealth:
        """Counters of the line, and what the BMS reports."""
        now_ns = self._clock.boot_ns()
        connected = self._line is not None and now_ns - self._answered_ns <= _SILENT_NS
        counts = Counter(self._health.counts) + Counter(self._reader.counts)
        problem = self._health.recent_problem(now_ns)
        return DriverHealth(counts, connected, problem, ["JBD serial line"])

    def _run(self) -> None:
        try:
            self._poll_until_stopped()
        except BaseException as error:
            # Protection sees the silence; diagnostics see the reason.
            self._note(f"polling ended by {error!r}")
            raise

    def _poll_until_stopped(self) -> None:
        period_ns = round(self._pack.scan_period_s * NS_PER_S)
        next_ns = self._clock.boot_ns()
        while not self._stop.is_set():
            if self._line is None:
                self._reopen()
                continue
            try:
                self._poll(self._line)
            except OSError as error:
                self._health.counts["line_failed"] += 1
                self._note(str(error))
                self._close()
                continue
            next_ns = max(next_ns + period_ns, self._clock.boot_ns())
            self._stop.wait((next_ns - self._clock.boot_ns()) / NS_PER_S)

    def _poll(self, line: serial.Serial) -> None:
        asked_ns = self._clock.boot_ns()
        info = self._ask(line, jbd.BASIC_INFO, jbd.decode_basic_info)
        if info is not None:
            self._report(info)
            self._on_sample(self._sample(info, asked_ns))
        asked_ns = self._clock.boot_ns()
        voltages_v = self._ask(line, jbd.CELL_VOLTAGES, jbd.decode_cell_voltages)
        if voltages_v is None:
            return
        if len(voltages_v) != self._pack.series:
            self._reject(
                "wrong_number_of_cells",
                f"the BMS measures {len(voltages_v)} cells, pack {self._pack.name!r} has "
                f"{self._pack.series}",
            )
            return
        self._on_scan(self._scan(voltages_v, info, asked_ns))

    def _ask(self, line: serial.Serial, command: int, decode: Callable[[bytes], T]) -> T | None:
        """Decoded answer, or ``None`` (and counted) if none came that can be used."""
        self._health.counts["unexpected_bytes"] += len(line.read(line.in_waiting))
        self._reader.clear()
        line.write(jbd.request(command))
        deadline_ns = self._clock.boot_ns() + round(_ANSWER_TIMEOUT_S * NS_PER_S)
        while (left_ns := deadline_ns - self._clock.boot_ns()) > 0:
            line.timeout = left_ns / NS_PER_S
            wrong = self._reader.counts["checksum"]
            answers = self._reader.feed(line.read(max(1, line.in_waiting)))
            self._rejected(self._reader.counts["checksum"] - wrong)
            for answer in answers:
                if answer.command != command:
                    self._reject("answer_to_another_request", "")
                elif not answer.is_ok:
                    self._reject("refused", f"the BMS refuses command {command:#04x}")
                    return None
                else:
                    return self._decoded(answer, decode)
        self._health.counts["truncated" if self._reader.is_inside else "no_answer"] += 1
        self._note(f"no good answer to command {command:#04x} within {_ANSWER_TIMEOUT_S} s")
        self._drain(line)
        return None

    def _decoded(self, answer: jbd.Answer, decode: Callable[[bytes], T]) -> T | None:
        try:
            decoded = decode(answer.data)
        except ValueError as error:
            self._reject("length", str(error))
            return None
        self._answered_ns = self._clock.boot_ns()
        self._health.connected = True
        self._health.counts["answers"] += 1
        return decoded

    def _drain(self, line: serial.Serial) -> None:
        """Read until the line is quiet; what came late is counted."""
        end_ns = self._clock.boot_ns() + round(_LONGEST_DRAIN_S * NS_PER_S)
        line.timeout = _QUIET_S
        while self._clock.boot_ns() < end_ns and not self._stop.is_set():
            received = line.read(max(1, line.in_waiting))
            if not received:
                return
            self._health.counts["late_bytes"] += len(received)

    def _sample(self, info: jbd.BasicInfo, boot_ns: int) -> PackSample:
        self._sample_counter = (self._sample_counter + 1) & 0xFFFFFFFF
        rejected, self._rejected_in_sample = self._rejected_in_sample, 0
        return PackSample(
            boot_ns,
            self._sample_counter,
            current_a=info.current_a,
            voltage_v=info.voltage_v,
            frames_rejected=min(rejected, 0xFFFF),
            reduced_integrity=True,
        )

    def _scan(
        self, voltages_v: tuple[float, ...], info: jbd.BasicInfo | None, boot_ns: int
    ) -> Scan:
        pack = self._pack
        scan = Scan.empty(pack.series, pack.temperature_sensors, pack.modules)
        _fill(voltages_v, _CELL_LIMITS_V, scan.voltage_v, scan.voltage_valid)
        if info is not None:
            probes = info.temperatures_c[: pack.temperature_sensors]
            _fill(probes, _TEMPERATURE_LIMITS_C, scan.temperature_c, scan.temperature_valid)
            scan.bleed_active[:] = [info.bleed_bits >> i & 1 for i in range(pack.series)]
            failed = bool(info.protection_bits & jbd.FRONT_END_FAILURE)
            scan.receive_status(0, AFE_FLAGS["self_test_failed"] if failed else 0)
            scan.module_voltage_v[0] = info.voltage_v
        self._scan_counter = (self._scan_counter + 1) & 0xFFFFFFFF
        scan.boot_ns = boot_ns
        scan.scan_counter = self._scan_counter
        scan.frames_missing = int(info is None)
        rejected, self._rejected_in_scan = self._rejected_in_scan, 0
        scan.frames_rejected = min(rejected, 0xFFFF)
        scan.reduced_integrity = True
        return scan

    def _report(self, info: jbd.BasicInfo) -> None:
        active = [name for i, name in enumerate(jbd.PROTECTIONS) if info.protection_bits >> i & 1]
        off = [
            name
            for name, on in (
                ("charging", info.charge_switch_on),
                ("discharging", info.discharge_switch_on),
            )
            if not on
        ]
        if active or off:
            said = [*active, *(f"its switch for {name} is off" for name in off)]
            self._note(f"the BMS reports: {', '.join(said)}")

    def _reject(self, reason: str, problem: str) -> None:
        self._health.counts[reason] += 1
        self._rejected(1)
        if problem:
            self._note(problem)

    def _rejected(self, number: int) -> None:
        self._rejected_in_scan += number
        self._rejected_in_sample += number

    def _note(self, problem: str) -> None:
        self._health.note(problem, self._clock.boot_ns())

    def _reopen(self) -> None:
        try:
            self.open()
        except OSError as error:
            self._note(str(error))
            self._stop.wait(_REOPEN_PAUSE_S)
        else:
            self._health.counts["line_reopened"] += 1

    def _close(self) -> None:
        line, self._line = self._line, None
        self._health.connected = False
        if line is not None:
            line.close()


def _fill(
    values: tuple[float, ...],
    limits: tuple[float, float],
    into: npt.NDArray[np.float32],
    valid: npt.NDArray[np.uint8],
) -> None:
    """Write values that are within their limits; the others stay unmeasured."""
    for i, value in enumerate(values):
        if limits[0] <= value <= limits[1]:
            into[i], valid[i] = value, 1
