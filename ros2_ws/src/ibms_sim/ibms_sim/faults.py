# SPDX-License-Identifier: Apache-2.0
"""The faults that can be injected into the simulated pack: one table, and the active ones."""

import enum
from dataclasses import dataclass
from typing import Literal

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack

NO_ELEMENT = -1

Device = Literal["plant", "switch_board", "charger"]
Element = Literal["none", "cell", "sensor", "module", "switch"]
# What a fault may be counted in, to end after so many; "" where it cannot be counted.
Counted = Literal["", "scan", "sample", "feedback"]


class InjectCode(enum.IntEnum):
    """Answer of a device to an injection, as in SimulationAnswer.Code."""

    OK = 0
    UNKNOWN_FAULT = 1
    OUT_OF_RANGE = 2


@dataclass(frozen=True)
class Fault:
    """One kind of fault. Faults without a unit take no value."""

    number: int
    name: str
    device: Device
    element: Element
    unit: str
    minimum: float
    maximum: float
    description: str
    counted: Counted = ""


FAULTS = (
    Fault(
        1, "cell_voltage", "plant", "cell", "V", 0.0, 6.5, "measured voltage is this value", "scan"
    ),
    Fault(
        2, "cell_voltage_offset", "plant", "cell", "V", -5.0, 5.0, "added to what is read", "scan"
    ),
    Fault(3, "cell_voltage_stuck", "plant", "cell", "", 0, 0, "measured voltage stays as it is"),
    Fault(
        4, "cell_temperature", "plant", "sensor", "degC", -60.0, 200.0, "what is read", "scan"
    ),
    Fault(5, "cell_temperature_stuck", "plant", "sensor", "", 0, 0, "temperature stays as it is"),
    Fault(
        6, "open_wire", "plant", "cell", "", 0, 0, "upper sense wire of a cell is open", "scan"
    ),
    Fault(
        7, "internal_short", "plant", "cell", "Ohm", 1e-4, 1e4, "real resistance across the group"
    ),
    Fault(
        8, "temperature_rate", "plant", "sensor", "K/s", 0.0, 100.0, "its cells truly heat so fast"
    ),
    Fault(
        9, "runaway", "plant", "cell", "K/s", 0.0, 100.0, "voltage collapses, sensor heats so fast"
    ),
    Fault(10, "afe_silent", "plant", "module", "", 0, 0, "AFE module sends nothing", "scan"),
    Fault(
        11, "afe_corruption", "plant", "module", "bits", 1, 8, "bits flipped in each frame", "scan"
    ),
    Fault(
        12, "afe_counter_frozen", "plant", "module", "", 0, 0, "alive counter stands still", "scan"
    ),
    Fault(
        13, "afe_self_test", "plant", "module", "", 0, 0, "self-test of the module fails", "scan"
    ),
    Fault(
        14, "module_voltage_offset", "plant", "module", "V", -65.0, 65.0, "added to what is read",
        "scan",
    ),
    Fault(
        15, "device_time_jump", "plant", "none", "s", -1e6, 1e6, "added to the modules' clock"
    ),
    Fault(
        16, "wrong_identity", "plant", "none", "cells", 1, 256, "the pack says it has so many"
    ),
    Fault(
        20, "current_offset", "plant", "none", "A", -3000.0, 3000.0, "added to what is read",
        "sample",
    ),
    Fault(
        21, "current_value", "plant", "none", "A", -3000.0, 3000.0, "measured current", "sample"
    ),
    Fault(22, "pack_sensor_silent", "plant", "none", "", 0, 0, "sends nothing", "sample"),
    Fault(
        23, "pack_sensor_counter_frozen", "plant", "none", "", 0, 0, "counter stands still",
        "sample",
    ),
    Fault(
        24, "pack_sensor_self_test", "plant", "none", "", 0, 0, "self-test of the sensor fails",
        "sample",
    ),
    Fault(
        25, "redundant_current_offset", "plant", "none", "A", -3000.0, 3000.0,
        "added to what the second sensor reads", "sample",
    ),
    Fault(
        26, "redundant_sensor_silent", "plant", "none", "", 0, 0, "second sensor sends nothing",
        "sample",
    ),
    Fault(
        27, "pack_voltage_missing", "plant", "none", "", 0, 0,
        "the sensor says that the pack voltage is not available", "sample",
    ),
    Fault(
        28, "link_voltage_missing", "plant", "none", "", 0, 0,
        "the sensor says that the link voltage is not available", "sample",
    ),
    Fault(
        30, "insulation_resistance", "plant", "none", "Ohm", 0.0, 1e8, "true insulation resistance"
    ),
    Fault(31, "insulation_silent", "plant", "none", "", 0, 0, "insulation monitor sends nothing"),
    Fault(32, "environment_silent", "plant", "none", "", 0, 0, "environment sensors send nothing"),
    Fault(33, "gas", "plant", "none", "ppm", 0.0, 65535.0, "true gas concentration"),
    Fault(34, "shock", "plant", "none", "m/s^2", 0.0, 650.0, "a shock of this peak once a second"),
    Fault(35, "humidity", "plant", "none", "%", 0.0, 100.0, "true relative humidity"),
    Fault(36, "pressure", "plant", "none", "Pa", 0.0, 5e5, "true pressure in the pack"),
    Fault(37, "gas_sensor", "plant", "none", "", 0, 0, "gas sensor says its value does not hold"),
    Fault(38, "insulation_self_test", "plant", "none", "", 0, 0, "self-test of the monitor fails"),
    Fault(40, "link_short", "plant", "none", "Ohm", 1e-3, 1e4, "resistance across the link"),
    Fault(41, "precharge_open", "plant", "none", "", 0, 0, "precharge resistor is broken"),
    Fault(
        42, "precharge_slow", "plant", "none", "1", 1.0, 1e3, "precharge resistor times this value"
    ),
    Fault(43, "link_open", "plant", "none", "", 0, 0, "no capacitance: the link follows at once"),
    Fault(44, "fuse_open", "plant", "none", "", 0, 0, "main fuse has cleared; removal replaces it"),
    Fault(50, "bus_loss", "plant", "none", "", 0, 0, "all devices but the switch board are silent"),
    Fault(51, "error_frames", "plant", "none", "", 0, 0, "an error frame with each scan"),
    Fault(
        60, "weld", "switch_board", "switch", "", 0, 0, "contact conducts for good, feedback true"
    ),
    Fault(61, "weld_hidden", "switch_board", "switch", "", 0, 0, "the same, feedback as commanded"),
    Fault(62, "does_not_close", "switch_board", "switch", "", 0, 0, "contact does not close"),
    Fault(63, "interlock_open", "switch_board", "none", "", 0, 0, "interlock loop is open"),
    Fault(64, "emergency_stop", "switch_board", "none", "", 0, 0, "emergency stop is pressed"),
    Fault(
        65, "switch_board_silent", "switch_board", "none", "", 0, 0, "the board sends nothing",
        "feedback",
    ),
    Fault(
        66, "interlock_glitch", "switch_board", "none", "", 0, 0,
        "feedback says open while the interlock loop is closed", "feedback",
    ),
    Fault(67, "crash", "switch_board", "none", "", 0, 0, "the vehicle's crash signal is set"),
    Fault(
        68, "does_not_open_slow", "switch_board", "switch", "s", 0.0, 10.0, "opens so much later"
    ),
    Fault(
        69, "wrong_switch_count", "switch_board", "none", "switches", 1, 24,
        "the board says it has so many",
    ),
    Fault(70, "charger_unplugged", "charger", "none", "", 0, 0, "plug of the charger is pulled"),
    Fault(71, "charger_silent", "charger", "none", "", 0, 0, "the charger sends nothing"),
    Fault(
        72, "charger_over_delivery", "charger", "none", "1", 1.0, 5.0, "gives so much times more"
    ),
    Fault(73, "charger_hardware_failure", "charger", "none", "", 0, 0, "says so, gives nothing"),
    Fault(74, "charger_overtemperature", "charger", "none", "", 0, 0, "says so, gives nothing"),
    Fault(75, "charger_input_voltage", "charger", "none", "", 0, 0, "says so, gives nothing"),
)  # fmt: skip

