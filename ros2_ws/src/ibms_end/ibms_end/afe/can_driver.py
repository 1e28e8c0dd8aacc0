# SPDX-License-Identifier: Apache-2.0
"""Pack driver over CAN: AFE modules and pack sensor as the map says. No ROS."""

from collections import Counter
from collections.abc import Callable

import can
import numpy as np
import numpy.typing as npt

from ibms_battery.clock import Clock
from ibms_battery.pack import Pack
from ibms_end.afe.pack_sensor import PackSensorDecoder
from ibms_end.afe.samples import DriverHealth, PackSample, Scan
from ibms_end.afe.scan_assembler import GatheringAssembler, NumberedAssembler
from ibms_end.afe.scan_decoder import build_decoders
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameEncoder, find_message
from ibms_end.can.receiver import CanReceiver
from ibms_end.mapping import LoadedMap

_CELLS_PER_MASK = 16
_LARGEST_REQUEST = 0xFFFF


class CanPackDriver:
    """Delivers scans and pack samples from a CAN bus, and fetches gaps from the device's ring.

    Args:
        first_expected_scan: scan counter up to which everything was seen before a restart; scans between
            it and the first live one are fetched. ``None`` if unknown.
    """

    def __init__(
        self,
        pack: Pack,
        loaded: LoadedMap,
        bus: BusConfiguration,
        clock: Clock,
        first_expected_scan: int | None = None,
    ) -> None:
        self._pack = pack
        self._bus = bus
        self._clock = clock
        self._loaded = loaded
        self._next_expected = first_expected_scan
        self._pack_sensor = PackSensorDecoder(loaded)
        self._on_scan: Callable[[Scan], None] = _ignore_scan
        self._on_pack_sample: Callable[[PackSample], None] = _ignore_sample
        decoders = build_decoders(loaded, pack)
        scan = loaded.map.scan
        self._assembler: NumberedAssembler | GatheringAssembler
        self._history: NumberedAssembler | None = None
        if scan.counter is not None:
            self._assembler = NumberedAssembler(
                pack, decoders, self._live_scan, timeout_s=0.5 * pack.scan_period_s
            )
            past = build_decoders(loaded, pack, history=True)
            if past:
                self._history = NumberedAssembler(
                    pack, past, self._past_scan, timeout_s=1.0, late=True
                )
        else:
            self._assembler = GatheringAssembler(pack, decoders, self._live_scan)
        self._balancing = (
            FrameEncoder(find_message(loaded.database, scan.balancing_message))
            if scan.balancing_message
            else None
        )
        self._history_request = (
            FrameEncoder(find_message(loaded.database, scan.history_request_message))
            if scan.history_request_message
            else None
        )
        identifiers = [*self._assembler.identifiers, self._pack_sensor.identifier]
        identifiers += self._history.identifiers if self._history else []
        self._receiver = CanReceiver(
            bus,
            identifiers,
            clock,
            self._take,
            self._tick,
            idle_period_s=min(0.01, 0.5 * pack.scan_period_s),
        )
        self._counts: Counter[str] = Counter()
        self._live_time = (0, 0)

    def open(self) -> None:
        """Open the bus; raises ``can.CanError`` with interface and channel."""
        self._receiver.open()

    def start(
        self,
        on_scan: Callable[[Scan], None],
        on_pack_sample: Callable[[PackSample], None],
    ) -> None:
        """Begin to deliver, in the receiver's thread."""
        self._on_scan, self._on_pack_sample = on_scan, on_pack_sample
        self._receiver.start("afe_can")

    def stop(self) -> None:
        """End delivery and close the bus."""
        self._receiver.stop()

    def command_balancing(self, bleed: npt.NDArray[np.uint8]) -> None:
        """Send the balancing command of all modules."""
        if self._balancing is None:
            self._counts["balancing_not_supported"] += 1
            return
        padded = np.zeros(16 * _CELLS_PER_MASK, np.uint8)
        padded[: len(bleed)] = bleed
        masks = padded.reshape(-1, _CELLS_PER_MASK) @ (1 << np.arange(_CELLS_PER_MASK))
        self._receiver.send(
            self._balancing.encode({f"BleedMask_{i:02d}": int(m) for i, m in enumerate(masks)})
        )

    def health(self) -> DriverHealth:
        """Counters of bus, frames and scans."""
        bus = self._receiver.health
        counts = Counter(bus.counts) + self._counts + self._assembler.counts
        counts["frames rejected"] = self._assembler.rejected
        for check, count in self._pack_sensor.frame.rejected.items():
            counts[f"pack sensor {check}"] = count
        if self._history is not None:
            counts["history scans"] = sum(self._history.counts.values())
        scan, sensor = self._loaded.map.scan, self._loaded.map.pack_sensor
        reduced = [f.message for f in scan.frames if f.protection == "none"]
        reduced += [sensor.message] if sensor.protection == "none" else []
        return DriverHealth(dict(counts), bus.connected, bus.problem, reduced)

    def _take(self, message: can.Message, boot_ns: int) -> None:
        identifier = message.arbitration_id
        if identifier == self._pack_sensor.identifier:
            sample = self._pack_sensor.decode(message.data, boot_ns)
            if sample is not None:
                self._on_pack_sample(sample)
        elif not self._assembler.take(identifier, message.data, boot_ns) and self._history:
            self._history.take(identifier, message.data, boot_ns)

    def _tick(self, boot_ns: int) -> None:
        self._assembler.tick(boot_ns)
        if self._history is not None:
            self._history.tick(boot_ns)

    def _live_scan(self, scan: Scan) -> None:
        self._live_time = (scan.boot_ns, scan.device_time_ms)
        expected, self._next_expected = self._next_expected, (scan.scan_counter + 1) & 0xFFFFFFFF
        if expected is not None and self._history is not None:
            gap = (scan.scan_counter - expected) & 0xFFFFFFFF
            if 0 < gap < 0x7FFFFFFF:
                self._request_history(expected, min(gap, _LARGEST_REQUEST))
        self._on_scan(scan)

    def _past_scan(self, scan: Scan) -> None:
        live_boot_ns, live_device_ms = self._live_time
        age_ms = (live_device_ms - scan.device_time_ms) & 0xFFFFFFFF
        scan.boot_ns = max(0, live_boot_ns - age_ms * 1_000_000)
        self._on_scan(scan)

    def _request_history(self, first: int, count: int) -> None:
        if self._history_request is not None:
            self._counts["history_requested"] += count
            self._receiver.send(
                self._history_request.encode({"FirstScan": first, "ScanCount": count})
            )


def _ignore_scan(_scan: Scan) -> None:
    """Before ``start`` nothing is delivered."""


def _ignore_sample(_sample: PackSample) -> None:
    """Before ``start`` nothing is delivered."""
