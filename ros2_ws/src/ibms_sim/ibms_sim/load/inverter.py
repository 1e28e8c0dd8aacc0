# SPDX-License-Identifier: Apache-2.0
"""The consumer's side of the limits: it draws and gives back only what the BMS allows."""

from cantools.database.can import Database

from ibms_battery.clock import NS_PER_S
from ibms_end.can.codec import FrameDecoder, find_message

LIMITS_EXPIRY_NS = round(0.3 * NS_PER_S)
_VOLTAGE_BAND = 0.01  # share of a voltage limit over which the current fades


class Inverter:
    """Bounds a wanted current.

    A BMS that never spoke limits nothing (a bench without BMS). Once VehicleLimits was seen, its
    silence means zero. ``zero_requested`` is the request for zero current in VehicleBattery.
    """

    def __init__(self, database: Database) -> None:
        self._limits = FrameDecoder(find_message(database, "VehicleLimits"), protected=True)
        self._battery = FrameDecoder(find_message(database, "VehicleBattery"), protected=True)
        self._values: dict[str, float] = {}
        self._limits_ns: int | None = None
        self.zero_requested = False
        self.identifiers = (self._limits.message.frame_id, self._battery.message.frame_id)

    def receive(self, identifier: int, data: bytes | bytearray, now_ns: int) -> None:
        """A VehicleLimits or VehicleBattery frame."""
        if identifier == self.identifiers[0]:
            values = self._limits.decode(data)
            if values is not None:
                self._values, self._limits_ns = values, now_ns
        else:
            values = self._battery.decode(data)
            if values is not None:
                self.zero_requested = bool(values["ZeroCurrentRequest"])

    def bound(self, wanted_a: float, link_v: float, now_ns: int) -> float:
        """Current that is really drawn [A], charge positive."""
        if self._limits_ns is None:
            return wanted_a
        if now_ns - self._limits_ns >= LIMITS_EXPIRY_NS or link_v <= 0:
            return 0.0
        limits = self._values
        if wanted_a >= 0:
            headroom = (limits["ChargeVoltage"] - link_v) / (_VOLTAGE_BAND * link_v)
            most = min(limits["ChargeCurrent"], limits["ChargePower"] / link_v)
            return min(wanted_a, most * min(max(headroom, 0.0), 1.0))
        headroom = (link_v - limits["DischargeVoltage"]) / (_VOLTAGE_BAND * link_v)
        most = min(limits["DischargeCurrent"], limits["DischargePower"] / link_v)
        return max(wanted_a, -most * min(max(headroom, 0.0), 1.0))
