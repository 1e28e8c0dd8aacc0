# SPDX-License-Identifier: Apache-2.0
"""Base of the nodes that publish one slow device's message at a steady period."""

from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct

from ibms_battery.clock import Clock
from ibms_battery.pack import load_pack
from ibms_end.can.bus import BusConfiguration
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.hardware_node import HardwareNode
from ibms_end.map_schema import Environment, Insulation
from ibms_end.mapping import load_map
from ibms_ros_common.diagnostics import ERROR, Status

S = TypeVar("S", Insulation, Environment)


class SlowSensorParameters(Struct, frozen=True, kw_only=True):
    """Parameters of a slow sensor's node."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()
    period_s: Annotated[float, Meta(ge=0.02, le=5, description="publishing period [s]")] = 0.1


class SlowSensor(HardwareNode[SlowSensorParameters], Generic[S]):
    """Publishes on ``topic`` what the device of the map's ``section`` measures."""

    section: str
    topic: str

    def __init__(self, name: str, clock: Clock | None = None, **options: Any) -> None:
        super().__init__(name, SlowSensorParameters, clock, **options)

    def configure(self, parameters: SlowSensorParameters) -> None:
        """Load the map and open the bus."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        config = Path(parameters.pack).parent.parent
        loaded = load_map(config / "can" / "maps" / pack.can_map, pack)
        source: S | None = getattr(loaded.map, self.section)
        if source is None:
            raise ValueError(
                f"{pack.can_map} has no section {self.section!r}; add it or leave out this node"
            )
        self._source: S = source
        self._device = DeviceMonitor(loaded, source, parameters.bus, self.clock)
        self.attach(self._device.receiver)
        self.advertise(self.topic)
        self.every(parameters.period_s, self._publish)
        self.diagnose("device", self._report)

    def message(self, source: S, device: DeviceMonitor) -> Any:
        """Message with what is fresh and its ``boot_ns``; unmeasured is NaN and not valid."""
        raise NotImplementedError

    def _publish(self) -> None:
        message = self.message(self._source, self._device)
        message.header = self.header(message.boot_ns or None)
        self.publish(self.topic, message)

    def _report(self, status: Status) -> None:
        frame, bus = self._device.frame, self._device.receiver.health
        status.add(connected=bus.connected, accepted=frame.accepted, lost=frame.lost)
        status.add_counts(frame.rejected)
        status.add_counts(bus.counts)
        if self.is_active and self._device.newest() is None:
            problem = bus.recent_problem(self.clock.boot_ns())
            status.report(ERROR, problem or f"the device of {self.topic} is silent")
