# SPDX-License-Identifier: Apache-2.0
"""Node ``afe_driver``: the pack's frames become scans on DDS, balancing commands become frames."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from ibms_battery.clock import NS_PER_S, Clock
from ibms_battery.pack import Pack, load_pack
from ibms_end.afe.can_driver import CanPackDriver
from ibms_end.afe.driver import PackDriver
from ibms_end.afe.last_scan import LastScan
from ibms_end.afe.messages import cell_message, pack_message
from ibms_end.afe.samples import PackSample, Scan
from ibms_end.can.bus import BusConfiguration
from ibms_end.hardware_node import HardwareNode
from ibms_end.mapping import load_map
from ibms_msgs.msg import BalancingCommand, Event
from ibms_ros_common.diagnostics import ERROR, WARN, Status
from ibms_ros_common.process import CHAIN_PRIORITY, run
from ibms_ros_common.step_timer import StepTimer

_BALANCING_FRESHNESS_S = 1.0
_BEAT_PERIOD_S = 0.03
_BEAT_LIMIT_NS = 60_000_000
_STATE_PERIOD_S = 1.0
_SILENT_NS = NS_PER_S


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


class AfeDriver(HardwareNode[AfeDriverParameters]):
    """Publishes complete scans; never invents a value."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("afe_driver", AfeDriverParameters, clock, **options)

    def configure(self, parameters: AfeDriverParameters) -> None:
        """Load the pack and its map, open the transport."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        self._pack = pack
        self._sample_near_ns = round(2 * NS_PER_S * pack.pack_sample_period_s)
        self._last_scan: LastScan | None = None
        if parameters.state_directory:
            self._last_scan = LastScan(Path(parameters.state_directory, f"{pack.name}.last_scan"))
            self.attach(self._last_scan)
        self._sample: PackSample | None = None
        self._newest: Scan | None = None
        self._scans = self._samples = self._late_scans = self._held_back = 0
        self._beat_ns = self.clock.boot_ns()
        # The samples' rate is the fastest in the driver's thread, so what delays it shows there.
        self._timer = self.watch("loop", StepTimer(pack.pack_sample_period_s, self.clock))
        self.advertise(
            "cells/measurement",
            "cells/history",
            "pack/measurement",
            "events",
        )
        self._driver = self._build_driver(pack, parameters)
        self.attach(self._driver)
        self.listen("balancing/command", self._on_balancing, _BALANCING_FRESHNESS_S)
        self.every(_STATE_PERIOD_S, self._keep_state)
        self.every(_BEAT_PERIOD_S, self._beat, timed_as="executor")
        self.diagnose("bus", self._report_bus)
        self.diagnose("scans", self._report_scans)

    def activate(self) -> None:
        """Begin to deliver."""
        self._beat()
        super().activate()

    def deactivate(self) -> None:
        """Stop delivering; protection sees the silence."""
        self._keep_state()
        super().deactivate()

    def _build_driver(self, pack: Pack, parameters: AfeDriverParameters) -> PackDriver:
        if parameters.transport == "jbd":
            from ibms_end.serial_bms.driver import JbdDriver  # pyserial only where it is used

            return JbdDriver(
                pack, parameters.serial_port, self.clock, self._on_scan, self._on_sample
            )
        maps = Path(parameters.pack).parent.parent / "can" / "maps"
        last = self._last_scan.read() if self._last_scan is not None else None
        return CanPackDriver(
            pack,
            load_map(maps / pack.can_map, pack),
            parameters.bus,
            self.clock,
            self._on_scan,
            self._on_sample,
            None if last is None else (last + 1) & 0xFFFFFFFF,
        )

    # From the driver's thread.

    def _on_scan(self, scan: Scan) -> None:
        if self.clock.boot_ns() - self._beat_ns > _BEAT_LIMIT_NS:
            # The executor hangs: a node that is half dead falls silent, and the pack opens.
            self._held_back += 1
            return
        sample = self._sample
        far = sample is None or abs(scan.boot_ns - sample.boot_ns) > self._sample_near_ns
        message = cell_message(scan, None if far or scan.late else sample)
        message.header = self.header(scan.boot_ns)
        if scan.late:
            self._late_scans += 1
            self.publish("cells/history", message)
            return
        self.publish("cells/measurement", message)
        self._scans += 1
        self._newest = scan

    def _on_sample(self, sample: PackSample) -> None:
        self._timer.begin()
        self._sample = sample
        self._samples += 1
        message = pack_message(sample)
        message.header = self.header(sample.boot_ns)
        self.publish("pack/measurement", message)
        self._timer.end()

    # From the executor's thread.

    def _beat(self) -> None:
        self._beat_ns = self.clock.boot_ns()

    def _on_balancing(self, message: BalancingCommand) -> None:
        if len(message.bleed) != self._pack.series:
            self.tell(
                Event.KIND_DEVICE,
                f"balancing command for {len(message.bleed)} cells rejected",
                Event.SEVERITY_WARNING,
            )
            return
        self._driver.command_balancing(np.frombuffer(message.bleed, np.uint8))

    def _keep_state(self) -> None:
        if self._last_scan is not None and self._newest is not None:
            self._last_scan.keep(self._newest.scan_counter)

    def _report_bus(self, status: Status) -> None:
        health = self._driver.health()
        status.add(connected=health.connected)
        status.add_counts(health.counts)
        if self.is_active and not health.connected:
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
        if self._last_scan is not None and self._last_scan.problem:
            status.report(WARN, self._last_scan.problem)
        if not self.is_active:
            return
        if self._newest is None:
            status.report(ERROR, "no scan received yet")
        elif (age_ns := self.clock.boot_ns() - self._newest.boot_ns) > _SILENT_NS:
            status.report(ERROR, f"no scan for {age_ns / NS_PER_S:.0f} s")


def main() -> int:
    """Process with the node ``afe_driver``."""
    return run(AfeDriver, real_time_priority=CHAIN_PRIORITY)
