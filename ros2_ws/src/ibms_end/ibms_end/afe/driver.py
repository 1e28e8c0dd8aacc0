# SPDX-License-Identifier: Apache-2.0
"""The interface behind which every transport to a pack stands. No ROS."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ibms_end.afe.samples import DriverHealth, PackSample, Scan


class PackDriver(Protocol):
    """Measures a pack and commands its balancing resistors.

    Handlers are called in the driver's own thread, one at a time.
    """

    def open(self) -> None:
        """Open the transport; raises with interface and reason if that fails."""

    def start(
        self,
        on_scan: Callable[[Scan], None],
        on_pack_sample: Callable[[PackSample], None],
    ) -> None:
        """Begin to deliver."""

    def stop(self) -> None:
        """End delivery and close the transport."""

    def command_balancing(self, bleed: npt.NDArray[np.uint8]) -> None:
        """Switch balancing resistors, one entry per cell; the device's own dead-man needs repetition."""

    def health(self) -> DriverHealth:
        """What was counted so far."""
