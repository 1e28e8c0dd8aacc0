# SPDX-License-Identifier: Apache-2.0
"""Assembly of frames into scans. No ROS.

A device that numbers its scans (``NumberedAssembler``) delivers exactly what was sampled together.
A foreign device that does not (``GatheringAssembler``) is read out once per scan period, each value
with its own freshness limit.
"""

from collections import Counter
from collections.abc import Callable

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Pack
from ibms_end.afe.samples import Scan
from ibms_end.afe.scan_decoder import ScanFrameDecoder
from ibms_end.can.latest_values import LatestValues

ScanHandler = Callable[[Scan], None]

_REORDERED_WITHIN = 64  # an older counter within this is a late frame, beyond it a restarted device


class _Assembler:
    """What both assemblers share."""

    def __init__(self, pack: Pack, decoders: list[ScanFrameDecoder], on_scan: ScanHandler) -> None:
        self.counts: Counter[str] = Counter()
        self._pack = pack
        self._decoders = {decoder.identifier: decoder for decoder in decoders}
        self._on_scan = on_scan
        self._reduced = any(not decoder.frame.protected for decoder in decoders)
        self._rejected_seen = 0

    @property
    def decoders(self) -> list[ScanFrameDecoder]:
        """Decoders of the frames it takes."""
        return list(self._decoders.values())

    def _empty_scan(self) -> Scan:
        pack = self._pack
        scan = Scan.empty(pack.series, pack.temperature_sensors, pack.modules)
        scan.reduced_integrity = self._reduced
        return scan

    def _finish(self, scan: Scan) -> None:
        rejected = sum(decoder.frame.rejected.total() for decoder in self._decoders.values())
        scan.frames_rejected = min(rejected - self._rejected_seen, 0xFFFF)
        self._rejected_seen = rejected
        self._on_scan(scan)


class NumberedAssembler(_Assembler):
    """Gathers the frames of one numbered scan and hands it on as soon as it is complete.

    A scan that stays incomplete is handed on, with what is missing marked, when the next one begins
    or when it is older than ``timeout_s``.
    """

    def __init__(
        self,
        pack: Pack,
        decoders: list[ScanFrameDecoder],
        on_scan: ScanHandler,
        timeout_s: float,
        late: bool = False,
    ) -> None:
        super().__init__(pack, decoders, on_scan)
        self._timeout_ns = round(timeout_s * NS_PER_S)
        self._late = late
        self._scan: Scan | None = None
        self._missing: set[int] = set()
        self._last_counter: int | None = None
        self._counter_before_restart: int | None = None
        self._scans_since_restart = 0

    def take(self, identifier: int, data: bytes | bytearray, boot_ns: int) -> bool:
        """Take one frame; ``False`` if the identifier is not one of this assembler."""
        decoder = self._decoders.get(identifier)
        if decoder is None:
            return False
        values = decoder.frame.decode(data)
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
        assert scan is not None
        decoder.fill(scan, values)
        self._missing.discard(identifier)
        if not self._missing:
            self._hand_on()
        return True

    def tick(self, boot_ns: int) -> None:
        """Hand on a scan that has waited too long for its missing frames."""
        scan = self._scan
        if scan is not None and boot_ns - scan.boot_ns > self._timeout_ns:
            self._hand_on()

    def _begin(self, counter: int, device_time_ms: int, boot_ns: int) -> bool:
        last = self._last_counter
        if last is not None:
            ahead = (counter - last) & 0xFFFFFFFF
            if ahead == 0 or ahead > 0xFFFFFFFF - _REORDERED_WITHIN or self._is_leftover(counter):
                self.counts["frame_after_scan"] += 1
                return False
            self._scans_since_restart += 1
            if ahead > 0x7FFFFFFF:
                self.counts["device_restarted"] += 1
                self._counter_before_restart = last
                self._scans_since_restart = 0
            elif ahead > 1:
                self.counts["scan_lost"] += ahead - 1
        if self._scan is not None:
            self._hand_on()
        self._scan = self._empty_scan()
        self._scan.boot_ns = boot_ns
        self._scan.scan_counter = counter
        self._scan.device_time_ms = device_time_ms
        self._missing = set(self._decoders)
        self._last_counter = counter
        return True

    def _is_leftover(self, counter: int) -> bool:
        """Whether a frame is from before the restart of the device that was noticed just now."""
        before = self._counter_before_restart
        if before is None or self._scans_since_restart > _REORDERED_WITHIN:
            return False
        return (counter - before + _REORDERED_WITHIN) & 0xFFFFFFFF < 2 * _REORDERED_WITHIN

    def _hand_on(self) -> None:
        scan, self._scan = self._scan, None
        assert scan is not None
        scan.late = self._late
        scan.frames_missing = len(self._missing)
        self.counts["scan_incomplete" if self._missing else "scan_complete"] += 1
        self._finish(scan)


class GatheringAssembler(_Assembler):
    """Reads out the fresh values once per period, for devices whose frames carry no scan counter.

    Each value is used up to the freshness limit of its message, from the frame on that carried it.
    """

    def __init__(self, pack: Pack, decoders: list[ScanFrameDecoder], on_scan: ScanHandler) -> None:
        super().__init__(pack, decoders, on_scan)
        self._latest = {
            decoder.identifier: LatestValues(decoder.freshness_s) for decoder in decoders
        }
        self._period_ns = round(pack.scan_period_s * NS_PER_S)
        self._oldest_new_ns: int | None = None
        self._next_ns: int | None = None
        self._counter = 0

    def take(self, identifier: int, data: bytes | bytearray, boot_ns: int) -> bool:
        """Take one frame; ``False`` if the identifier is not one of this assembler."""
        decoder = self._decoders.get(identifier)
        if decoder is None:
            return False
        values = decoder.frame.decode(data)
        if values is not None:
            self._latest[identifier].take(values, boot_ns)
            if self._oldest_new_ns is None:
                self._oldest_new_ns = boot_ns
            if self._next_ns is None:
                self._next_ns = boot_ns + self._period_ns
        self.tick(boot_ns)
        return True

    def tick(self, boot_ns: int) -> None:
        """Hand on a scan if a period has passed and something new has arrived."""
        if self._oldest_new_ns is None or self._next_ns is None or boot_ns < self._next_ns:
            return
        self._next_ns += self._period_ns
        if self._next_ns <= boot_ns:  # after a pause
            self._next_ns = boot_ns + self._period_ns
        scan = self._empty_scan()
        for decoder in self._decoders.values():
            fresh = self._latest[decoder.identifier].fresh(boot_ns)
            if fresh:
                decoder.fill(scan, fresh)
            else:
                scan.frames_missing += 1
        self._counter = (self._counter + 1) & 0xFFFFFFFF
        scan.scan_counter = self._counter
        # The oldest of what is new stands for the whole scan, so that its age is not understated.
        scan.boot_ns = self._oldest_new_ns
        self._oldest_new_ns = None
        self.counts["scan_gathered"] += 1
        self._finish(scan)
