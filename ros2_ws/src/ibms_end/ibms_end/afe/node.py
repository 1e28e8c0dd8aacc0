# SPDX-License-Identifier: Apache-2.0
"""Node ``afe_driver``: turns the pack's frames into scans on DDS and balancing commands into frames."""

from array import array
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from ibms_msgs.msg import BalancingCommand, CellMeasurement, Event, ModuleMeasurement, PackMeasurement
from msgspec import Meta, Struct

from ibms_battery.clock import Clock
from ibms_battery.pack import Pack, load_pack
from ibms_end.afe.can_driver import CanPackDriver
from ibms_end.afe.driver import PackDriver
from ibms_end.afe.samples import PackSample, Scan
from ibms_end.can.bus import BusConfiguration
from ibms_end.mapping import load_map
from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.node import BmsNode

_BALANCING_FRESHNESS_S = 1.0
_MODULE_PERIOD_S = 1.0
_STATE_PERIOD_S = 1.0
_BEAT_PERIOD_S = 0.03
_BEAT_LIMIT_NS = 100_000_000


class AfeDriverParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``afe_driver``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()
    transport: Annotated[
        Literal["can", "jbd"], Meta(description="how the pack is reached: CAN or a JBD serial BMS")
    ] = "can"
    serial_port: Annotated[str, Meta(description="device of a serial transport")] = ""
    state_directory: Annotated[
        str, Meta(description="where the last scan counter is kept; empty: no gap is fetched")
    ] = ""


