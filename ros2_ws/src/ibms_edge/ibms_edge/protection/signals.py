# SPDX-License-Identifier: Apache-2.0
"""From messages to the signals that diagnoses judge. No ROS beyond the message classes' attributes."""

import numpy as np
import numpy.typing as npt

from ibms_battery.clock import NS_PER_S
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


def _masked(values: object, valid: npt.NDArray[np.bool_]) -> FloatArray:
    read = np.frombuffer(values, np.float32).astype(np.float64)  # type: ignore[call-overload]
    return np.where(valid, read, _NAN)


def _flags(values: object) -> npt.NDArray[np.uint8]:
    return np.frombuffer(values, np.uint8)  # type: ignore[call-overload,no-any-return]


def cell_signals(
    message: CellMeasurement, pack: PackMeasurement | None
) -> dict[Signal, FloatArray]:
    """Signals of one scan; ``pack`` is the newest sample of the pack sensor."""
    voltage_valid = _flags(message.voltage_valid).astype(bool)
    temperature_valid = _flags(message.temperature_valid).astype(bool)
    voltage = _masked(message.voltage_v, voltage_valid)
    temperature = _masked(message.temperature_c, temperature_valid)
    complete = bool(voltage_valid.all())
    known_v, known_t = voltage[voltage_valid], temperature[temperature_valid]
    difference = _NAN
    if complete and pack is not None and abs(pack.boot_ns - message.boot_ns) < NS_PER_S // 10:
        difference = abs(float(known_v.sum()) - pack.voltage_v)
    return {
        "cell_voltage": voltage,
        "cell_voltage_missing": (~voltage_valid).astype(np.float64),
        "cell_voltage_spread": _one(float(np.ptp(known_v)) if known_v.size else _NAN),
        "cell_temperature": temperature,
        "cell_temperature_missing": (~temperature_valid).astype(np.float64),
        "cell_temperature_spread": _one(float(np.ptp(known_t)) if known_t.size else _NAN),
        "open_wire": _flags(message.open_wire).astype(np.float64),
        "afe_status": _flags(message.afe_status).astype(np.float64),
        "sum_of_cells_difference": _one(difference),
    }


def pack_signals(message: PackMeasurement) -> dict[Signal, FloatArray]:
    """Signals of one sample of the pack sensor."""
    measured = bool(message.valid & PackMeasurement.VALID_CURRENT) and message.status == 0
    return {
        "pack_current": _one(message.current_a if measured else _NAN),
        "pack_current_missing": _one(0.0 if measured else 1.0),
    }


def insulation_signals(message: InsulationMeasurement) -> dict[Signal, FloatArray]:
    """Signals of the insulation monitor."""
    return {"insulation_resistance": _one(message.resistance_ohm if message.valid else _NAN)}


def environment_signals(message: EnvironmentMeasurement) -> dict[Signal, FloatArray]:
    """Signals of the environment sensors."""
    valid = bool(message.valid & EnvironmentMeasurement.VALID_GAS)
    return {"gas": _one(message.gas_ppm if valid else _NAN)}


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
