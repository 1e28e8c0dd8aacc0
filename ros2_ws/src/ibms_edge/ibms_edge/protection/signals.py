# SPDX-License-Identifier: Apache-2.0
"""From messages to the signals that diagnoses judge. No ROS beyond the messages' attributes."""

import math

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_edge.protection.table import Signal
from ibms_msgs.msg import (
    CellMeasurement,
    EnvironmentMeasurement,
    InsulationMeasurement,
    PackMeasurement,
    SwitchState,
)

FloatArray = npt.NDArray[np.float64]

_NAN = float("nan")


def _one(value: float) -> FloatArray:
    return np.array([value])


def _missing(value: float) -> FloatArray:
    return _one(1.0 if math.isnan(value) else 0.0)


def _masked(values: object, valid: object) -> FloatArray:
    """Values as float64; NaN where the flag says so and where the value is no finite number."""
    read = np.frombuffer(values, np.float32).astype(np.float64)  # type: ignore[call-overload]
    return np.where(_flags(valid).astype(bool) & np.isfinite(read), read, _NAN)


def _flags(values: object) -> npt.NDArray[np.uint8]:
    return np.frombuffer(values, np.uint8)  # type: ignore[call-overload,no-any-return]


def is_well_formed(message: CellMeasurement, pack: Pack) -> bool:
    """True if every array of a scan has the pack's size, and the scan is not for history only."""
    return not message.late and (
        len(message.voltage_v),
        len(message.voltage_valid),
        len(message.open_wire),
        len(message.temperature_c),
        len(message.temperature_valid),
        len(message.afe_status),
    ) == (
        pack.series,
        pack.series,
        pack.series,
        pack.temperature_sensors,
        pack.temperature_sensors,
        pack.modules,
    )


def cell_signals(
    message: CellMeasurement, pack: PackMeasurement | None
) -> dict[Signal, FloatArray]:
    """Signals of one scan; ``pack`` is the newest sample of the pack sensor."""
    voltage = _masked(message.voltage_v, message.voltage_valid)
    temperature = _masked(message.temperature_c, message.temperature_valid)
    missing_v, missing_t = np.isnan(voltage), np.isnan(temperature)
    known_v, known_t = voltage[~missing_v], temperature[~missing_t]
    difference = _NAN
    if (
        not missing_v.any()
        and pack is not None
        and pack.valid & PackMeasurement.VALID_VOLTAGE
        and abs(pack.boot_ns - message.boot_ns) < NS_PER_S // 10
    ):
        difference = abs(float(known_v.sum()) - pack.voltage_v)
    return {
        "cell_voltage": voltage,
        "cell_voltage_missing": missing_v.astype(np.float64),
        "cell_voltage_spread": _one(float(np.ptp(known_v)) if known_v.size else _NAN),
        "cell_temperature": temperature,
        "cell_temperature_missing": missing_t.astype(np.float64),
        "cell_temperature_spread": _one(float(np.ptp(known_t)) if known_t.size else _NAN),
        "open_wire": _flags(message.open_wire).astype(np.float64),
        "afe_status": _flags(message.afe_status).astype(np.float64),
        "sum_of_cells_difference": _one(difference),
    }


def pack_signals(message: PackMeasurement) -> dict[Signal, FloatArray]:
    """Signals of one sample of the pack sensor."""
    measured = bool(message.valid & PackMeasurement.VALID_CURRENT) and message.status == 0
    current_a = message.current_a if measured and math.isfinite(message.current_a) else _NAN
    return {"pack_current": _one(current_a), "pack_current_missing": _missing(current_a)}


def insulation_signals(message: InsulationMeasurement) -> dict[Signal, FloatArray]:
    """Signals of the insulation monitor; infinite resistance is a measurement."""
    resistance_ohm = message.resistance_ohm if message.valid else _NAN
    return {
        "insulation_resistance": _one(resistance_ohm),
        "insulation_missing": _missing(resistance_ohm),
    }


def environment_signals(message: EnvironmentMeasurement) -> dict[Signal, FloatArray]:
    """Signals of the environment sensors."""
    valid = bool(message.valid & EnvironmentMeasurement.VALID_GAS)
    gas_ppm = message.gas_ppm if valid and math.isfinite(message.gas_ppm) else _NAN
    return {"gas": _one(gas_ppm), "gas_missing": _missing(gas_ppm)}


def switch_signals(message: SwitchState) -> dict[Signal, FloatArray]:
    """Signals of the switch board; nothing is known while its feedback is stale."""
    if not message.board_valid:
        return {
            "interlock_open": _one(_NAN),
            "emergency_stop": _one(_NAN),
            "switch_mismatch": np.full(len(message.mismatch), _NAN),
        }
    return {
        "interlock_open": _one(0.0 if message.interlock_closed else 1.0),
        "emergency_stop": _one(1.0 if message.emergency_stop else 0.0),
        "switch_mismatch": _flags(message.mismatch).astype(np.float64),
    }
