# SPDX-License-Identifier: Apache-2.0
"""Node ``environment_sensors``: humidity, pressure, gas, ambient temperature and vibration from CAN."""

from pathlib import Path
from typing import Annotated, Any

from ibms_msgs.msg import EnvironmentMeasurement
from msgspec import Meta, Struct

from ibms_battery.clock import Clock
from ibms_battery.pack import load_pack
from ibms_end.can.bus import BusConfiguration
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.mapping import load_map
from ibms_ros_common.diagnostics import ERROR, Status
from ibms_ros_common.node import BmsNode

_VALID = {
    "ambient_temperature_c": EnvironmentMeasurement.VALID_AMBIENT_TEMPERATURE,
    "humidity_ratio": EnvironmentMeasurement.VALID_HUMIDITY,
    "pressure_pa": EnvironmentMeasurement.VALID_PRESSURE,
    "gas_ppm": EnvironmentMeasurement.VALID_GAS,
    "vibration_rms_m_s2": EnvironmentMeasurement.VALID_VIBRATION,
    "vibration_peak_m_s2": EnvironmentMeasurement.VALID_VIBRATION,
}


class EnvironmentSensorsParameters(Struct, frozen=True, kw_only=True):
    """Parameters of ``environment_sensors``."""

    pack: Annotated[str, Meta(description="pack description, a file in config/packs")]
    bus: BusConfiguration = BusConfiguration()
    period_s: Annotated[float, Meta(ge=0.02, le=5, description="publishing period [s]")] = 0.1


class EnvironmentSensors(BmsNode[EnvironmentSensorsParameters]):
    """Publishes what surrounds the cells; what is not measured is NaN and not valid."""

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("environment_sensors", EnvironmentSensorsParameters, clock, **options)
        self._device: DeviceMonitor | None = None

    def configure(self, parameters: EnvironmentSensorsParameters) -> None:
        """Load the map and open the bus."""
        pack = load_pack(parameters.pack)
        self.pack_name = pack.name
        config = Path(parameters.pack).parent.parent
        loaded = load_map(config / "can" / "maps" / pack.can_map, pack)
        source = loaded.map.environment
        if source is None:
            raise ValueError(f"{pack.can_map} has no section 'environment'; add it or leave out this node")
        self._source = source
        self._device = DeviceMonitor(
            loaded, source.message, source.protection, source.freshness_s, parameters.bus, self.clock
        )
        self._device.receiver.open()
        self.advertise("environment/measurement")
        self.every(parameters.period_s, self._publish)
        self.diagnose("device", self._report)

    def activate(self) -> None:
        """Begin to receive."""
        assert self._device is not None  # noqa: S101 - configured before
        self._device.receiver.start("environment_can")

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
        message = EnvironmentMeasurement(**dict.fromkeys(_VALID, float("nan")))
        newest = self._device.newest()
        if newest is not None:
            boot_ns, values = newest
            message.boot_ns = boot_ns
            for quantity, source in self._source.values.items():
                flag = self._source.valid.get(quantity)
                value = self._device.value(values, source)
                if (flag is not None and not values[flag]) or value != value:
                    continue
                if quantity == "shock_count":
                    message.shock_count = int(value)
                else:
                    setattr(message, quantity, value)
                    message.valid |= _VALID[quantity]
        message.header = self.header(message.boot_ns or None)
        self.publish("environment/measurement", message)

    def _report(self, status: Status) -> None:
        if self._device is not None:
            status.add(accepted=self._device.frame.accepted, lost=self._device.frame.lost)
            status.add_counts(self._device.frame.rejected)
            status.add_counts(self._device.receiver.health.counts)
            if self.is_active and self._device.newest() is None:
                status.report(ERROR, "environment sensors are silent")
