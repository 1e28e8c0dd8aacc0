# SPDX-License-Identifier: Apache-2.0
"""Frames that are sent often, packed by hand after ``ibms.dbc`` and ``ibms_sim.dbc``.

The general codec costs many times as much; a test holds these layouts against the databases.
"""

import math
import struct

import can
import numpy as np
import numpy.typing as npt

from ibms_end.can.end_to_end import crc

CELLS_PER_MODULE = 16
SENSORS_PER_MODULE = 4
AFE_MEASUREMENT_ID = 0x100
AFE_HISTORY_ID = 0x300
PACK_SENSOR_ID = 0x90
PACK_SENSOR_REDUNDANT_ID = 0x91
SWITCH_FEEDBACK_ID = 0x12
SIMULATION_CONTACTS_ID = 0x7E2
SIMULATION_LINK_ID = 0x7E3
DATA_ID_OFFSET = 0x1B00  # data identifiers of the database are this plus the frame identifier

VOLTAGE_STEP_V = 1e-4
TEMPERATURE_STEP_C = 1e-2
MODULE_VOLTAGE_STEP_V = 2e-3
FLAG_SELF_TEST, FLAG_OVERTEMPERATURE, FLAG_SUPPLY, FLAG_REFERENCE = 1, 2, 4, 8

AFE_LAYOUT = np.dtype(
    {
        "names": [
            "flags", "scan_counter", "device_time_ms", "cells", "temperatures", "bleed",
            "open_wire", "module_voltage", "afe_temperature",
        ],
        "formats": [
            "u1", "<u4", "<u4", ("<u2", CELLS_PER_MODULE), ("<i2", SENSORS_PER_MODULE), "<u2",
            "<u2", "<u2", "<i2",
        ],
        "offsets": [3, 4, 8, 12, 44, 52, 54, 56, 58],
        "itemsize": 64,
    }
)  # fmt: skip

_PACK_SENSOR = struct.Struct("<3xBIiII6sh4x")
_REDUNDANT = struct.Struct("<3xBi")
_FEEDBACK = struct.Struct("<3x3sBBB3s3sIHB2x")
_LINK = struct.Struct("<IIiI")
_MILLI = 1e3
# All bits set is outside of the signal's range, so nobody takes it for a voltage.
_NOT_AVAILABLE = 0xFFFFFFFF
_CHARGE_BITS = 48


def quantise(
    values: npt.NDArray[np.float64], step: float, minimum: int, maximum: int
) -> npt.NDArray[np.int64]:
    """Raw values of a converter with ``step``, saturating at its ends."""
    return np.clip(np.rint(values / step), minimum, maximum).astype(np.int64)


def fd_frame(identifier: int, data: bytes | bytearray) -> can.Message:
    """A CAN FD frame."""
    return can.Message(
        arbitration_id=identifier,
        is_extended_id=False,
        is_fd=True,
        bitrate_switch=True,
        data=data,
        check=False,
    )


def frame(identifier: int, data: bytes | bytearray) -> can.Message:
    """A classic CAN frame."""
    return can.Message(arbitration_id=identifier, is_extended_id=False, data=data, check=False)


class Protection:
    """Counter and CRC of the frames with one identifier, with a counter that can be frozen."""

    def __init__(self, identifier: int) -> None:
        self._data_id = DATA_ID_OFFSET + identifier
        self._counter = 0

    def protect(self, data: bytearray, frozen: bool = False) -> None:
        """Write counter and CRC into ``data`` in place."""
        data[2] = self._counter
        data[0:2] = crc(data, self._data_id).to_bytes(2, "little")
        if not frozen:
            self._counter = (self._counter + 1) & 0xFF


def _millivolts(voltage_v: float) -> int:
    return _NOT_AVAILABLE if math.isnan(voltage_v) else max(round(voltage_v * _MILLI), 0)


def pack_sensor(
    sample_counter: int,
    current_a: float,
    pack_v: float,
    link_v: float,
    charge_c: float,
    shunt_c: float,
    flags: int,
) -> bytearray:
    """Unprotected data of PackSensor; a voltage that is NaN is not available.

    Bits 0 and 1 of ``flags`` are OverRange and SelfTestFailed.
    """
    charge = round(charge_c * _MILLI) % (1 << _CHARGE_BITS)
    return bytearray(
        _PACK_SENSOR.pack(
            flags,
            sample_counter & 0xFFFFFFFF,
            round(current_a * _MILLI),
            _millivolts(pack_v),
            _millivolts(link_v),
            charge.to_bytes(6, "little"),
            round(shunt_c * 10),
        )
    )


def pack_sensor_redundant(current_a: float, flags: int) -> bytearray:
    """Unprotected data of PackSensorRedundant; flags as in ``pack_sensor``."""
    return bytearray(_REDUNDANT.pack(flags, round(current_a * _MILLI)))


def switch_feedback(
    closed: int,
    challenge: int,
    flags: int,
    cause: int,
    pack_raw: int,
    link_raw: int,
    last_permit_scan: int,
    dead_man_ms: int,
    switches: int,
) -> bytearray:
    """Unprotected data of SwitchFeedback; voltages in mV, 0xFFFFFF where there is none.

    Bits 0 to 5 of ``flags`` are Armed, DeadManLatched, InterlockClosed, EmergencyStop, PermitFresh
    and CrashInput.
    """
    return bytearray(
        _FEEDBACK.pack(
            closed.to_bytes(3, "little"),
            challenge,
            flags,
            cause,
            pack_raw.to_bytes(3, "little"),
            link_raw.to_bytes(3, "little"),
            last_permit_scan,
            dead_man_ms,
            switches,
        )
    )


def simulation_contacts(conducting: int) -> bytes:
    """Data of SimulationContacts."""
    return conducting.to_bytes(8, "little")


def read_simulation_link(data: bytes | bytearray) -> tuple[int, int, int]:
    """Pack voltage [mV], link voltage [mV] and mask of unbreakable contacts of SimulationLink."""
    pack_raw, link_raw, _, unbreakable = _LINK.unpack(data)
    return pack_raw, link_raw, unbreakable


def simulation_link(pack_v: float, link_v: float, current_a: float, unbreakable: int) -> bytes:
    """Data of SimulationLink."""
    return _LINK.pack(
        max(round(pack_v * _MILLI), 0),
        max(round(link_v * _MILLI), 0),
        round(current_a * _MILLI),
        unbreakable,
    )
