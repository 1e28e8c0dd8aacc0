# SPDX-License-Identifier: Apache-2.0
"""One contactor: delays, auxiliary contact, mechanical faults, and the arc that welds it."""

from ibms_battery.clock import NS_PER_S
from ibms_battery.pack import Switch


class Contactor:
    """Follows its drive with the switch's closing and opening times."""

    def __init__(self, switch: Switch) -> None:
        self.conducts = False
        self.driven = False
        self.welded = False
        self.hides_weld = False
        self.blocked = False
        self.delay_ns = 0  # by which it opens late
        self.arced = False  # welded by an arc that it could not break
        self._closing_ns = round(switch.closing_time_s * NS_PER_S)
        self._opening_ns = round(switch.opening_time_s * NS_PER_S)
        self._moves_at_ns: int | None = None

    @property
    def auxiliary(self) -> bool:
        """What the auxiliary contact says."""
        if self.welded and self.hides_weld:
            return self.driven
        return self.conducts

    @property
    def moves_at_ns(self) -> int | None:
        """When the contact will arrive, if it is moving."""
        return self._moves_at_ns

    def drive(self, closed: bool, now_ns: int) -> None:
        """Energise (``True``) or release the coil."""
        if closed == self.driven:
            return
        self.driven = closed
        self._set_off(now_ns)

    def set_faults(self, welded: bool, hides_weld: bool, blocked: bool, now_ns: int) -> None:
        """Mechanical faults; a weld holds the contact closed from now on."""
        self.hides_weld = hides_weld
        if (welded, blocked) == (self.welded, self.blocked):
            return
        self.welded, self.blocked = welded, blocked
        self.arced &= welded
        if welded:
            self.conducts, self._moves_at_ns = True, None
        else:
            self._set_off(now_ns)

    def advance(self, now_ns: int, breaks: bool = True) -> None:
        """Let the contact arrive where it moves to; if it cannot break its current, it welds."""
        if self._moves_at_ns is not None and now_ns >= self._moves_at_ns:
            self._moves_at_ns = None
            if self.conducts and not self.driven and not breaks:
                self.welded = self.arced = True
            else:
                self.conducts = self.driven

    def _set_off(self, now_ns: int) -> None:
        self._moves_at_ns = None
        if self.welded or self.conducts == self.driven or (self.driven and self.blocked):
            return
        self._moves_at_ns = now_ns + (
            self._closing_ns if self.driven else self._opening_ns + self.delay_ns
        )
