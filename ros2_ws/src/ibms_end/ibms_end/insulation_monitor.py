# SPDX-License-Identifier: Apache-2.0
"""Node ``insulation_monitor``: insulation resistance from the monitoring device on CAN."""

from typing import Any

from ibms_battery.clock import Clock
from ibms_end.device_monitor import DeviceMonitor
from ibms_end.map_schema import Insulation
from ibms_end.slow_sensor import SlowSensor
from ibms_msgs.msg import InsulationMeasurement

_FLAGS = {
    "self_test_failed": InsulationMeasurement.MONITOR_SELF_TEST_FAILED,
    "starting": InsulationMeasurement.MONITOR_STARTING,
}


def insulation_message(source: Insulation, device: DeviceMonitor) -> InsulationMeasurement:
    """What the monitor measures; invalid while it is silent, starts or reports a failure."""
    message = InsulationMeasurement(resistance_ohm=float("nan"))
    newest = device.newest()
    if newest is not None:
        message.boot_ns, values = newest
        message.status = sum(
            _FLAGS[flag] for signal, flag in source.flags.items() if values.get(signal)
        )
        if message.status == 0:
            message.resistance_ohm = device.value(values, source.resistance)
        message.valid = message.resistance_ohm == message.resistance_ohm  # NaN is unequal to itself
    return message


class InsulationMonitor(SlowSensor[Insulation]):
    """Publishes the insulation resistance."""

    section = "insulation"
    topic = "insulation/measurement"

    def __init__(self, clock: Clock | None = None, **options: Any) -> None:
        super().__init__("insulation_monitor", clock, **options)

    def message(self, source: Insulation, device: DeviceMonitor) -> InsulationMeasurement:
        """See ``insulation_message``."""
        return insulation_message(source, device)