class AfeDriver(BmsNode[AfeDriverParameters]):
    """Publishes complete scans; never invents a value."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("afe_driver", AfeDriverParameters, clock, **options)
        self._driver: PackDriver | None = None

    def configure(self, parameters: AfeDriverParameters) -> None:
        """Load the pack and its map, open the transport."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._pack = pack
        self._state_file = (
            Path(parameters.state_directory) / f"{pack.name}.last_scan"
            if parameters.state_directory
            else None
        )
        self._driver = self._build_driver(pack, parameters)
        self._driver.open()
        self._sample: PackSample | None = None
        self._last_counter: int | None = None
        self._scans = self._samples = self._late_scans = self._held_back = 0
        self._next_module_ns = 0
        self._bleed_command: npt.NDArray[np.uint8] = np.zeros(pack.series, np.uint8)
        self.advertise(
            "cells/measurement", "cells/history", "modules/measurement", "pack/measurement", "events"
        )
        self.listen("balancing/command", self._on_balancing, _BALANCING_FRESHNESS_S)
        self.every(_STATE_PERIOD_S, self._keep_state)
        self.every(_BEAT_PERIOD_S, self._beat)
        self.diagnose("bus", self._report_bus)
        self.diagnose("scans", self._report_scans)

    def activate(self) -> None:
        """Begin to deliver."""
        assert self._driver is not None  # noqa: S101 - configured before
        self._beat()
        self._driver.start(self._on_scan, self._on_sample)

    def deactivate(self) -> None:
        """Stop delivering; protection sees the silence."""
        self._keep_state()
        if self._driver is not None:
            self._driver.stop()

    def cleanup(self) -> None:
        """Close the transport."""
        if self._driver is not None:
            self._driver.stop()
            self._driver = None

    def _build_driver(self, pack: Pack, parameters: AfeDriverParameters) -> PackDriver:
        config = Path(parameters.pack).parent.parent
        if parameters.transport == "jbd":
            from ibms_end.serial_bms.driver import JbdDriver  # pyserial only where it is used

            return JbdDriver(pack, parameters.serial_port, self.clock)
        loaded = load_map(config / "can" / "maps" / pack.can_map, pack)
        return CanPackDriver(pack, loaded, parameters.bus, self.clock, self._read_state())

    def _beat(self) -> None:
        self._beat_ns = self.clock.boot_ns()

    def _on_scan(self, scan: Scan) -> None:
        if self.clock.boot_ns() - self._beat_ns > _BEAT_LIMIT_NS:
            # The executor hangs: a node that is half dead falls silent, and the pack opens.
            self._held_back += 1
            return
        message = self._cell_message(scan)
        if scan.late:
            self._late_scans += 1
            self.publish("cells/history", message)
            return
        self.publish("cells/measurement", message)
        self._scans += 1
        self._last_counter = scan.scan_counter
        if scan.boot_ns >= self._next_module_ns:
            self._next_module_ns = scan.boot_ns + round(_MODULE_PERIOD_S * 1e9)
            self.publish("modules/measurement", self._module_message(scan))

    def _on_sample(self, sample: PackSample) -> None:
        self._sample = sample
        self._samples += 1
        valid = 0
        for bit, value in (
            (PackMeasurement.VALID_CURRENT, sample.current_a),
            (PackMeasurement.VALID_VOLTAGE, sample.voltage_v),
            (PackMeasurement.VALID_LINK_VOLTAGE, sample.link_voltage_v),
            (PackMeasurement.VALID_SHUNT_TEMPERATURE, sample.shunt_temperature_c),
            (PackMeasurement.VALID_CHARGE, sample.charge_c),
        ):
            valid |= bit if value == value else 0  # NaN is unequal to itself
        self.publish(
            "pack/measurement",
            PackMeasurement(
                header=self.header(sample.boot_ns),
                boot_ns=sample.boot_ns,
                sample_counter=sample.sample_counter,
                current_a=sample.current_a,
                voltage_v=sample.voltage_v,
                link_voltage_v=sample.link_voltage_v,
                shunt_temperature_c=sample.shunt_temperature_c,
                charge_c=sample.charge_c,
                valid=valid,
                status=sample.status,
                frames_rejected=sample.frames_rejected,
                reduced_integrity=sample.reduced_integrity,
            ),
        )

    def _cell_message(self, scan: Scan) -> CellMeasurement:
        sample = self._sample
        near = (
            sample is not None
            and not scan.late
            and abs(scan.boot_ns - sample.boot_ns) <= 2e9 * self._pack.pack_sample_period_s
        )
        message = CellMeasurement(
            header=self.header(scan.boot_ns),
            boot_ns=scan.boot_ns,
            scan_counter=scan.scan_counter,
            device_time_ms=scan.device_time_ms,
            late=scan.late,
            frames_missing=scan.frames_missing,
            frames_rejected=scan.frames_rejected,
            reduced_integrity=scan.reduced_integrity,
            current_a=sample.current_a if near and sample else float("nan"),
            charge_c=sample.charge_c if near and sample else float("nan"),
        )
        message.voltage_v = array("f", scan.voltage_v.tobytes())
        message.voltage_valid = array("B", scan.voltage_valid.tobytes())
        message.temperature_c = array("f", scan.temperature_c.tobytes())
        message.temperature_valid = array("B", scan.temperature_valid.tobytes())
        message.bleed_active = array("B", scan.bleed_active.tobytes())
        message.open_wire = array("B", scan.open_wire.tobytes())
        message.afe_status = array("B", scan.afe_status.tobytes())
        return message

    def _module_message(self, scan: Scan) -> ModuleMeasurement:
        message = ModuleMeasurement(
            header=self.header(scan.boot_ns), boot_ns=scan.boot_ns, scan_counter=scan.scan_counter
        )
        message.voltage_v = array("f", scan.module_voltage_v.tobytes())
        message.afe_temperature_c = array("f", scan.afe_temperature_c.tobytes())
        message.valid = array("B", (scan.afe_status & 128 == 0).astype(np.uint8).tobytes())
        return message

    def _on_balancing(self, message: BalancingCommand) -> None:
        if len(message.bleed) != self._pack.series:
            self._event(f"balancing command for {len(message.bleed)} cells rejected")
            return
        if self._driver is not None:
            self._driver.command_balancing(np.frombuffer(message.bleed, np.uint8))

    def _event(self, text: str) -> None:
        self.publish(
            "events",
            Event(
                header=self.header(),
                boot_ns=self.clock.boot_ns(),
                source=self.get_name(),
                kind=Event.KIND_DEVICE,
                severity=Event.SEVERITY_WARNING,
                element=-1,
                value=float("nan"),
                text=text,
            ),
        )

    def _keep_state(self) -> None:
        if self._state_file is not None and self._last_counter is not None:
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._state_file.with_suffix(".new")
            fresh.write_text(str(self._last_counter))
            fresh.replace(self._state_file)

    def _read_state(self) -> int | None:
        if self._state_file is None or not self._state_file.exists():
            return None
        text = self._state_file.read_text().strip()
        if not text.isdigit():
            raise ValueError(
                f"{self._state_file}: expected a scan counter, found {text[:40]!r}; delete the file"
            )
        return (int(text) + 1) & 0xFFFFFFFF

    def _report_bus(self, status: Status) -> None:
        if self._driver is None:
            return
        health = self._driver.health()
        status.add(connected=health.connected)
        status.add_counts(health.counts)
        if not health.connected:
            status.report(ERROR, health.problem or "not connected")
        elif health.problem:
            status.report(WARN, health.problem)
        if health.reduced_integrity:
            status.add(**{"without end-to-end protection": ", ".join(health.reduced_integrity)})
            status.report(WARN, "reduced integrity: messages without end-to-end protection")

    def _report_scans(self, status: Status) -> None:
        status.add(scans=self._scans, samples=self._samples, late_scans=self._late_scans)
        if self._held_back:
            status.add(held_back=self._held_back)
            status.report(WARN, "scans were held back while the executor hung")
        if self.is_active and self._scans == 0:
            status.report(ERROR, "no scan received yet")
