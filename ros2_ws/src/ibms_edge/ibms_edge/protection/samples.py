# SPDX-License-Identifier: Apache-2.0
"""What protection takes from its inputs, as arrays. NaN where a value was not measured. No DDS."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibms_battery.pack import Pack
from ibms_edge.protection.signals import FloatArray
from ibms_msgs.msg import CellMeasurement, PackMeasurement

FlagArray = npt.NDArray[np.uint8]

_NAN = math.nan


@dataclass(slots=True)
class CellsSample:
    """One scan of all cells."""

    boot_ns: int
    voltage_v: FloatArray  # (cells,)
    temperature_c: FloatArray  # (sensors,)
    scan_counter: int = 0
    current_a: float = _NAN  # at the scan, charge positive
    open_wire: FlagArray | None = None  # (cells,); None: the AFE does not look for it
    afe_status: FlagArray | None = None  # (modules,), CellMeasurement.AFE_*
    module_voltage_v: FloatArray | None = None  # (modules,)
    frames_rejected: int = 0
    device_time_ms: int | None = None
    hardware: tuple[int, int, int] = (0, 0, 0)  # cells, modules, sensors; 0: not said


@dataclass(slots=True)
class PackSample:
    """One sample of the pack's current and voltage sensor."""

    boot_ns: int
    current_a: float = _NAN
    voltage_v: float = _NAN
    link_voltage_v: float = _NAN
    redundant_current_a: float = _NAN
    redundant_boot_ns: int = 0


def is_well_formed(message: CellMeasurement, pack: Pack) -> bool:
    """True if every array of a scan has the pack's size, and the scan is not for history only."""
    return not message.late and (
        len(message.voltage_v),
        len(message.voltage_valid),
        len(message.open_wire),
        len(message.temperature_c),
        len(message.temperature_valid),
        len(message.afe_status),
        len(message.module_voltage_v),
    ) == (
        pack.series,
        pack.series,
        pack.series,
        pack.temperature_sensors,
        pack.temperature_sensors,
        pack.modules,
        pack.modules,
    )


def cells_sample(message: CellMeasurement) -> CellsSample:
    """The arrays of a well-formed scan."""
    return CellsSample(
        boot_ns=message.boot_ns,
        voltage_v=_masked(message.voltage_v, message.voltage_valid),
        temperature_c=_masked(message.temperature_c, message.temperature_valid),
        scan_counter=message.scan_counter,
        current_a=message.current_a,
        open_wire=np.frombuffer(message.open_wire, np.uint8),
        afe_status=np.frombuffer(message.afe_status, np.uint8),
        module_voltage_v=np.frombuffer(message.module_voltage_v, np.float32).astype(np.float64),
        frames_rejected=message.frames_rejected,
        device_time_ms=message.device_time_ms,
        hardware=(
            message.hardware_series,
            message.hardware_modules,
            message.hardware_temperature_sensors,
        ),
    )


def measured_current_a(message: PackMeasurement) -> float:
    """Current that the pack sensor vouches for [A], charge positive; else NaN.

    A sensor whose self-test failed measures nothing. Over its range it shows less than flows: at
    least so much is known, and enough to trip.
    """
    measured = message.valid & PackMeasurement.VALID_CURRENT and not (
        message.status & PackMeasurement.SENSOR_SELF_TEST_FAILED
    )
    return _finite(message.current_a) if measured else _NAN


def pack_sample(message: PackMeasurement) -> PackSample:
    """The values of a sample of the pack sensor."""
    valid = message.valid
    return PackSample(
        boot_ns=message.boot_ns,
        current_a=measured_current_a(message),
        voltage_v=_finite(message.voltage_v) if valid & PackMeasurement.VALID_VOLTAGE else _NAN,
        link_voltage_v=(
            _finite(message.link_voltage_v) if valid & PackMeasurement.VALID_LINK_VOLTAGE else _NAN
        ),
        redundant_current_a=(
            _finite(message.redundant_current_a)
            if valid & PackMeasurement.VALID_REDUNDANT_CURRENT
            else _NAN
        ),
        redundant_boot_ns=message.redundant_boot_ns,
    )


def _masked(values: object, valid: object) -> FloatArray:
    """Values as float64; NaN where the flag says so and where the value is no finite number."""
    read = np.frombuffer(values, np.float32).astype(np.float64)  # type: ignore[call-overload]
    known = np.frombuffer(valid, np.uint8) != 0  # type: ignore[call-overload]
    read[~(known & np.isfinite(read))] = _NAN
    return read  # type: ignore[no-any-return]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else _NAN
