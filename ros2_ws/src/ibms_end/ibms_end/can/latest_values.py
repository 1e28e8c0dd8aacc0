# SPDX-License-Identifier: Apache-2.0
"""The newest value of each signal of a message, each as long as it is fresh."""

from ibms_battery.clock import NS_PER_S


class LatestValues:
    """Keeps values by signal, because a frame of a multiplexed message carries only part of them.

    Replaced as a whole by the receiving thread, so another thread reads one state or the next.
    """

    def __init__(self, freshness_s: float) -> None:
        self._freshness_ns = round(freshness_s * NS_PER_S)
        self._values: dict[str, tuple[float, int]] = {}
        self.boot_ns: int | None = None

    def take(self, values: dict[str, float], boot_ns: int) -> None:
        """Keep the values of one frame."""
        self._values = self._values | {name: (value, boot_ns) for name, value in values.items()}
        self.boot_ns = boot_ns

    def fresh(self, now_ns: int) -> dict[str, float]:
        """Values that are not older than the freshness limit."""
        oldest_ns = now_ns - self._freshness_ns
        return {
            name: value for name, (value, boot_ns) in self._values.items() if boot_ns >= oldest_ns
        }
