# SPDX-License-Identifier: Apache-2.0
"""Bypasses of a topology as bit masks, laid over its configurations. No ROS."""

from collections.abc import Iterable
from dataclasses import dataclass

from ibms_battery.pack import Pack

NO_BYPASS: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Ways:
    """Switches of one bypass: first ``opens``, then ``closes``; never both closed at once."""

    cells: frozenset[int]
    opens: int
    closes: int


class Bypasses:
    """All bypasses of a pack; they are named by their place in the configuration.

    The pack's configuration is checked so that a mask with a known set of bypasses stands for one
    configuration only (``ibms_battery.pack_checks``).
    """

    def __init__(self, pack: Pack) -> None:
        switching = pack.switching
        self.ways = [
            Ways(
                frozenset(bypass.cells),
                switching.mask_of(bypass.opens),
                switching.mask_of(bypass.closes),
            )
            for bypass in switching.bypasses
        ]
        self.switches = 0  # mask of all switches that a bypass moves
        for ways in self.ways:
            self.switches |= ways.opens | ways.closes
        self._series = pack.series

    def around(self, cells: Iterable[int]) -> frozenset[int]:
        """Bypasses that take out any of ``cells``."""
        wanted = set(cells)
        return frozenset(i for i, ways in enumerate(self.ways) if not wanted.isdisjoint(ways.cells))

    def lay_over(self, mask: int, bypasses: Iterable[int]) -> int:
        """``mask`` with ``bypasses``, each where the mask holds its cells in the circuit."""
        for index in bypasses:
            ways = self.ways[index]
            if mask & ways.opens == ways.opens:
                mask = mask & ~ways.opens | ways.closes
        return mask

    def shown(self, closed: int) -> frozenset[int]:
        """Bypasses that the switches ``closed`` show in place."""
        return frozenset(
            index
            for index, ways in enumerate(self.ways)
            if closed & ways.closes == ways.closes and not closed & ways.opens
        )

    def isolated(self, closed: int) -> list[int]:
        """Per cell 1 where ``closed`` shows it bypassed, else 0; empty if the pack has none."""
        if not self.ways:
            return []
        cells = {cell for index in self.shown(closed) for cell in self.ways[index].cells}
        return [int(cell in cells) for cell in range(self._series)]
