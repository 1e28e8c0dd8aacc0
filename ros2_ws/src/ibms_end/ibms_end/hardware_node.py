# SPDX-License-Identifier: Apache-2.0
"""Base of nodes that speak to hardware: what they attach opens, starts and closes with the node."""

from typing import Any, Protocol

from ibms_battery.clock import SystemClock
from ibms_ros_common.node import BmsNode, P


class Hardware(Protocol):
    """Access to hardware with a thread of its own, e.g. a CAN receiver or a pack driver."""

    def open(self) -> None:
        """Open it; raises with the reason if that fails."""

    def start(self) -> None:
        """Begin to receive."""

    def stop(self) -> None:
        """End and close; without effect if that is done."""


class HardwareNode(BmsNode[P]):
    """A node that owns hardware. Who overrides a method here calls the base's as well."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hardware: list[Hardware] = []

    def attach(self, hardware: Hardware) -> None:
        """Open ``hardware`` and keep it; call it in ``configure``. Replay has none."""
        if isinstance(self.clock, SystemClock):
            self._hardware.append(hardware)
            hardware.open()

    def activate(self) -> None:
        """Begin to receive."""
        for hardware in self._hardware:
            hardware.start()

    def deactivate(self) -> None:
        """Stop receiving and sending."""
        for hardware in self._hardware:
            hardware.stop()

    def cleanup(self) -> None:
        """Close what is still open."""
        for hardware in self._hardware:
            hardware.stop()
        self._hardware.clear()