BY_NAME = {fault.name: fault for fault in FAULTS}
BY_NUMBER = {fault.number: fault for fault in FAULTS}


def element_count(fault: Fault, pack: Pack) -> int:
    """Number of elements that ``fault`` can have; 0 where it has none."""
    return {
        "none": 0,
        "cell": pack.series,
        "sensor": pack.temperature_sensors,
        "module": pack.modules,
        "switch": len(pack.switching.switches),
    }[fault.element]


def check(fault: Fault, element: int, value: float, pack: Pack) -> InjectCode:
    """Whether ``fault`` can have this element and value in ``pack``."""
    count = element_count(fault, pack)
    if element != NO_ELEMENT if count == 0 else not 0 <= element < count:
        return InjectCode.OUT_OF_RANGE
    if fault.unit and not fault.minimum <= value <= fault.maximum:
        return InjectCode.OUT_OF_RANGE
    return InjectCode.OK


class FaultSet:
    """Active faults of one device. ``version`` changes with every change.

    Args:
        pack: whose elements the faults have.
        device: whose faults these are.
        without: names of faults that this device cannot have.
    """

    def __init__(self, pack: Pack, device: Device, without: frozenset[str] = frozenset()) -> None:
        self.version = 0
        self._without = without
        self._pack = pack
        self._device = device
        self._active: dict[str, dict[int, float]] = {}
        self._ends_ns: dict[tuple[str, int], int] = {}
        self._left: dict[tuple[str, int], int] = {}

    def inject(
        self,
        number: int,
        element: int,
        value: float,
        duration_s: float,
        remove: bool,
        now_ns: int,
        count: int = 0,
    ) -> InjectCode | None:
        """Add or remove a fault; ``None`` if it belongs to another device.

        It ends by itself after ``duration_s`` or after ``count`` of what it is counted in; 0: not.
        """
        fault = BY_NUMBER.get(number)
        if fault is None or fault.name in self._without:
            return InjectCode.UNKNOWN_FAULT if self._device == "plant" else None
        if fault.device != self._device:
            return None
        if remove:
            count = element_count(fault, self._pack)
            if element != NO_ELEMENT and not 0 <= element < count:
                return InjectCode.OUT_OF_RANGE
            self._remove(fault.name, element)
            return InjectCode.OK
        code = check(fault, element, value, self._pack)
        if count and not fault.counted:
            code = InjectCode.OUT_OF_RANGE
        if code is InjectCode.OK:
            key = (fault.name, element)
            self._active.setdefault(fault.name, {})[element] = value
            self._ends_ns.pop(key, None)
            self._left.pop(key, None)
            if duration_s > 0:
                self._ends_ns[key] = now_ns + round(duration_s * NS_PER_S)
            if count:
                self._left[key] = count
            self.version += 1
        return code

    def expire(self, now_ns: int) -> None:
        """Remove faults whose duration is over."""
        for (name, element), end_ns in list(self._ends_ns.items()):
            if now_ns >= end_ns:
                self._remove(name, element)

    def passed(self, what: Counted) -> None:
        """One more scan, sample or feedback has shown the faults; removes what is used up."""
        for (name, element), left in list(self._left.items()):
            if BY_NAME[name].counted != what:
                continue
            self._left[name, element] = left - 1
            if left == 1:
                self._remove(name, element)

    def next_end_ns(self) -> int | None:
        """When the next fault ends by itself."""
        return min(self._ends_ns.values(), default=None)

    def of(self, name: str) -> dict[int, float]:
        """Elements of fault ``name`` that have it now, with their values."""
        return self._active.get(name, {})

    def has(self, name: str, element: int = NO_ELEMENT) -> bool:
        """Whether a fault is active."""
        return element in self._active.get(name, {})

    def value(self, name: str) -> float | None:
        """Value of an active fault without element; ``None`` if it is not active."""
        return self._active.get(name, {}).get(NO_ELEMENT)

    def _remove(self, name: str, element: int) -> None:
        # Removal without an element removes the fault from all elements.
        elements = [element] if element != NO_ELEMENT else list(self._active.get(name, {}))
        for one in elements:
            self._active.get(name, {}).pop(one, None)
            self._ends_ns.pop((name, one), None)
            self._left.pop((name, one), None)
        self.version += 1
