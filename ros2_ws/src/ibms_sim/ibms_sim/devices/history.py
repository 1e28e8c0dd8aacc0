# SPDX-License-Identifier: Apache-2.0
"""Ring of past scans in the AFE modules, sent on request between the live frames."""

import can
import numpy as np
import numpy.typing as npt

from ibms_sim.devices import packing
from ibms_sim.devices.packing import AFE_LAYOUT

RING_S = 60.0
_COUNTER_RANGE = 1 << 32


class History:
    """Keeps the last ``RING_S`` seconds of scans."""

    def __init__(self, modules: int, scan_period_s: float) -> None:
        self._ring = np.zeros((round(RING_S / scan_period_s), modules), dtype=AFE_LAYOUT)
        self._stored = 0  # scans stored since start
        self._next = 0  # running number of the next scan to send
        self._left = 0
        self._protections = [
            packing.Protection(packing.AFE_HISTORY_ID + module) for module in range(modules)
        ]

    def store(self, frames: npt.NDArray[np.void]) -> None:
        """Keep one scan (modules,)."""
        self._ring[self._stored % len(self._ring)] = frames
        self._stored += 1

    def request(self, first_scan: int, scan_count: int) -> None:
        """Start sending ``scan_count`` scans from ``first_scan`` on; ends an earlier request."""
        self._left = 0
        if scan_count == 0 or self._stored == 0:
            return
        oldest = max(self._stored - len(self._ring), 0)
        oldest_counter = int(self._ring[oldest % len(self._ring)]["scan_counter"][0])
        ahead = (first_scan - oldest_counter) % _COUNTER_RANGE
        if ahead >= _COUNTER_RANGE // 2:
            # Older than the ring: from its start; what is lost does not count as sent.
            scan_count -= _COUNTER_RANGE - ahead
            ahead = 0
        self._next = oldest + ahead
        self._left = max(min(scan_count, self._stored - self._next), 0)

    def messages(self, maximum: int) -> list[can.Message]:
        """Next frames to send: whole scans, oldest first, at most about ``maximum`` frames."""
        messages: list[can.Message] = []
        modules = self._ring.shape[1]
        while self._left > 0 and (not messages or len(messages) + modules <= maximum):
            # Scans that fell out of the ring while sending was under way are gone.
            overrun = self._stored - len(self._ring) - self._next
            if overrun > 0:
                self._next += overrun
                self._left -= overrun
                continue
            for module in range(modules):
                data = bytearray(self._ring[self._next % len(self._ring), module].tobytes())
                self._protections[module].protect(data)
                messages.append(packing.fd_frame(packing.AFE_HISTORY_ID + module, data))
            self._next += 1
            self._left -= 1
        return messages
