# SPDX-License-Identifier: Apache-2.0
"""The interface behind which every transport to a pack stands. No ROS."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ibms_end.afe.samples import DriverHealth, PackSample, Scan

ScanHandler = Callable[[Scan], None]
SampleHandler = Callable[[PackSample], None]


class PackDriver(Protocol):
    """Measures a pack and commands its balancing resistors.

    It is created with a handler of scans and one of samples, which are called in the driver's own
    thread, one at a time, from ``start`` to ``stop``.
    """

    def open(self) -> None:
        """Open the transport; raises with interface and reason if that fails."""

    def start(self) -> None:
        """Begin to deliver."""

    def stop(self) -> None:
        """End delivery and close the transport."""

    def command_balancing(self, bleed: npt.NDArray[np.uint8]) -> None:
        """Switch balancing resistors, one entry per cell; the device needs it repeated."""

    def health(self) -> DriverHealth:
        """What was counted so far."""
