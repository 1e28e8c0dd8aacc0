# SPDX-License-Identifier: Apache-2.0
"""A CAN bus within one process, stamped by an injected clock: python-can interface ``ibms_memory``.

Frames reach every other reader of the channel at once and in order. There is nothing to wait on:
readers ask with ``recv(0)``.
"""

import copy
from collections import deque
from typing import Any

import can

from ibms_battery.clock import NS_PER_S, Clock
from ibms_end.can.identifier import EXTENDED, frame_identifier

INTERFACE = "ibms_memory"


class Channel:
    """What the readers of one channel share; lives as long as somebody holds it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.buses: list[MemoryBus] = []
        self.frames = 0


_channels: dict[str, Channel] = {}


def create_channel(name: str, clock: Clock) -> Channel:
    """Create channel ``name``, whose frames are stamped with the wall time of ``clock``.

    Raises:
        ValueError: if there is one already.
    """
    if name in _channels:
        raise ValueError(f"channel {name!r} of the bus in memory is there already")
    _channels[name] = Channel(clock)
    return _channels[name]


def remove_channel(name: str) -> None:
    """Forget channel ``name``."""
    del _channels[name]


class MemoryBus(can.BusABC):
    """One reader and sender on a channel.

    Raises:
        can.CanInitializationError: if nobody has created the channel.
    """

    def __init__(
        self,
        channel: Any,
        can_filters: can.typechecking.CanFilters | None = None,
        **kwargs: Any,
    ) -> None:
        shared = _channels.get(str(channel))
        if shared is None:
            raise can.CanInitializationError(
                f"the bus in memory has no channel {channel!r}; create it with create_channel"
            )
        self.channel_info = f"memory {channel}"
        self._shared = shared
        self._waiting: deque[can.Message] = deque()
        self._accepted: frozenset[int] | None = None
        super().__init__(channel, can_filters=can_filters, **kwargs)
        shared.buses.append(self)

    def _apply_filters(self, filters: can.typechecking.CanFilters | None) -> None:
        # The 11-bit and the 29-bit identifier of one number are two.
        self._accepted = (
            frozenset(f["can_id"] | (EXTENDED if f.get("extended") else 0) for f in filters)
            if filters
            else None
        )

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Hand a frame to all others."""
        message = copy.copy(msg)
        message.timestamp = self._shared.clock.wall_ns() / NS_PER_S
        self._shared.frames += 1
        for bus in self._shared.buses:
            if bus is not self:
                bus.take(message)

    def take(self, message: can.Message) -> None:
        """Queue a frame if the filters let it pass; error frames pass always."""
        accepted = self._accepted
        if accepted is None or message.is_error_frame or frame_identifier(message) in accepted:
            self._waiting.append(message)

    def recv(self, timeout: float | None = None) -> can.Message | None:
        """Next frame that waits, ``None`` without one; does not wait."""
        return self._waiting.popleft() if self._waiting else None

    def fileno(self) -> int:
        """There is no descriptor to wait on."""
        return -1

    def shutdown(self) -> None:
        """Leave the channel."""
        super().shutdown()
        if self in self._shared.buses:
            self._shared.buses.remove(self)
