# SPDX-License-Identifier: Apache-2.0
"""Node ``insulation_monitor``: insulation resistance from the monitoring device on CAN."""

from pathlib import Path
from typing import Annotated, Any

from ibms_msgs.msg import InsulationMeasurement
from msgspec import Meta, Struct

from ibms_battery.clock import Clock
from ibms_battery.pack import load_pack
from ibms_end.can.bus import BusConfiguration
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.mapping import load_map
from ibms_ros_common.diagnostics import ERROR, Status
from ibms_ros_common.node import BmsNode

_FLAGS = {
    "self_test_failed": InsulationMeasurement.MONITOR_SELF_TEST_FAILED,
    "starting": InsulationMeasurement.MONITOR_STARTING,
}


class InsulationMonitorParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``insulation_monitor``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()
    period_s: Annotated[float, Meta(ge=0.02, le=5, description="publishing period [s]")] = 0.1


class InsulationMonitor(BmsNode[InsulationMonitorParameters]):
    """Publishes the insulation resistance; invalid where the device is silent or still starting."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("insulation_monitor", InsulationMonitorParameters, clock, **options)
        self._device: DeviceMonitor | None = None

    def configure(self, parameters: InsulationMonitorParameters) -> None:
        """Load the map and open the bus."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        config = Path(parameters.pack).parent.parent
        loaded = load_map(config / "can" / "maps" / pack.can_map, pack)
        source = loaded.map.insulation
        if source is None:
            raise ValueError(f"{pack.can_map} has no section 'insulation'; add it or leave out this node")
        self._source = source
        self._device = DeviceMonitor(
            loaded, source.message, source.protection, source.freshness_s, parameters.bus, self.clock
        )
        self._device.receiver.open()
        self.advertise("insulation/measurement")
        self.every(parameters.period_s, self._publish)
        self.diagnose("device", self._report)

    def activate(self) -> None:
        """Begin to receive."""
        assert self._device is not None  # noqa: S101 - configured before
        self._device.receiver.start("insulation_can")

    def deactivate(self) -> None:
        """Stop receiving."""
        if self._device is not None:
            self._device.receiver.stop()

    def cleanup(self) -> None:
        """Close the bus."""
        if self._device is not None:
            self._device.receiver.stop()
            self._device = None

    def _publish(self) -> None:
        assert self._device is not None  # noqa: S101 - runs while active only
        message = InsulationMeasurement(resistance_ohm=float("nan"))
        newest = self._device.newest()
        if newest is not None:
            boot_ns, values = newest
            message.boot_ns = boot_ns
            message.status = sum(
                _FLAGS[flag] for signal, flag in self._source.flags.items() if values[signal]
            )
            if message.status == 0:
                message.resistance_ohm = self._device.value(values, self._source.resistance)
            message.valid = message.resistance_ohm == message.resistance_ohm
        message.header = self.header(message.boot_ns or None)
        self.publish("insulation/measurement", message)

    def _report(self, status: Status) -> None:
        if self._device is not None:
            status.add(accepted=self._device.frame.accepted, lost=self._device.frame.lost)
            status.add_counts(self._device.frame.rejected)
            status.add_counts(self._device.receiver.health.counts)
            if self.is_active and self._device.newest() is None:
                status.report(ERROR, "insulation monitor is silent")
