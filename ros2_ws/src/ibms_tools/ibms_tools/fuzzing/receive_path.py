# SPDX-License-Identifier: Apache-2.0
"""All that receives frames in the edge, without nodes, and what is believable of its output."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import can
import numpy as np
import numpy.typing as npt
from cantools.database.can import Message

from ibms_battery.clock import Clock
from ibms_battery.pack import Pack
from ibms_edge.charging.elcon import ElconLink, Report
from ibms_edge.switching.board_link import BoardLink
from ibms_edge.switching.exchange import FeedbackInput
from ibms_end.afe.can_driver import CanPackDriver
from ibms_end.afe.samples import PackSample, Scan
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, find_message
from ibms_end.can.end_to_end import Check
from ibms_end.can.identifier import message_identifier
from ibms_end.can.receiver import CanReceiver
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.environment_sensors import environment_message
from ibms_end.insulation_monitor import insulation_message
from ibms_end.mapping import LoadedMap

# What passed the CRC and was rejected for its counter alone.
_COUNTER_REASONS = (Check.REPEATED.value, Check.SEQUENCE.value)
_SINGLE = ("VehicleRequest", "ThermalFeedback")


@dataclass(frozen=True)
class Counts:
    """Frames of known identifiers: how many passed the CRC, and how many of those were accepted."""

    passed_crc: int
    accepted: int

    def since(self, before: "Counts") -> "Counts":
        """What came on top of ``before``."""
        return Counts(self.passed_crc - before.passed_crc, self.accepted - before.accepted)


class ReceivePath:
    """Receivers and decoders of AFE driver, switch control, sensors, vehicle, thermal and charger.

    ``poll`` takes what waits on the bus in the caller's thread. What is delivered is held against
    the ranges of the database at once: ``implausible`` counts values that are neither inside their
    range nor marked as unmeasured.
    """

    def __init__(
        self,
        pack: Pack,
        loaded: LoadedMap,
        can_folder: Path,
        bus: BusConfiguration,
        clock: Clock,
    ) -> None:
        self.implausible = 0
        self.delivered = 0
        self._accepted: Counter[DeviceMonitor] = Counter()
        self.scans: list[Scan] = []
        self.feedbacks: list[FeedbackInput] = []
        self._loaded = loaded
        self._ranges = _Ranges(loaded)
        self._driver = CanPackDriver(pack, loaded, bus, clock, self._on_scan, self._on_sample)
        self.link = BoardLink(loaded.database, bus, clock, self._on_board_frame)
        insulation, environment = loaded.map.insulation, loaded.map.environment
        assert insulation is not None
        assert environment is not None
        self._insulation = insulation
        self._environment = environment
        self._monitor = DeviceMonitor(loaded, insulation, bus, clock)
        self._sensors = DeviceMonitor(loaded, environment, bus, clock)
        self._single = [FrameDecoder(find_message(loaded.database, n), True) for n in _SINGLE]
        single_receivers = [
            CanReceiver(bus, [message_identifier(d.message)], clock, self._take_by(d))
            for d in self._single
        ]
        self.charger = ElconLink(can_folder)  # its reports have no protection
        charger_receiver = CanReceiver(
            bus, [self.charger.report_identifier], clock, self._on_charger_frame
        )
        self._receivers: list[CanPackDriver | CanReceiver] = [
            self._driver,
            self.link.receiver,
            self._monitor.receiver,
            self._sensors.receiver,
            *single_receivers,
            charger_receiver,
        ]
        for hardware in self._receivers:
            hardware.open()

    def poll(self) -> None:
        """Take what waits."""
        for hardware in self._receivers:
            hardware.poll()
        if self._is_new(self._monitor):
            message = insulation_message(self._insulation, self._monitor)
            self._check(self._ranges.holds_insulation(message))
        if self._is_new(self._sensors):
            message = environment_message(self._environment, self._sensors)
            self._check(self._ranges.holds_environment(message))

    def close(self) -> None:
        """Leave the bus."""
        for hardware in self._receivers:
            hardware.stop()

    def counts(self) -> Counts:
        """Frames so far, from the counters that diagnostics show."""
        # Each receiver lets only identifiers of its decoders pass.
        driver = self._driver.health().counts
        rejected = {key.rpartition(": ")[2]: 0 for key in driver if " rejected: " in key}
        for key, count in driver.items():
            if " rejected: " in key:
                rejected[key.rpartition(": ")[2]] += count
        accepted = driver.get("received", 0) - sum(rejected.values())
        by_counter = sum(rejected.get(reason, 0) for reason in _COUNTER_REASONS)
        for frame in (self.link.decoder, self._monitor.frame, self._sensors.frame, *self._single):
            accepted += frame.accepted
            by_counter += sum(frame.rejected[reason] for reason in _COUNTER_REASONS)
        return Counts(accepted + by_counter, accepted)

    def _on_scan(self, scan: Scan) -> None:
        self.scans.append(scan)
        self._check(self._ranges.holds_scan(scan))

    def _on_sample(self, sample: PackSample) -> None:
        self._check(self._ranges.holds_sample(sample))

    def _on_board_frame(self, message: can.Message, boot_ns: int) -> None:
        feedback = self.link.feedback(message.data, boot_ns)
        if feedback is not None:
            self.feedbacks.append(feedback)
            self._check(self._ranges.holds_feedback(feedback))

    def _on_charger_frame(self, message: can.Message, boot_ns: int) -> None:
        report = self.charger.decode(message, boot_ns)
        if report is not None:
            self._check(self._ranges.holds_report(report))

    def _take_by(self, decoder: FrameDecoder) -> Callable[[can.Message, int], None]:
        def take(message: can.Message, _boot_ns: int) -> None:
            decoder.decode(message.data)

        return take

    def _is_new(self, device: DeviceMonitor) -> bool:
        """Whether a frame of a device was accepted since this was asked last."""
        before, self._accepted[device] = self._accepted[device], device.frame.accepted
        return device.frame.accepted > before

    def _check(self, holds: bool) -> None:
        self.delivered += 1
        if not holds:
            self.implausible += 1


class _Ranges:
    """Ranges as the database gives them, in the units of the edge."""

    def __init__(self, loaded: LoadedMap) -> None:
        def read(message: str, signal: str) -> tuple[float, float]:
            found: Message = find_message(loaded.database, message)
            limits = found.get_signal_by_name(signal)
            assert limits.minimum is not None
            assert limits.maximum is not None
            return float(limits.minimum), float(limits.maximum)

        afe = "AfeMeasurement_00"
        self._cell_v = read(afe, "CellVoltage_00")
        self._temperature_c = read(afe, "Temperature_00")
        self._module_v = read(afe, "ModuleVoltage")
        self._afe_c = read(afe, "AfeTemperature")
        self._sample = {
            "current_a": read("PackSensor", "Current"),
            "voltage_v": read("PackSensor", "PackVoltage"),
            "link_voltage_v": read("PackSensor", "LinkVoltage"),
            "charge_c": read("PackSensor", "Charge"),
            "shunt_temperature_c": read("PackSensor", "ShuntTemperature"),
        }
        self._feedback = {
            "pack_voltage_v": read("SwitchFeedback", "PackVoltage"),
            "link_voltage_v": read("SwitchFeedback", "LinkVoltage"),
        }
        self._ohm = read("InsulationMonitor", "Resistance")
        humidity = read("Environment", "Humidity")
        self._air = {
            "ambient_temperature_c": read("Environment", "AmbientTemperature"),
            "humidity_ratio": (humidity[0] / 100.0, humidity[1] / 100.0),
            "pressure_pa": read("Environment", "Pressure"),
            "gas_ppm": read("Environment", "Gas"),
            "vibration_rms_m_s2": read("Environment", "VibrationRms"),
            "vibration_peak_m_s2": read("Environment", "VibrationPeak"),
        }

    def holds_scan(self, scan: Scan) -> bool:
        return (
            _inside(scan.voltage_v, self._cell_v, scan.voltage_valid)
            and _inside(scan.temperature_c, self._temperature_c, scan.temperature_valid)
            and _inside(scan.module_voltage_v, self._module_v)
            and _inside(scan.afe_temperature_c, self._afe_c)
        )

    def holds_sample(self, sample: PackSample) -> bool:
        return all(_within(getattr(sample, name), low) for name, low in self._sample.items())

    def holds_feedback(self, feedback: FeedbackInput) -> bool:
        return all(_within(getattr(feedback, name), low) for name, low in self._feedback.items())

    def holds_report(self, report: Report) -> bool:
        # The charger's protocol can say no more than its data sheet: 1500 V and 500 A.
        return 0.0 <= report.voltage_v <= 1500.0 and 0.0 <= report.current_a <= 500.0

    def holds_insulation(self, message: object) -> bool:
        return _within(message.resistance_ohm, self._ohm)  # type: ignore[attr-defined]

    def holds_environment(self, message: object) -> bool:
        return all(_within(getattr(message, name), low) for name, low in self._air.items())


def _within(value: float, limits: tuple[float, float]) -> bool:
    return value != value or limits[0] - 1e-9 <= value <= limits[1] * (1.0 + 1e-6)


def _inside(
    values: npt.NDArray[np.float32],
    limits: tuple[float, float],
    valid: npt.NDArray[np.uint8] | None = None,
) -> bool:
    """Whether each value lies within or is NaN; and is valid exactly where it is a number."""
    known = ~np.isnan(values)
    numbers = values[known]
    return bool(
        (numbers >= limits[0] - 1e-6).all()
        and (numbers <= limits[1] * (1.0 + 1e-6)).all()
        and (valid is None or np.array_equal(known, valid != 0))
    )
