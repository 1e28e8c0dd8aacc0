# SPDX-License-Identifier: Apache-2.0
"""Node ``environment_sensors``: humidity, pressure, gas, air temperature and vibration from CAN."""

from typing import Any

from ibms_battery.clock import Clock
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.map_schema import Environment
from ibms_end.slow_sensor import SlowSensor
from ibms_msgs.msg import EnvironmentMeasurement

_VALID = {
    "ambient_temperature_c": EnvironmentMeasurement.VALID_AMBIENT_TEMPERATURE,
    "humidity_ratio": EnvironmentMeasurement.VALID_HUMIDITY,
    "pressure_pa": EnvironmentMeasurement.VALID_PRESSURE,
    "gas_ppm": EnvironmentMeasurement.VALID_GAS,
    "vibration_rms_m_s2": EnvironmentMeasurement.VALID_VIBRATION,
    "vibration_peak_m_s2": EnvironmentMeasurement.VALID_VIBRATION,
}


def environment_message(source: Environment, device: DeviceMonitor) -> EnvironmentMeasurement:
    """What surrounds the cells; a quantity that is not measured is NaN and not valid."""
    message = EnvironmentMeasurement(**dict.fromkeys(_VALID, float("nan")))
    newest = device.newest()
    if newest is None:
        return message
    message.boot_ns, values = newest
    measured, unmeasured = {}, 0
    for quantity, signal in source.values.items():
        value = device.value(values, signal)
        if value == value:  # NaN is unequal to itself
            measured[quantity] = value
        else:
            unmeasured |= _VALID.get(quantity, 0)
    message.shock_count = int(measured.pop("shock_count", 0.0)) & 0xFFFFFFFF
    for quantity, value in measured.items():
        if not _VALID[quantity] & unmeasured:  # some share a bit
            setattr(message, quantity, value)
            message.valid |= _VALID[quantity]
    return message


class EnvironmentSensors(SlowSensor[Environment]):
    """Publishes the environment of the cells."""

    section = "environment"
    topic = "environment/measurement"

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("environment_sensors", clock, **options)

    def message(self, source: Environment, device: DeviceMonitor) -> EnvironmentMeasurement:
        """See ``environment_message``."""
        return environment_message(source, device)
