# SPDX-License-Identifier: Apache-2.0
"""What a pack driver delivers: scans of all cells and samples of the pack sensor. No ROS."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
FlagArray = npt.NDArray[np.uint8]

# Bits of ``Scan.afe_status``, equal to CellMeasurement.AFE_*.
AFE_FLAGS = {
    "self_test_failed": 1,
    "overtemperature": 2,
    "supply_fault": 4,
    "reference_fault": 8,
}
AFE_NOT_RECEIVED = 128

# Bits of ``PackSample.status``, equal to PackMeasurement.SENSOR_*.
SENSOR_FLAGS = {"overrange": 1, "self_test_failed": 2}


@dataclass(slots=True)
class Scan:
    """One scan of all cells; NaN and valid 0 where a value was not measured."""

    voltage_v: FloatArray  # per cell
    voltage_valid: FlagArray
    temperature_c: FloatArray  # per temperature sensor
    temperature_valid: FlagArray
    bleed_active: FlagArray  # per cell
    open_wire: FlagArray  # per cell
    afe_status: FlagArray  # per module
    module_voltage_v: FloatArray  # per module
    afe_temperature_c: FloatArray  # per module
    boot_ns: int = 0
    scan_counter: int = 0
    device_time_ms: int = 0
    late: bool = False
    frames_missing: int = 0
    frames_rejected: int = 0
    reduced_integrity: bool = False
    hardware_series: int = 0  # what the pack hardware says of itself; 0: not said
    hardware_modules: int = 0
    hardware_temperature_sensors: int = 0

    def receive_status(self, module: int, status: int) -> None:
        """Add the flags of one more message of a module, which thereby counts as received."""
        self.afe_status[module] = int(self.afe_status[module]) & ~AFE_NOT_RECEIVED | status

    @staticmethod
    def empty(cells: int, sensors: int, modules: int) -> "Scan":
        """A scan in which nothing was measured yet."""

        def unmeasured(count: int) -> FloatArray:
            return np.full(count, np.nan, np.float32)

        def unset(count: int) -> FlagArray:
            return np.zeros(count, np.uint8)

        return Scan(
            unmeasured(cells),
            unset(cells),
            unmeasured(sensors),
            unset(sensors),
            unset(cells),
            unset(cells),
            np.full(modules, AFE_NOT_RECEIVED, np.uint8),
            unmeasured(modules),
            unmeasured(modules),
        )


@dataclass(slots=True)
class PackSample:
    """One sample of the pack sensor; NaN where a value was not measured."""

    boot_ns: int
    sample_counter: int = 0
    current_a: float = float("nan")
    voltage_v: float = float("nan")
    link_voltage_v: float = float("nan")
    charge_c: float = float("nan")
    shunt_temperature_c: float = float("nan")
    redundant_current_a: float = float("nan")
    redundant_boot_ns: int = 0  # 0: there is no second sensor, or nothing came yet
    status: int = 0
    frames_rejected: int = 0
    reduced_integrity: bool = False


@dataclass
class DriverHealth:
    """What a driver counted since its start."""

    counts: dict[str, int] = field(default_factory=dict)
    connected: bool = False
    problem: str = ""
    reduced_integrity: list[str] = field(default_factory=list)
