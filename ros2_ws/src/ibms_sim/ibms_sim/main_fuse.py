# SPDX-License-Identifier: Apache-2.0
"""The pack's main fuse: it melts by its melting curve, and opens for good."""

from ibms_battery.pack import Pack
from ibms_sim.faults import BY_NAME, NO_ELEMENT, FaultSet

_OPEN = BY_NAME["fuse_open"]


class MainFuse:
    """Adds up how far the fuse has melted, as Miner's rule adds up parts of a life.

    In each step it melts by the step's share of the time to clear at this current (M. A. Miner,
    J. Appl. Mech. 12 (1945) A159; beyond the curve the pack's data hold I^2 t constant). Up to the
    rated current it cools, with the time of the curve's slowest point. A fuse that has cleared is
    the fault ``fuse_open``: removing it puts in a new one.
    """

    def __init__(self, pack: Pack, faults: FaultSet) -> None:
        self.melted = 0.0
        self._fuse = pack.fuse
        self._faults = faults

    @property
    def is_open(self) -> bool:
        """Whether it conducts no more."""
        return self._faults.has(_OPEN.name)

    def step(self, current_a: float, step_s: float, now_ns: int) -> None:
        """Advance by ``step_s`` at the mean current of the step."""
        if self._fuse is None:
            return
        if self.is_open:
            self.melted = 0.0
            return
        if abs(current_a) > self._fuse.rated_current_a:
            self.melted += step_s / self._fuse.melting_time_s(current_a)
        else:
            self.melted -= self.melted * min(step_s / self._fuse.melting_curve[0].time_s, 1.0)
        if self.melted >= 1.0:
            self._faults.inject(_OPEN.number, NO_ELEMENT, 0.0, 0.0, False, now_ns)
