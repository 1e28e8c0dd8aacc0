# SPDX-License-Identifier: Apache-2.0
"""Assembly of frames into scans. No ROS.

A device that numbers its scans (``NumberedAssembler``) delivers exactly what was sampled together. A
foreign device that does not (``GatheringAssembler``) is read out once per scan period, each value with
its own freshness limit.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_end.afe.samples import AFE_NOT_RECEIVED, Scan
from ibms_end.afe.scan_decoder import ScanFrameDecoder

ScanHandler = Callable[[Scan], None]

_REORDERED_WITHIN = 64  # an older counter within this is a late frame, beyond it a restarted device


class NumberedAssembler:
    """Gathers the frames of one numbered scan and hands it on as soon as it is complete.

    A scan that stays incomplete is handed on, with what is missing marked, when the next one begins or
    when it is older than ``timeout_s``.
    """

    def __init__(
        self,
        pack: Pack,
        decoders: list[ScanFrameDecoder],
        on_scan: ScanHandler,
        timeout_s: float,
        late: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._pack = pack
        self._decoders = {decoder.identifier: decoder for decoder in decoders}
        self._on_scan = on_scan
        self._timeout_ns = round(timeout_s * NS_PER_S)
        self._late = late
        self._reduced = any(not decoder.frame.protected for decoder in decoders)
        self._scan: Scan | None = None
        self._missing: set[int] = set()
        self._last_counter: int | None = None
        self._rejected_seen = 0

    @property
    def identifiers(self) -> list[int]:
        """Identifiers of the frames it takes."""
        return list(self._decoders)

    @property
    def rejected(self) -> int:
        """Frames rejected so far."""
        return sum(sum(d.frame.rejected.values()) for d in self._decoders.values())

    def take(self, identifier: int, data: bytes | bytearray, boot_ns: int) -> bool:
        """Take one frame; ``False`` if the identifier is not one of this assembler."""
        decoder = self._decoders.get(identifier)
        if decoder is None:
            return False
        values = decoder.decode(data)
        if values is None:
            return True
        counter = decoder.counter_of(values)
        if self._scan is None or counter != self._scan.scan_counter:
            if not self._begin(counter, decoder.device_time_of(values), boot_ns):
                return True
        elif identifier not in self._missing:
            self.counts["repeated_in_scan"] += 1
            return True
        scan = self._scan
        assert scan is not None  # noqa: S101 - set by _begin
        decoder.fill(scan, values)
        self._missing.discard(identifier)
        if not self._missing:
            self._hand_on()
        return True

    def tick(self, boot_ns: int) -> None:
        """Hand on a scan that has waited too long for its missing frames."""
        scan = self._scan
        if scan is not None and self._missing and boot_ns - scan.boot_ns > self._timeout_ns:
            self._hand_on()

    def _begin(self, counter: int, device_time_ms: int, boot_ns: int) -> bool:
        last = self._last_counter
        if last is not None:
            ahead = (counter - last) & 0xFFFFFFFF
            if ahead == 0 or ahead > 0xFFFFFFFF - _REORDERED_WITHIN:
                self.counts["frame_after_scan"] += 1
                return False
            if ahead > 0x7FFFFFFF:
                self.counts["device_restarted"] += 1
            elif ahead > 1:
                self.counts["scan_lost"] += ahead - 1
        if self._scan is not None and self._missing:
            self._hand_on()
        pack = self._pack
        self._scan = Scan.empty(pack.series, pack.temperature_sensors, pack.modules)
        self._scan.boot_ns = boot_ns
        self._scan.scan_counter = counter
        self._scan.device_time_ms = device_time_ms
        self._missing = set(self._decoders)
        self._last_counter = counter
        return True

    def _hand_on(self) -> None:
        scan = self._scan
        assert scan is not None  # noqa: S101 - checked by the callers
        scan.late = self._late
        scan.reduced_integrity = self._reduced
        scan.frames_missing = len(self._missing)
        rejected = self.rejected
        scan.frames_rejected = min(rejected - self._rejected_seen, 0xFFFF)
        self._rejected_seen = rejected
        self.counts["scan_incomplete" if self._missing else "scan_complete"] += 1
        self._missing = set()
        self._scan = None
        self._on_scan(scan)


class GatheringAssembler:
    """Reads out the newest values once per period, for devices whose frames carry no scan counter."""

    def __init__(
        self, pack: Pack, decoders: list[ScanFrameDecoder], on_scan: ScanHandler
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._pack = pack
        self._decoders = {decoder.identifier: decoder for decoder in decoders}
        self._on_scan = on_scan
        self._period_ns = round(pack.scan_period_s * NS_PER_S)
        self._reduced = any(not decoder.frame.protected for decoder in decoders)
        self._values = Scan.empty(pack.series, pack.temperature_sensors, pack.modules)
        self._cell_time = np.full(pack.series, -1, np.int64)
        self._sensor_time = np.full(pack.temperature_sensors, -1, np.int64)
        self._module_time = np.full(pack.modules, -1, np.int64)
        self._cell_limit = np.zeros(pack.series, np.int64)
        self._sensor_limit = np.zeros(pack.temperature_sensors, np.int64)
        self._module_limit = np.zeros(pack.modules, np.int64)
        self._oldest_new_ns: int | None = None
        self._next_ns = 0
        self._counter = 0
        self._rejected_seen = 0

    @property
    def identifiers(self) -> list[int]:
        """Identifiers of the frames it takes."""
        return list(self._decoders)

    @property
    def rejected(self) -> int:
        """Frames rejected so far."""
        return sum(sum(d.frame.rejected.values()) for d in self._decoders.values())

    def take(self, identifier: int, data: bytes | bytearray, boot_ns: int) -> bool:
        """Take one frame; ``False`` if the identifier is not one of this assembler."""
        decoder = self._decoders.get(identifier)
        if decoder is None:
            return False
        values = decoder.decode(data)
        if values is not None:
            pack = self._pack
            part = Scan.empty(pack.series, pack.temperature_sensors, pack.modules)
            decoder.fill(part, values)
            limit_ns = round(decoder.freshness_s * NS_PER_S)
            cells, sensors = part.voltage_valid == 1, part.temperature_valid == 1
            gathered = self._values
            gathered.voltage_v[cells] = part.voltage_v[cells]
            gathered.temperature_c[sensors] = part.temperature_c[sensors]
            gathered.bleed_active |= part.bleed_active
            gathered.afe_status[decoder.module] = part.afe_status[decoder.module]
            gathered.module_voltage_v[decoder.module] = part.module_voltage_v[decoder.module]
            self._cell_time[cells], self._cell_limit[cells] = boot_ns, limit_ns
            self._sensor_time[sensors], self._sensor_limit[sensors] = boot_ns, limit_ns
            self._module_time[decoder.module] = boot_ns
            self._module_limit[decoder.module] = limit_ns
            if self._oldest_new_ns is None:
                self._oldest_new_ns = boot_ns
        self.tick(boot_ns)
        return True

    def tick(self, boot_ns: int) -> None:
        """Hand on a scan if a period has passed and something new has arrived."""
        if boot_ns < self._next_ns or self._oldest_new_ns is None:
            return
        self._next_ns = max(self._next_ns + self._period_ns, boot_ns - self._period_ns)
        fresh_cells = (self._cell_time >= 0) & (boot_ns - self._cell_time <= self._cell_limit)
        fresh_sensors = (self._sensor_time >= 0) & (
            boot_ns - self._sensor_time <= self._sensor_limit
        )
        fresh_modules = (self._module_time >= 0) & (
            boot_ns - self._module_time <= self._module_limit
        )
        values = self._values
        scan = Scan.empty(
            self._pack.series, self._pack.temperature_sensors, self._pack.modules
        )
        scan.voltage_v[fresh_cells] = values.voltage_v[fresh_cells]
        scan.voltage_valid[:] = fresh_cells
        scan.temperature_c[fresh_sensors] = values.temperature_c[fresh_sensors]
        scan.temperature_valid[:] = fresh_sensors
        scan.bleed_active[:] = values.bleed_active
        scan.afe_status[:] = np.where(fresh_modules, values.afe_status, AFE_NOT_RECEIVED)
        scan.module_voltage_v[fresh_modules] = values.module_voltage_v[fresh_modules]
        values.bleed_active[:] = 0
        self._counter = (self._counter + 1) & 0xFFFFFFFF
        scan.scan_counter = self._counter
        # The oldest of what is new stands for the whole scan, so that no age is understated.
        scan.boot_ns = self._oldest_new_ns
        scan.reduced_integrity = self._reduced
        scan.frames_missing = int(np.count_nonzero(~fresh_modules))
        rejected = self.rejected
        scan.frames_rejected = min(rejected - self._rejected_seen, 0xFFFF)
        self._rejected_seen = rejected
        self._oldest_new_ns = None
        self.counts["scan_gathered"] += 1
        self._on_scan(scan)
