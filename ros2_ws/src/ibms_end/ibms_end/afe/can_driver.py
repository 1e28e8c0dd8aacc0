# SPDX-License-Identifier: Apache-2.0
"""Pack driver over CAN: AFE modules and pack sensor as the map says. No ROS."""

from collections import Counter

import can
import numpy as np
import numpy.typing as npt

from ibms_battery.clock import Clock
from ibms_battery.pack import Pack
from ibms_end.afe.driver import SampleHandler, ScanHandler
from ibms_end.afe.history import HistoryFetch
from ibms_end.afe.identity import PackIdentity
from ibms_end.afe.pack_sensor import PackSensorDecoder
from ibms_end.afe.redundant_sensor import RedundantSensor
from ibms_end.afe.samples import DriverHealth, Scan
from ibms_end.afe.scan_assembler import GatheringAssembler, NumberedAssembler
from ibms_end.afe.scan_decoder import build_decoders
from ibms_end.can.bus import BusConfiguration
from ibms_end.can.codec import FrameDecoder, FrameEncoder, find_message
from ibms_end.can.identifier import frame_identifier
from ibms_end.can.receiver import CanReceiver
from ibms_end.mapping import LoadedMap

_PAST_SCAN_TIMEOUT_S = 1.0


class CanPackDriver:
    """Delivers scans and pack samples from a CAN bus, and fetches gaps from the device's ring.

    Args:
        first_expected_scan: counter of the scan after the last one seen before a restart; what lies
            between it and the first live scan is fetched. ``None`` if unknown.
    """

    def __init__(
        self,
        pack: Pack,
        loaded: LoadedMap,
        bus: BusConfiguration,
        clock: Clock,
        on_scan: ScanHandler,
        on_sample: SampleHandler,
        first_expected_scan: int | None = None,
    ) -> None:
        self._clock = clock
        self._on_scan = on_scan
        self._on_sample = on_sample
        self._counts: Counter[str] = Counter()
        self._live_time = (0, 0)
        self._pack_sensor = PackSensorDecoder(loaded)
        redundant, identity = loaded.map.redundant_pack_sensor, loaded.map.identity
        self._redundant = None if redundant is None else RedundantSensor(loaded, redundant)
        self._identity = None if identity is None else PackIdentity(loaded, identity)
        scan = loaded.map.scan
        decoders = build_decoders(loaded, pack)
        self._assembler: NumberedAssembler | GatheringAssembler
        if scan.counter is not None:
            self._assembler = NumberedAssembler(
                pack, decoders, self._live_scan, timeout_s=pack.scan_period_s
            )
        else:
            self._assembler = GatheringAssembler(pack, decoders, self._live_scan)
        self._past: NumberedAssembler | None = None
        if scan.history_request_message is not None:
            self._history_request = FrameEncoder(
                find_message(loaded.database, scan.history_request_message)
            )
            self._fetch = HistoryFetch(self._request_history, first_expected_scan)
            self._past = NumberedAssembler(
                pack,
                build_decoders(loaded, pack, history=True),
                self._past_scan,
                timeout_s=_PAST_SCAN_TIMEOUT_S,
                late=True,
            )
        self._cells_of_module = {
            module: np.concatenate([d.cells for d in decoders if d.module == module])
            for module in range(pack.modules)
        }
        self._balancing: FrameEncoder | None = None
        if scan.balancing_message is not None:
            self._balancing = FrameEncoder(find_message(loaded.database, scan.balancing_message))
        past = self._past.decoders if self._past else []
        freshness_of_s = {d.identifier: d.freshness_s for d in (*decoders, *past)}
        for source in (self._pack_sensor, self._redundant, self._identity):
            if source is not None:  # a foreign message may carry several things
                freshness_of_s[source.identifier] = max(
                    source.freshness_s, freshness_of_s.get(source.identifier, 0.0)
                )
        self._receiver = CanReceiver(
            bus,
            freshness_of_s,
            clock,
            self._take,
            self._tick,
            idle_period_s=min(0.01, 0.5 * pack.scan_period_s),
            freshness_of_s=freshness_of_s,
        )

    def open(self) -> None:
        """Open the bus; raises ``can.CanError`` with interface and channel."""
        self._receiver.open()

    def start(self) -> None:
        """Begin to deliver, in the receiver's thread."""
        self._receiver.start()

    def poll(self) -> None:
        """Deliver what waits in the caller's thread: instead of ``start`` where time is virtual."""
        self._receiver.poll()

    def stop(self) -> None:
        """End delivery and close the bus."""
        self._receiver.stop()

    def command_balancing(self, bleed: npt.NDArray[np.uint8]) -> None:
        """Send the balancing command of all modules; bit i of a mask is the module's i-th cell."""
        if self._balancing is None:
            self._counts["balancing_not_supported"] += 1
            return
        masks: dict[str, float] = {}
        for module, cells in self._cells_of_module.items():
            bits = np.packbits(bleed[cells], bitorder="little").tobytes()
            masks[f"BleedMask_{module:02d}"] = int.from_bytes(bits, "little")
        self._receiver.send(self._balancing.encode(masks))

    def health(self) -> DriverHealth:
        """Counters of bus, frames and scans."""
        bus = self._receiver.health
        # Copies first: other threads add keys.
        counts = Counter(bus.counts) + Counter(self._counts) + Counter(self._assembler.counts)
        frames = [decoder.frame for decoder in self._assembler.decoders]
        _add_frames(counts, "scan frames", frames)
        others = {"pack sensor frames": self._pack_sensor.frame}
        if self._redundant is not None:
            others["redundant sensor frames"] = self._redundant.frame
        if self._identity is not None:
            others["identity frames"] = self._identity.frame
        for what, frame in others.items():
            _add_frames(counts, what, [frame])
        if self._past is not None:
            counts += Counter(self._fetch.counts)
            _add_frames(counts, "history frames", [d.frame for d in self._past.decoders])
        reduced = [f.message.name for f in (*frames, *others.values()) if not f.protected]
        problem = bus.recent_problem(self._clock.boot_ns())
        return DriverHealth(counts, bus.connected, problem, reduced)

    def _take(self, message: can.Message, boot_ns: int) -> None:
        identifier = frame_identifier(message)
        if self._redundant is not None and identifier == self._redundant.identifier:
            self._redundant.take(message.data, boot_ns)
        if self._identity is not None and identifier == self._identity.identifier:
            self._identity.take(message.data, boot_ns)
        if identifier == self._pack_sensor.identifier:
            sample = self._pack_sensor.decode(message.data, boot_ns)
            if sample is not None:
                if self._redundant is not None:
                    self._redundant.add_to(sample)
                self._on_sample(sample)
        # A foreign message may carry the current and cells as well, so it goes on.
        if not self._assembler.take(identifier, message.data, boot_ns) and self._past is not None:
            self._past.take(identifier, message.data, boot_ns)

    def _tick(self, boot_ns: int) -> None:
        self._assembler.tick(boot_ns)
        if self._past is not None:
            self._past.tick(boot_ns)
            self._fetch.tick(boot_ns)

    def _live_scan(self, scan: Scan) -> None:
        self._live_time = (scan.boot_ns, scan.device_time_ms)
        if self._identity is not None:
            self._identity.add_to(scan)
        self._on_scan(scan)
        if self._past is not None:
            self._fetch.live(scan.scan_counter, scan.boot_ns)

    def _past_scan(self, scan: Scan) -> None:
        if not self._fetch.accept(scan.scan_counter, scan.boot_ns):
            return
        # The device's clock says how long before the newest live scan it was sampled.
        live_boot_ns, live_device_ms = self._live_time
        age_ms = (live_device_ms - scan.device_time_ms) & 0xFFFFFFFF
        scan.boot_ns = max(0, live_boot_ns - age_ms * 1_000_000)
        self._on_scan(scan)

    def _request_history(self, first: int, count: int) -> None:
        self._receiver.send(self._history_request.encode({"FirstScan": first, "ScanCount": count}))


def _add_frames(counts: Counter[str], what: str, frames: list[FrameDecoder]) -> None:
    """Add what decoders lost and rejected, by reason."""
    for frame in frames:
        counts[f"{what} lost"] += frame.lost
        for reason, count in Counter(frame.rejected).items():
            counts[f"{what} rejected: {reason}"] += count
