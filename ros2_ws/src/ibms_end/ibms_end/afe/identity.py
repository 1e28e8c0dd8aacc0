# SPDX-License-Identifier: Apache-2.0
"""What the pack hardware says it is built of. No ROS."""

from ibms_end.afe.samples import Scan
from ibms_end.can.codec import FrameDecoder, find_message, limits_of
from ibms_end.can.identifier import message_identifier
from ibms_end.can.latest_values import LatestValues
from ibms_end.map_schema import Identity
from ibms_end.mapping import LoadedMap

_NOT_SAID = 0


class PackIdentity:
    """Keeps what was said last, until the device has been silent for too long."""

    def __init__(self, loaded: LoadedMap, identity: Identity) -> None:
        message = find_message(loaded.database, identity.message)
        self.frame = FrameDecoder(message, identity.protection == "end_to_end")
        self.identifier = message_identifier(message)
        self.freshness_s = identity.freshness_s
        self._identity = identity
        self._latest = LatestValues(identity.freshness_s)
        self._limits = {signal.name: limits_of(signal) for signal in message.signals}

    def take(self, data: bytes | bytearray, boot_ns: int) -> None:
        """Take one frame; a wrong one is counted and changes nothing."""
        values = self.frame.decode(data)
        if values is not None:
            self._latest.take(values, boot_ns)

    def add_to(self, scan: Scan) -> None:
        """Write into ``scan`` what holds at its time; 0 where nothing was said."""
        values = self._latest.fresh(scan.boot_ns)
        scan.hardware_series = self._read(values, self._identity.series)
        scan.hardware_modules = self._read(values, self._identity.modules)
        scan.hardware_temperature_sensors = self._read(values, self._identity.temperature_sensors)

    def _read(self, values: dict[str, float], signal: str | None) -> int:
        if signal is None or signal not in values:
            return _NOT_SAID
        low, high = self._limits[signal]
        return int(values[signal]) if low <= values[signal] <= high else _NOT_SAID
